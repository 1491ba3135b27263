import pytest

from tidemill.streams.murmur2 import murmur2, partition_of

OF_JAVA = {
    # Utils.murmur2 of the Kafka client in Java, from its own UtilsTest.
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize("data", OF_JAVA)
def test_it_is_that_of_java(data):
    assert murmur2(data) == OF_JAVA[data] & 0xFFFFFFFF


def test_a_partition_is_the_hash_without_its_sign():
    assert partition_of(b"foobar", 7) == (-790332482 & 0x7FFFFFFF) % 7
    assert partition_of(b"", 5) in range(5)
    assert {partition_of(str(n).encode(), 3) for n in range(50)} == {0, 1, 2}
