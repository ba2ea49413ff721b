"""Where the door is measured: servers of the run's own, with topics and tables, on the cores that no worker has."""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.ingest.events import WRITE_KEY, now
from bench.ingest.processes import CHECKOUT, Cores, on_cores
from localservers import KafkaServer, PostgresServer
from schemas.topics import EVENTS, TOPICS
from services.eventlog.kafka import KafkaEventLog
from services.eventlog.port import TopicPartition

__all__ = ["PERFORMANCE_TOPIC", "PLAIN_TOPIC", "Setting", "setting", "stored_bytes"]

PARTITIONS: Final = 4
_PRODUCT: Final = "bench-door-"
_PLAIN: Final = "bench-plain-"
_PERFORMANCE: Final = "bench-performance-"
PLAIN_TOPIC: Final = _PLAIN + EVENTS
PERFORMANCE_TOPIC: Final = _PERFORMANCE + EVENTS
_UNREACHED: Final = "1000000000"
# Where /tmp is memory, a file there is durable without any work.
_ON_DISK: Final = Path("/var/tmp")


@dataclass(frozen=True, slots=True)
class Setting:
    """The addresses of the servers, the cores, and a folder on a disk."""

    bootstrap_servers: str
    database_url: str
    cores: Cores
    folder: Path

    def embedded(self, port: int) -> dict[str, str]:
        """Settings of the product's process on files of its own. Limits are looked at, and never reached."""
        return {
            "PARCOURS_PORT": str(port),
            "PARCOURS_DATA_DIR": str(self.folder / f"data-{port}"),
            "PARCOURS_DEFINITIONS_DIR": str(CHECKOUT / "definitions"),
            "PARCOURS_WRITE_KEY": WRITE_KEY,
            "PARCOURS_API_TOKEN": "pt_bench_of_the_door",
            "PARCOURS_PARTITIONS": str(PARTITIONS),
            "PARCOURS_TOPIC_PREFIX": _PRODUCT,
            "PARCOURS_KEY_EVENTS_PER_SECOND": _UNREACHED,
            "PARCOURS_KEY_BURST": _UNREACHED,
            "PARCOURS_ADDRESS_EVENTS_PER_SECOND": _UNREACHED,
            "PARCOURS_ADDRESS_BURST": _UNREACHED,
        }

    def cluster(self, port: int) -> dict[str, str]:
        """Settings of the product's process on Apache Kafka and PostgreSQL."""
        servers = {"KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers, "DATABASE_URL": self.database_url}
        return self.embedded(port) | servers


@contextmanager
def setting() -> Iterator[Setting]:
    """Apache Kafka and PostgreSQL until the block ends. Raises `LocalServerFailed`."""
    cores = Cores.of_this_machine()
    place = _ON_DISK if _ON_DISK.is_dir() else None
    with ExitStack() as stack:
        stack.enter_context(on_cores(cores.rest))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="parcours-bench-", dir=place)))
        kafka, postgres = KafkaServer(), PostgresServer()
        stack.callback(kafka.discard)
        stack.callback(postgres.discard)
        kafka.start()
        postgres.start()
        found = Setting(kafka.bootstrap_servers, postgres.url, cores, folder)
        asyncio.run(_create_topics(found.bootstrap_servers))
        command = [sys.executable, "-m", "services.cli", "migrate"]
        environment = {**os.environ, **found.cluster(0), "PYTHONPATH": str(CHECKOUT)}
        subprocess.run(command, env=environment, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        yield found


async def _create_topics(bootstrap_servers: str) -> None:
    for prefix in (_PLAIN, _PERFORMANCE):
        log = KafkaEventLog(bootstrap_servers, now, prefix)
        await log.start()
        try:
            await log.create_topics(TOPICS, PARTITIONS)
        finally:
            await log.close()


def stored_bytes(bootstrap_servers: str, most: int) -> list[bytes]:
    """Records that the door has stored, each as all its bytes in a row: key, headers, value."""

    async def read() -> list[bytes]:
        log = KafkaEventLog(bootstrap_servers, now, _PRODUCT)
        await log.start()
        try:
            records = await log.read(TopicPartition(EVENTS, 0), 0, most)
        finally:
            await log.close()
        return [
            b"".join(
                [record.key or b"", *(name.encode() + value for name, value in record.headers), record.value or b""]
            )
            for record in records
        ]

    return asyncio.run(read())
