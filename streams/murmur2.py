"""Which partition a key goes to, as every producer of ours and Java's own choose it."""

import struct

_SEED = 0x9747B28C
_M = 0x5BD1E995
_WORD = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """MurmurHash2 in 32 bits, as `Utils.murmur2` of Kafka's Java client computes it, but unsigned.

    >>> murmur2(b"abc")
    479470107
    """
    h = _SEED ^ len(data)
    whole = len(data) // 4 * 4
    for (word,) in struct.iter_unpack("<I", data[:whole]):
        k = word * _M & _WORD
        k = (k ^ (k >> 24)) * _M & _WORD
        h = (h * _M & _WORD) ^ k
    rest = data[whole:]
    if rest:
        h = (h ^ int.from_bytes(rest, "little")) * _M & _WORD
    h = (h ^ (h >> 13)) * _M & _WORD
    return h ^ (h >> 15)


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key on a topic with so many (Java's `BuiltInPartitioner.partitionForKey`).

    >>> partition_of(b"abc", 4)
    3
    """
    return (murmur2(key) & 0x7FFFFFFF) % partitions
