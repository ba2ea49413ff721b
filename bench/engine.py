"""What the stage engine costs, on Apache Kafka and PostgreSQL and on the embedded shape.

Run it as `python -m bench.engine [--events 1000000] [--customers 50000] [--shape cluster|embedded]`. Per shape it fills
the topic of events, reads it once in a loop that only decodes each record's headers and JSON (the floor), then lets one
process of the stage engine catch up with it. It prints events per second, their ratio, CPU microseconds per event of
that process alone (its start included), its greatest resident memory, and the seconds until it has stored something.
"""

import argparse
import asyncio
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from time import perf_counter, time
from typing import NamedTuple

import msgspec
from sqlalchemy import text

from localservers import KafkaServer, PostgresServer
from localservers.processes import free_port
from schemas.ids import partition_of, record_key
from schemas.records import EventEnvelope, Record, read_envelope
from schemas.times import DAY, format_instant
from schemas.topics import EVENTS
from services.bootstrap import Container, make_container, migrate
from services.eventlog.port import TopicPartition, Writer
from services.settings import Settings, load_settings
from services.storage.database import Database

__all__ = ["Measured", "main"]

APPEND = 2_000
SPAN = 180 * DAY
PATIENCE = 1_800.0
MIX = {
    "Page Viewed": 20, "Product Viewed": 12, "Products Searched": 5, "Checkout Started": 3, "Order Completed": 5,
    "Signed In": 16, "Feature Used": 24, "Setup Completed": 1, "Help Searched": 2, "Error Shown": 1, "Email Opened": 4,
    "Newspaper Read": 4, "Referral Converted": 1, "Subscription Cancelled": 0.3, "$identify": 1.7,
}  # fmt: skip


class Measured(NamedTuple):
    """Events per second of the floor and of the engine; CPU µs per event, memory in MB, seconds until ready."""

    floor: float
    rate: float
    cpu: float
    memory: float
    ready: float


def population(events: int, customers: int, partitions: int) -> Iterator[Record]:
    """A seeded population over half a year, in order of time, as the door would have written it."""
    dice = random.Random(7)
    received_at = round(time() * 1000)
    names, weights = list(MIX), list(MIX.values())
    for number in range(events):
        at = received_at - SPAN + SPAN * number // events
        customer = f"u-{dice.randrange(customers)}"
        name = dice.choices(names, weights)[0]
        message_id = str(uuid.UUID(int=dice.getrandbits(128)))
        properties = {"feature": dice.choice("abcdef"), "plan": "pro", "revenue": dice.randrange(200) + 0.5}
        body = {
            "messageId": message_id,
            "type": "identify" if name == "$identify" else "track",
            "userId": customer,
            "event": name,
            "timestamp": format_instant(at),
            "traits" if name == "$identify" else "properties": properties,
            "context": {"library": {"name": "analytics-python", "version": "2.4.0"}, "ip": "127.0.0.1"},
        }
        envelope = EventEnvelope("default", f"user:{customer}", message_id, name, at, received_at)
        key = record_key("default", envelope.subject)
        place = partition_of(key, partitions)
        yield Record(EVENTS, place, key, json.dumps(body).encode(), envelope.headers(), received_at)


async def fill(container: Container, events: int, customers: int) -> None:
    """Append the population to the topic of events."""
    writer = container.log.writer()
    batch: list[Record] = []
    for record in population(events, customers, container.settings.partitions):
        batch.append(record)
        if len(batch) >= APPEND:
            await _append(writer, batch)
            batch = []
    await _append(writer, batch)
    await writer.close()


async def _append(writer: Writer, batch: list[Record]) -> None:
    errors = [error for error in await writer.append(batch) if error is not None]
    if errors:
        raise errors[0]


class _FromTheStart:
    """Reads every partition from its first record."""

    async def assigned(self, partitions: frozenset[int]) -> Mapping[TopicPartition, int]:
        return {TopicPartition(EVENTS, partition): 0 for partition in partitions}

    async def revoked(self, partitions: frozenset[int]) -> None:
        return None


async def floor(container: Container, events: int) -> float:
    """Events per second of a loop that only reads and decodes."""
    reader = await container.log.reader("bench-floor", [EVENTS], _FromTheStart())
    decode = msgspec.json.Decoder().decode
    seen = 0
    start = 0.0
    while seen < events:
        polled = await reader.poll(8_000, 500)
        start = start or perf_counter()
        for records in polled.values():
            for record in records:
                read_envelope(record)
                decode(record.value or b"")
            seen += len(records)
    rate = seen / (perf_counter() - start)
    await reader.close()
    return rate


def _stored(database: Database) -> int:
    """How many events the engine has stored the positions of."""
    query = text("SELECT sum(next_offset) FROM positions WHERE processor = 'stage_engine' AND topic = :topic")
    with database.reading() as transaction:
        return int(transaction.connection.execute(query, {"topic": EVENTS}).scalar() or 0)


async def engine(
    container: Container, environment: Mapping[str, str], events: int
) -> tuple[float, float, float, float]:
    """Rate, CPU µs per event, memory in MB and seconds until ready of one process that catches up."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = perf_counter()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.engine_worker", env={**os.environ, **environment}, stdout=subprocess.DEVNULL
    )
    database = container.databases["stage_engine"]
    ready = begun = 0.0
    first = done = 0
    while done < events:
        await asyncio.sleep(0.05)
        if process.returncode is not None:
            raise SystemExit(f"The stage engine ended with exit code {process.returncode}.")
        if perf_counter() - started > PATIENCE:
            process.kill()
            raise SystemExit("The stage engine did not catch up in half an hour.")
        done = await asyncio.to_thread(_stored, database)
        if done and not begun:
            begun, first, ready = perf_counter(), done, perf_counter() - started
    rate = (done - first) / (perf_counter() - begun)
    process.send_signal(signal.SIGTERM)
    await process.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    unit = 1024 if sys.platform == "linux" else 1024 * 1024
    return rate, 1e6 * cpu / events, after.ru_maxrss / unit, ready


@asynccontextmanager
async def _opened(environment: Mapping[str, str]) -> AsyncIterator[Container]:
    settings: Settings = load_settings({**environment}, Path("/nonexistent"))
    container = make_container(settings)
    await container.log.start()
    try:
        yield container
    finally:
        await container.log.close()
        container.close()


async def measure(environment: Mapping[str, str], events: int, customers: int) -> Measured:
    """Fill, read, and let the engine catch up."""
    async with _opened(environment) as container:
        await migrate(container)
        await fill(container, events, customers)
        floor_rate = await floor(container, events)
        if container.settings.cluster:
            return Measured(floor_rate, *await engine(container, environment, events))
    # The embedded log belongs to the one process that runs.
    container = make_container(container.settings)
    try:
        return Measured(floor_rate, *await engine(container, environment, events))
    finally:
        container.close()


@contextmanager
def surroundings(shape: str) -> Iterator[dict[str, str]]:
    """The settings of a fresh system of that shape, as environment variables."""
    with tempfile.TemporaryDirectory(prefix="parcours-bench-") as folder:
        environment = {"PARCOURS_DATA_DIR": folder, "PARCOURS_PORT": str(free_port()), "PARCOURS_LOG_LEVEL": "ERROR"}
        if shape == "embedded":
            yield environment
            return
        kafka, postgres = KafkaServer(), PostgresServer()
        try:
            kafka.start()
            postgres.start()
            yield {**environment, "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers, "DATABASE_URL": postgres.url}
        finally:
            kafka.discard()
            postgres.discard()


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.engine", description="What the stage engine costs.")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--customers", type=int, default=50_000)
    parser.add_argument("--shape", choices=("cluster", "embedded"), action="append")
    given = parser.parse_args(arguments)
    for shape in given.shape or ("cluster", "embedded"):
        with surroundings(shape) as environment:
            found = asyncio.run(measure(environment, given.events, given.customers))
        print(
            f"stage engine, {shape}: {found.rate:,.0f} events/s, {found.rate / found.floor:.3f} x the floor of"
            f" {found.floor:,.0f} events/s; {found.cpu:.1f} µs CPU per event, {found.memory:.0f} MB,"
            f" ready after {found.ready:.1f} s",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
