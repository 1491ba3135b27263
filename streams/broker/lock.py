"""Write `kafka-jars.lock` again, for maintainers: python -m tidemill.streams.broker.lock KAFKA_VERSION LOG4J_VERSION.

Resolves Kafka's broker and the binding that carries its log lines into log4j, and pins every jar by the SHA-256 of
what the repository serves today: read the difference before committing it.
"""

import hashlib
import sys
import tempfile
from pathlib import Path

from tidemill.streams.broker.download import maven
from tidemill.streams.broker.jars import KAFKA, LOCK_FILE


def resolve(kafka_version: str, log4j_version: str, cache: Path) -> str:
    """Return the lock file's text: every runtime jar, sorted by coordinates."""
    context = maven(cache)
    # "!": without the versions that log4j's own build would impose on Kafka's other jars.
    kafka = context.create_dependency(f"{':'.join(KAFKA)}:{kafka_version}!")
    binding = context.create_dependency(f"org.apache.logging.log4j:log4j-slf4j-impl:{log4j_version}!")
    inputs, transitive = context.resolver.resolve([kafka, binding])
    lines = []
    for needed in [*inputs, *transitive]:
        digest = hashlib.sha256(Path(needed.artifact.resolve()).read_bytes()).hexdigest()
        lines.append((f"{needed.groupId}:{needed.artifactId}:{needed.version}", digest))
    return "".join(f"{digest}  {coordinates}\n" for coordinates, digest in sorted(lines))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        LOCK_FILE.write_text(resolve(sys.argv[1], sys.argv[2], Path(folder)))
