"""A whole system as real processes, on either shape, for tests: started, settled, looked into, broken, ended."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from schemas.records import StoredRecord
from services.eventlog.embedded import EmbeddedEventLog
from services.eventlog.kafka import KafkaEventLog
from services.eventlog.port import EventLog, TopicPartition
from services.runtime.clock import SystemClock
from tests.support.poster import deliver
from tests.support.services import CHECKOUT, Service, ServiceFailed, watch_over
from tests.support.settling import open_work, unread
from tests.support.states import StoredState

__all__ = ["API_TOKEN", "WRITE_KEY", "Cluster", "System", "Tuning"]

WRITE_KEY = "wk_tests_of_the_whole_system"
API_TOKEN = "pt_tests_of_the_whole_system"
_SETTLE_POLL_SECONDS = 0.2
_clock = SystemClock()
_T = TypeVar("_T")


@dataclass(frozen=True)
class Cluster:
    """Where the servers of the cluster shape are: an empty database, and a prefix that keeps topics apart."""

    database_url: str
    bootstrap_servers: str
    prefix: str


@dataclass(frozen=True)
class Tuning:
    """How a system is set up: members per engine, partitions, quiet times (ms), and any other setting."""

    workers: int = 1
    partitions: int = 4
    settle: int = 500
    settle_history: int = 1_000
    definitions: Path = CHECKOUT / "definitions"
    settings: Mapping[str, str] = field(default_factory=dict)


class System:
    """All processes of one installation, its stored state and its log. Use it as a context: the end kills what runs."""

    def __init__(self, folder: Path, tuning: Tuning, cluster: Cluster | None = None) -> None:
        """Without `cluster` it is the embedded shape; `folder` is empty and keeps data and output."""
        self.folder = folder
        self.tuning = tuning
        self._cluster = cluster
        self.data_dir = folder / "data"
        settings = {
            "PARCOURS_DATA_DIR": str(self.data_dir),
            "PARCOURS_DEFINITIONS_DIR": str(tuning.definitions),
            "PARCOURS_WRITE_KEY": WRITE_KEY,
            "PARCOURS_API_TOKEN": API_TOKEN,
            "PARCOURS_PARTITIONS": str(tuning.partitions),
            "PARCOURS_SETTLE": f"{tuning.settle}ms",
            "PARCOURS_SETTLE_HISTORY": f"{tuning.settle_history}ms",
            **tuning.settings,
        }
        if cluster is None:
            settings["PARCOURS_WORKERS"] = str(tuning.workers)
            self.door = Service("parcours", ["run"], settings, folder)
            self.services = {"parcours": self.door}
            self.state = StoredState(self.data_dir)
        else:
            settings |= {
                "DATABASE_URL": cluster.database_url,
                "KAFKA_BOOTSTRAP_SERVERS": cluster.bootstrap_servers,
                "PARCOURS_TOPIC_PREFIX": cluster.prefix,
            }
            self.door = Service("ingest", ["ingest"], settings, folder)
            engines = [f"stage-engine-{number}" for number in range(1, tuning.workers + 1)]
            commands = {**dict.fromkeys(engines, "stage-engine"), "segmenter": "segmenter", "notifier": "notifier"}
            many = settings | {"PARCOURS_WORKERS": str(tuning.workers)}
            self.services = {"ingest": self.door} | {
                name: Service(name, [command], settings if name in engines else many, folder)
                for name, command in commands.items()
            }
            self.state = StoredState(cluster.database_url)
        self._settings = settings

    def __enter__(self) -> "System":
        """Start everything and wait until it is ready."""
        try:
            self.start()
        except BaseException:
            self.discard()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Kill whatever still runs."""
        self.discard()

    @property
    def embedded(self) -> bool:
        """Whether this is the embedded shape."""
        return self._cluster is None

    def start(self) -> None:
        """Make topics and tables (cluster shape), start every process, wait until each is ready."""
        watch_over(self.folder)
        if not self.embedded:
            self.command("migrate")
        for service in self.services.values():
            service.start()
        for service in self.services.values():
            service.wait_ready()

    def command(self, *arguments: str) -> str:
        """Run `parcours <arguments>` beside it; return its output. Raises `ServiceFailed` unless it exits with 0."""
        done = self.attempt(*arguments)
        if done.returncode != 0:
            raise ServiceFailed(
                f"parcours {' '.join(arguments)} failed ({done.returncode}):\n{done.stdout}{done.stderr}"
            )
        return done.stdout

    def attempt(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `parcours <arguments>` beside it, whatever its exit code."""
        environment = self.door.environment | self._settings
        return subprocess.run(
            [sys.executable, "-m", "services.cli", *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def post(self, bodies: Sequence[bytes], connections: int = 2) -> float:
        """Post batches until each is acknowledged; return the seconds it took."""
        return deliver(self.door.port, WRITE_KEY, bodies, connections)

    def settle(self, seconds: float = 400.0) -> float:
        """Wait until everything posted so far is read, folded, published and, as far as it is due, acted upon.

        Returns the seconds it took; raises `ServiceFailed` with what is still open when time is up.
        """
        started = time.monotonic()
        quiet = _clock.now() + max(self.tuning.settle, self.tuning.settle_history)
        while True:
            for service in self.services.values():
                if (code := service.ended_by_itself()) is not None:
                    raise ServiceFailed(f"{service.name} ended by itself with the exit code {code}.{service.tail()}")
            still = self._unsettled(quiet)
            if still is None:
                return time.monotonic() - started
            if time.monotonic() - started > seconds:
                tails = "".join(service.tail(8) for service in self.services.values())
                raise ServiceFailed(f"Not settled within {seconds:.0f} s: {still}.{tails}")
            time.sleep(_SETTLE_POLL_SECONDS)

    def _unsettled(self, quiet: int) -> str | None:
        still = open_work(self.state, self.tuning.partitions, quiet)
        return still or self.with_log(lambda log: unread(self.state, log))

    def records(self, topic: str) -> list[StoredRecord]:
        """All committed records of a topic, partition after partition."""

        async def read(log: EventLog) -> list[StoredRecord]:
            found: list[StoredRecord] = []
            for partition in range(self.tuning.partitions):
                place = TopicPartition(topic, partition)
                offset, _ = await log.bounds(place)
                while chunk := await log.read(place, offset, 5_000):
                    found += chunk
                    offset = chunk[-1].offset + 1
            return found

        return self.with_log(read)

    def open_log(self) -> EventLog:
        """A log object of the test's own, not started."""
        if self._cluster is None:
            return EmbeddedEventLog(self.data_dir / "log.db", _clock.now)
        return KafkaEventLog(self._cluster.bootstrap_servers, _clock.now, prefix=self._cluster.prefix)

    def drain(self) -> None:
        """End every process with SIGTERM; each must exit with 0."""
        for service in self.services.values():
            if service.running:
                service.drain()

    def discard(self) -> None:
        """Kill whatever still runs."""
        for service in self.services.values():
            service.discard()

    def with_log(self, work: Callable[[EventLog], Coroutine[Any, Any, _T]]) -> _T:
        """Run work of the test's own on the system's log."""

        async def run() -> _T:
            log = self.open_log()
            try:
                await log.start()
                return await work(log)
            finally:
                await log.close()

        return asyncio.run(run())
