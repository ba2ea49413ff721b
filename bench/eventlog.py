"""What an append and a poll cost per record on both event logs, and how fast they are.

Run it as `python -m bench.eventlog`. Appends are batches of 100 from eight callers at once; polls ask for 4,000. It
prints records per second, CPU microseconds per record of this process, and the median wait of a single append.
"""

import argparse
import asyncio
import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

from localservers import KafkaServer
from schemas.ids import partition_of, record_key
from schemas.records import Record, cloud_event_headers
from schemas.topics import EVENTS, STAGE_CHANGES, TOPICS
from services.eventlog.embedded import EmbeddedEventLog
from services.eventlog.kafka import KafkaEventLog
from services.eventlog.port import EventLog, PublisherState, SequencedRecord, TopicPartition, Writer
from services.runtime.clock import SystemClock

__all__ = ["main"]

_CALLERS = 8
_BATCH = 100
_POLL = 4_000
_PARTITIONS = 4
_SINGLES = 50
_VALUE = (
    b'{"type":"track","event":"Order Completed","userId":"u-%d","timestamp":"2026-11-03T10:00:00.000Z",'
    b'"messageId":"m-%d","properties":{"total":12.5,"currency":"EUR","products":[{"product_id":"p-1"}]},'
    b'"context":{"library":{"name":"analytics-python","version":"2.4.0"}}}'
)


class _FromTheStart:
    """A listener without positions of its own."""

    async def assigned(self, partitions: frozenset[int]) -> Mapping[TopicPartition, int]:
        """Read everything."""
        return {TopicPartition(EVENTS, partition): 0 for partition in partitions}

    async def revoked(self, partitions: frozenset[int]) -> None:
        """Nothing is in flight."""


def _record(number: int, topic: str = EVENTS) -> Record:
    subject = f"user:u-{number % 5_000}"
    key = record_key("default", subject)
    now = SystemClock().now()
    headers = cloud_event_headers(f"m-{number}", "Order Completed", "/sources/default", now, subject)
    return Record(topic, partition_of(key, _PARTITIONS), key, _VALUE % (number % 5_000, number), headers, now)


async def _append(writer: Writer, batches: list[list[Record]]) -> None:
    waiting = iter(batches)

    async def caller() -> None:
        for batch in waiting:
            if any(await writer.append(batch)):
                raise RuntimeError("The log refused a record of the benchmark.")

    await asyncio.gather(*(caller() for _ in range(_CALLERS)))


async def _drain(log: EventLog, records: int) -> None:
    reader = await log.reader("bench", [EVENTS], _FromTheStart())
    left = records
    while left > 0:
        left -= sum(map(len, (await reader.poll(_POLL, 1_000)).values()))
    await reader.close()


async def _publish(log: EventLog, records: list[Record]) -> None:
    publisher = log.publisher("bench", 1)
    await publisher.open(PublisherState(0, 0))
    rows = [
        SequencedRecord(sequence, Record(STAGE_CHANGES, 1, record.key, record.value, record.headers, record.timestamp))
        for sequence, record in enumerate(records, start=1)
    ]
    for first in range(0, len(rows), 2_000):
        await publisher.publish(rows[first : first + 2_000])
    await publisher.close()


class _Stopwatch:
    def __init__(self) -> None:
        self._wall, self._cpu = perf_counter(), process_time()

    def line(self, what: str, records: int) -> str:
        wall, cpu = perf_counter() - self._wall, process_time() - self._cpu
        return f"  {what:<10} {records / wall:>9,.0f} records/s  {cpu / records * 1e6:>6.1f} µs CPU each"


async def _measure(name: str, log: EventLog, records: list[Record]) -> None:
    await log.start()
    try:
        await log.create_topics(TOPICS, _PARTITIONS)
        writer = log.writer()
        await writer.append(records[:1])
        batches = [records[first : first + _BATCH] for first in range(0, len(records), _BATCH)]
        print(f"{name}: {len(records):,} records")
        watch = _Stopwatch()
        await _append(writer, batches)
        print(watch.line("append", len(records)))
        watch = _Stopwatch()
        await _drain(log, len(records) + 1)
        print(watch.line("poll", len(records)))
        watch = _Stopwatch()
        await _publish(log, records[: len(records) // 2])
        print(watch.line("publish", len(records) // 2))
        waits: list[float] = []
        for number in range(_SINGLES):
            started = perf_counter()
            await writer.append([_record(number)])
            waits.append(perf_counter() - started)
        print(f"  one alone  {median(waits) * 1e3:>9.1f} ms at the median of {_SINGLES}", flush=True)
    finally:
        await log.close()


def main(arguments: list[str] | None = None) -> None:
    """Print the figures of both adapters. Nothing is asserted."""
    parser = argparse.ArgumentParser(prog="bench.eventlog", description=__doc__)
    parser.add_argument("--records", type=int, default=50_000, help="how many records to append and to read")
    parser.add_argument("--only", choices=("embedded", "kafka"), help="measure one adapter")
    chosen = parser.parse_args(arguments)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    records = [_record(number) for number in range(chosen.records)]
    clock = SystemClock()
    if chosen.only != "kafka":
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(_measure("embedded", EmbeddedEventLog(Path(folder) / "log.db", clock.now), records))
    if chosen.only != "embedded":
        server = KafkaServer()
        try:
            server.start()
            asyncio.run(_measure("kafka", _kafka(server, clock), records))
        finally:
            server.discard()


def _kafka(server: KafkaServer, clock: SystemClock) -> KafkaEventLog:
    return KafkaEventLog(server.bootstrap_servers, clock.now)


if __name__ == "__main__":
    main()
