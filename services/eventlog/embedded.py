"""The embedded event log: topics, partitions, groups and publishers in one SQLite file, for one process.

Durable when answered (WAL, synchronous=FULL, one commit for all appends in flight); each record carries a checksum
that is verified at every read. Groups share partitions among the members of this process; other processes may append
and read. A topic that keeps the latest record of each key is kept whole: nothing here reads it.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec

from schemas.records import StoredRecord
from schemas.topics import TopicSpec
from services.eventlog.embedded_groups import EmbeddedReader, Group
from services.eventlog.embedded_publisher import EmbeddedPublisher
from services.eventlog.embedded_store import (
    Fetched,
    Stream,
    Topic,
    Want,
    connect,
    load_topics,
    prune_stream,
    read_stream,
    read_streams,
    snapshot,
    stream_bounds,
)
from services.eventlog.embedded_writer import Committer, EmbeddedWriter, Unit
from services.eventlog.port import (
    LogClosed,
    LogError,
    LogUnavailable,
    RebalanceListener,
    TopicMismatch,
    TopicPartition,
    UnknownTopic,
)
from services.eventlog.topic_lines import check_lines, check_partitions, topic_lines

__all__ = ["EmbeddedEventLog"]

log = logging.getLogger(__name__)

APPEND_SECONDS = 3.0
ANSWER_SECONDS = 10.0
POLL_BYTES = 8 * 1_048_576
PRUNE_SECONDS = 60.0
_PRUNED_AT_ONCE = 200
_T = TypeVar("_T")


class EmbeddedEventLog:
    """The `EventLog` in one SQLite file."""

    def __init__(self, path: Path, clock: Callable[[], int], max_bytes: int | None = None) -> None:
        """`path` is the file, made at `start`; `clock` tells wall time in ms; `max_bytes` bounds the file's size."""
        self._path = path
        self._clock = clock
        self._max_bytes = max_bytes
        self._topics: dict[str, Topic] = {}
        self._groups: dict[str, Group] = {}
        self._writers: list[EmbeddedWriter] = []
        self._committer: Committer | None = None
        self._reading: sqlite3.Connection | None = None
        self._read_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="event-log-reader")
        self._pruning: asyncio.Task[None] | None = None
        self._closed = False

    async def start(self) -> None:
        """See `EventLog.start`."""
        if self._closed:
            raise LogClosed
        if self._committer is not None:
            return
        writing = await asyncio.to_thread(connect, self._path, self._max_bytes)
        try:
            self._reading = await asyncio.to_thread(connect, self._path)
        except BaseException:
            writing.close()
            raise
        self._committer = Committer(writing, self._grew)
        await self._load_topics()
        self._pruning = asyncio.create_task(self._prune_regularly(), name="event log retention")

    async def close(self) -> None:
        """See `EventLog.close`."""
        if self._closed:
            return
        self._closed = True
        if self._pruning is not None:
            self._pruning.cancel()
            await asyncio.gather(self._pruning, return_exceptions=True)
        for group in tuple(self._groups.values()):
            await group.close()
        for writer in self._writers:
            await writer.close()
        if self._committer is not None:
            await self._committer.close()
        await asyncio.to_thread(self._read_thread.shutdown)
        if self._reading is not None:
            self._reading.close()

    async def create_topics(self, specs: Sequence[TopicSpec], partitions: int) -> list[str]:
        """See `EventLog.create_topics`."""

        def create(unit: Unit) -> list[str]:
            existing = load_topics(unit.connection)
            missing = [spec for spec in specs if spec.name not in existing]
            _compare(existing, [spec for spec in specs if spec.name in existing], partitions)
            for spec in missing:
                lines = msgspec.json.encode(topic_lines(spec)).decode()
                row = (spec.name, partitions, spec.max_record_bytes, spec.retention, lines)
                unit.connection.execute("INSERT INTO topics VALUES (?, ?, ?, ?, ?)", row)
                unit.connection.executemany(
                    "INSERT INTO streams (topic, partition) VALUES (?, ?)",
                    [(spec.name, partition) for partition in range(partitions)],
                )
            return [spec.name for spec in missing]

        created = await self._open_committer().run(create, ANSWER_SECONDS)
        await self._load_topics()
        return created

    async def check_topics(self, specs: Sequence[TopicSpec], partitions: int) -> None:
        """See `EventLog.check_topics`."""
        await self._load_topics()
        _compare(self._topics, specs, partitions)

    def writer(self) -> EmbeddedWriter:
        """See `EventLog.writer`."""
        writer = EmbeddedWriter(self._open_committer(), self._topics, APPEND_SECONDS)
        self._writers.append(writer)
        return writer

    async def reader(self, group: str, topics: Sequence[str], listener: RebalanceListener) -> EmbeddedReader:
        """See `EventLog.reader`."""
        committer = self._open_committer()
        await self._load_topics()
        found = [self._topic(topic) for topic in topics]
        if len({len(topic.streams) for topic in found}) > 1:
            raise TopicMismatch(
                f"The topics {', '.join(topics)} have different numbers of partitions. Make them equal."
            )

        async def store(name: str, offsets: Mapping[TopicPartition, int]) -> None:
            rows = [(name, *position, offset) for position, offset in offsets.items()]
            await committer.run(lambda unit: _store_positions(unit, rows), ANSWER_SECONDS)

        joined = self._groups.get(group)
        if joined is None or not joined.members:
            joined = self._groups[group] = Group(group, found, store)
        if joined.topics != tuple(topics):
            raise LogError(
                f"The group {group} reads {', '.join(joined.topics)}; every member must read the same topics."
            )
        streams = {TopicPartition(topic.name, stream.partition): stream for topic in found for stream in topic.streams}
        reader = EmbeddedReader(joined, streams, listener, self._fetch, self._clock)
        joined.join(reader)
        return reader

    def publisher(self, processor: str, partition: int) -> EmbeddedPublisher:
        """See `EventLog.publisher`."""
        return EmbeddedPublisher(self._open_committer(), self._topics, processor, partition)

    async def read(self, position: TopicPartition, offset: int, limit: int) -> Sequence[StoredRecord]:
        """See `EventLog.read`."""
        stream = await self._stream(position)

        def work(connection: sqlite3.Connection) -> list[StoredRecord]:
            with snapshot(connection):
                return read_stream(connection, stream, offset, limit, POLL_BYTES)

        return await self._in_read_thread(work)

    async def bounds(self, position: TopicPartition) -> tuple[int, int]:
        """See `EventLog.bounds`."""
        stream = await self._stream(position)

        def work(connection: sqlite3.Connection) -> tuple[int, int]:
            with snapshot(connection):
                return stream_bounds(connection, stream)

        return await self._in_read_thread(work)

    async def prune(self) -> int:
        """Delete what is older than its topic's retention and not still to be read by a member; return the segments."""
        now = self._clock()
        pruned = 0
        for topic in tuple(self._topics.values()):
            if topic.retention is None:
                continue
            for stream in topic.streams:
                position = TopicPartition(stream.topic, stream.partition)
                unread = [
                    member.positions[position]
                    for group in self._groups.values()
                    for member in group.members
                    if position in member.positions
                ]
                floor = min(unread, default=1 << 62)
                pruned += await self._open_committer().run(
                    _pruning(stream, now - topic.retention, floor), ANSWER_SECONDS
                )
        return pruned

    async def _prune_regularly(self) -> None:
        while True:
            await asyncio.sleep(PRUNE_SECONDS)
            try:
                await self.prune()
            except LogError as error:
                log.warning("eventlog.prune_failed", extra={"reason": str(error)})

    async def _load_topics(self) -> None:
        def work(connection: sqlite3.Connection) -> dict[str, Topic]:
            with snapshot(connection):
                return load_topics(connection)

        self._topics.update(await self._in_read_thread(work))

    async def _fetch(self, wants: Sequence[Want], max_records: int) -> Sequence[Fetched]:
        return await self._in_read_thread(lambda connection: read_streams(connection, wants, max_records, POLL_BYTES))

    async def _in_read_thread(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        reading = self._reading
        if self._closed or reading is None:
            raise LogClosed
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await asyncio.get_running_loop().run_in_executor(self._read_thread, work, reading)
        except TimeoutError as error:
            raise LogUnavailable(f"The event log did not answer within {ANSWER_SECONDS:g} s.") from error

    async def _stream(self, position: TopicPartition) -> Stream:
        if position.topic not in self._topics:
            await self._load_topics()
        topic = self._topic(position.topic)
        if not 0 <= position.partition < len(topic.streams):
            raise UnknownTopic(
                f"{position.topic} has {len(topic.streams)} partitions, so none is {position.partition}."
            )
        return topic.streams[position.partition]

    def _topic(self, name: str) -> Topic:
        topic = self._topics.get(name)
        if topic is None:
            raise UnknownTopic(f"The topic {name} does not exist. Create the topics with `parcours migrate`.")
        return topic

    def _open_committer(self) -> Committer:
        if self._closed or self._committer is None:
            raise LogClosed
        return self._committer

    def _grew(self, streams: frozenset[int]) -> None:
        for group in self._groups.values():
            for member in group.members:
                member.notice(streams)


def _compare(existing: Mapping[str, Topic], specs: Sequence[TopicSpec], partitions: int) -> None:
    for spec in specs:
        topic = existing.get(spec.name)
        if topic is None:
            raise UnknownTopic(f"The topic {spec.name} does not exist. Create the topics with `parcours migrate`.")
        check_partitions(spec.name, len(topic.streams), partitions)
        check_lines(spec.name, topic.lines, topic_lines(spec))


def _store_positions(unit: Unit, rows: Sequence[tuple[str, str, int, int]]) -> None:
    unit.connection.executemany(
        "INSERT INTO positions VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET next_offset = excluded.next_offset",
        rows,
    )


def _pruning(stream: Stream, older_than: int, keep_from: int) -> Callable[[Unit], int]:
    return lambda unit: prune_stream(unit.connection, stream, older_than, keep_from, _PRUNED_AT_ONCE)
