"""The embedded broker's configuration: one node for one machine, quick to start and to restart.

Paths are relative to the broker's folder, which is its working directory: Java's properties format would need
escapes for some of what a path may hold.
"""

from tidemill.streams.broker.security import LISTENER, Passwords

DATA = "data"
LOGS = "logs"
TEMPORARY = "tmp"

# Kafka's session with itself: a broker that was killed can register again only when its old session has run out. One
# that was only slow is let in again at its next heartbeat.
SESSION_TIMEOUT_MS = 2000

_HEAP = "512m"


def server_properties(port: int, controller_port: int, log_dir: str = DATA, passwords: Passwords | None = None) -> str:
    """server.properties of a broker and controller in one process, reachable from this machine only.

    With passwords, nobody gets in without one, and nobody but the superuser may do what no ACL allows.
    """
    listener = "PLAINTEXT" if passwords is None else LISTENER
    settings: dict[str, str | int] = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "listeners": f"{listener}://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"{listener}://127.0.0.1:{port}",
        "listener.security.protocol.map": f"{listener}:{listener},CONTROLLER:{listener}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": listener,
        "log.dirs": log_dir,
        # A misspelt topic is an error; topics come from declarations.
        "auto.create.topics.enable": "false",
        # One node: one copy.
        "default.replication.factor": 1,
        "offsets.topic.replication.factor": 1,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        # Few partitions to create and load; Kafka's 50 are for hundreds of brokers.
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.num.partitions": 1,
        # The first member of a group need not wait three seconds for others; a dead one is missed within six.
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 1000,
        "group.consumer.min.session.timeout.ms": 1000,
        "group.consumer.session.timeout.ms": 6000,
        "group.consumer.min.heartbeat.interval.ms": 500,
        "group.consumer.heartbeat.interval.ms": 1000,
        # A dead worker's open transaction holds back read_committed subscribers until it is aborted, so nobody may ask
        # for more than a minute. To look more often than Kafka's ten seconds is no help: the first look would come
        # before a broker that starts slowly after a crash knows its partitions, and leave out their markers for ever.
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": 10_000,
        "transaction.max.timeout.ms": 60_000,
        "broker.session.timeout.ms": SESSION_TIMEOUT_MS,
        "broker.heartbeat.interval.ms": SESSION_TIMEOUT_MS // 8,
        # A laptop's disk: give back what retention has freed soon.
        "log.retention.check.interval.ms": 30_000,
        # Kafka sets 128 MB of heap aside for compaction; these logs are small.
        "log.cleaner.dedupe.buffer.size": 16 << 20,
        "num.network.threads": 2,
        "num.io.threads": 4,
        "background.threads": 2,
        "num.recovery.threads.per.data.dir": 2,
    }
    if passwords is not None:
        settings |= passwords.server_properties()
    return "".join(f"{name}={value}\n" for name, value in settings.items())


def log4j2_xml() -> str:
    """log4j2's configuration: `logs/server.log`, at most 4 x 5 MB."""
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="ERROR" shutdownHook="disable">
  <Appenders>
    <RollingFile name="server" fileName="{LOGS}/server.log" filePattern="{LOGS}/server.%i.log">
      <PatternLayout pattern="%d{{ISO8601}} %p %m (%c{{1}})%n"/>
      <SizeBasedTriggeringPolicy size="5 MB"/>
      <DefaultRolloverStrategy max="3"/>
    </RollingFile>
  </Appenders>
  <Loggers>
    <Logger name="org.apache.kafka.common.config.AbstractConfig" level="WARN"/>
    <Root level="INFO"><AppenderRef ref="server"/></Root>
  </Loggers>
</Configuration>
"""


def jvm_options() -> list[str]:
    """Return the JVM's flags: memory, a quick start, and nothing written outside the broker's folder.

    Only the first compiler: measured on two cores, the second one takes 3 CPU seconds of every start and does not earn
    them back within six million messages (1.4 µs of CPU each against 2.3).
    """
    return [
        f"-Xms{_HEAP}",
        f"-Xmx{_HEAP}",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-XX:+ExitOnOutOfMemoryError",
        "-XX:-UsePerfData",
        f"-XX:ErrorFile={LOGS}/jvm-crash-%p.log",
        f"-Djava.io.tmpdir={TEMPORARY}",
        "-Djava.awt.headless=true",
        "-Djava.net.preferIPv4Stack=true",
        "-Dlog4j2.configurationFile=log4j2.xml",
    ]
