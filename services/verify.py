"""`parcours verify`: reads a live system's log and databases and holds them to what must be true of them."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select

from behavior import Definition
from schemas.records import Record, StoredRecord
from schemas.topics import CUSTOMERS, EVENTS, REJECTED, ROUTED, SEGMENT_CHANGES, STAGE_CHANGES, TOPICS
from services.bootstrap import ENGINES, Container
from services.definitions import load_lifecycles, load_segments
from services.eventlog.port import TopicPartition
from services.runtime.verification import (
    ChangeHistory,
    Findings,
    Numbered,
    Sequences,
    check_standing,
    event_keys,
    kind_of,
    numbered,
)
from services.storage import outbox, tables
from services.storage.database import Transaction
from services.verify_journeys import check_journeys
from tracks.bulk import SelectMany
from tracks.tables import TrackTables

__all__ = ["verify"]

_READ: Final = 5_000
_ALL_CHUNKS: Final = 1 << 30
_EVENT_KEY: Final = ("workspace", "subject", "message_id")
_OUTPUT_TOPICS: Final = tuple(spec.name for spec in TOPICS if spec.name not in (EVENTS, CUSTOMERS))


@dataclass(frozen=True, slots=True)
class _Engine:
    name: str
    tables: TrackTables
    definitions: tuple[Definition, ...]
    changes_topic: str


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """What one database says of one (processor, partition) at one moment; `standing`: id to (revision, recorded_at)."""

    positions: Mapping[str, int]
    published_through: int
    waiting: tuple[Numbered, ...]
    waiting_rejected: frozenset[str]
    standing: Mapping[str, tuple[int, int]]


async def verify(container: Container, customers: int) -> Findings:
    """Check everything and say what was counted; the log is started. `customers`: how many to refold (0: all).

    Works while the system runs. Raises `StorageError`, `LogError`, `InvalidDefinition`.
    """
    findings = Findings()
    engines = await asyncio.to_thread(_engines, container)
    for partition in range(container.settings.partitions):
        await _Partition(container, engines, partition, findings).check()
    for engine in engines:
        database = container.databases[engine.name]
        await asyncio.to_thread(
            check_journeys, database, engine.name, engine.tables, engine.definitions, findings, customers
        )
    return findings


def _engines(container: Container) -> tuple[_Engine, ...]:
    from segmenter.tables import tables as segmenter
    from stage_engine.tables import tables as stage_engine

    folder = container.settings.definitions_dir
    return (
        _Engine("stage_engine", stage_engine, load_lifecycles(folder), STAGE_CHANGES),
        _Engine("segmenter", segmenter, load_segments(folder), SEGMENT_CHANGES),
    )


class _Partition:
    """The checks of one partition."""

    def __init__(self, container: Container, engines: Sequence[_Engine], partition: int, findings: Findings) -> None:
        self._container = container
        self._engines = {engine.name: engine for engine in engines}
        self._partition = partition
        self._findings = findings
        self._published: dict[str, list[Numbered]] = {name: [] for name in ENGINES}
        self._rejected: set[str] = set()
        self._first_times: dict[str, int] = {}

    async def check(self) -> None:
        """All of them. The databases are asked first: what they knew must be on the log read afterwards."""
        snapshots = {name: await asyncio.to_thread(self._snapshot, name) for name in ENGINES}
        sequences = {name: Sequences(f"{name}, partition {self._partition}", self._findings) for name in ENGINES}
        for topic in _OUTPUT_TOPICS:
            await self._read_outputs(topic, sequences)
        for name, snapshot in snapshots.items():
            if snapshot is not None:
                sequences[name].finish(snapshot.published_through)
        for name in self._engines:
            if (snapshot := snapshots[name]) is not None:
                self._check_changes(name, snapshot)
        if (snapshot := snapshots["stage_engine"]) is not None:
            for topic in (EVENTS, ROUTED):
                await self._check_accepted(topic, snapshot)

    def _snapshot(self, name: str) -> _Snapshot | None:
        """None while the processor has never owned the partition."""
        with self._container.databases[name].reading() as transaction:
            relay = transaction.connection.execute(
                select(tables.relays.c.published_through).where(
                    (tables.relays.c.processor == name) & (tables.relays.c.partition == self._partition)
                )
            ).scalar_one_or_none()
            if relay is None:
                return None
            read = transaction.connection.execute(
                select(tables.positions.c.topic, tables.positions.c.next_offset).where(
                    (tables.positions.c.processor == name) & (tables.positions.c.partition == self._partition)
                )
            )
            offsets = {row.topic: row.next_offset for row in read}
            chunks = outbox.read(transaction, name, self._partition, relay, _ALL_CHUNKS)
            standing = self._standing(transaction, name)
        waiting = [
            (sequence, record)
            for chunk in chunks
            for sequence, record in enumerate(chunk.records, start=chunk.first)
            if sequence > relay
        ]
        rejected = frozenset(_place_of(record) for _, record in waiting if record.topic == REJECTED)
        records = tuple(
            Numbered(sequence, kind_of(record.headers), record.value or b"", f"the outbox of {name}")
            for sequence, record in waiting
            if self._is_change(name, record.topic)
        )
        return _Snapshot(offsets, relay, records, rejected, standing)

    def _is_change(self, name: str, topic: str) -> bool:
        return name in self._engines and topic == self._engines[name].changes_topic

    def _standing(self, transaction: Transaction, name: str) -> Mapping[str, tuple[int, int]]:
        if name not in self._engines:
            return {}
        rows = self._engines[name].tables.transitions.c
        query = select(rows.id, rows.revision, rows.recorded_at).where(
            (rows.partition == self._partition) & rows.superseded_at.is_(None)
        )
        return {id_: (revision, at) for id_, revision, at in transaction.connection.execute(query)}

    async def _read_outputs(self, topic: str, sequences: Mapping[str, Sequences]) -> None:
        start, _ = await self._container.log.bounds(TopicPartition(topic, self._partition))
        seen: set[str] = set()
        async for record in self._records(topic):
            if topic == REJECTED:
                self._rejected.add(_place_of(record))
            if (found := numbered(record)) is None:
                continue
            processor, told = found
            if processor not in sequences:
                continue
            if start > 0 and processor not in seen:
                seen.add(processor)
                sequences[processor].begins_with(told.sequence)
                self._first_times[processor] = record.timestamp
            sequences[processor].add(told.sequence, told.place)
            if self._is_change(processor, topic):
                self._published[processor].append(told)

    async def _records(self, topic: str, end: int | None = None) -> AsyncIterator[StoredRecord]:
        place = TopicPartition(topic, self._partition)
        offset, last = await self._container.log.bounds(place)
        last = last if end is None else min(last, end)
        while offset < last:
            records = await self._container.log.read(place, offset, _READ)
            if not records:
                return
            for record in records:
                if record.offset >= last:
                    return
                yield record
            offset = records[-1].offset + 1

    def _check_changes(self, name: str, snapshot: _Snapshot) -> None:
        since = self._first_times.get(name)
        history = ChangeHistory(self._findings, complete=since is None)
        for told in self._published[name]:
            if told.sequence <= snapshot.published_through:
                history.add(told)
        for told in snapshot.waiting:
            history.add(told)
        known = history.known()
        stored = {
            id_: revision
            for id_, (revision, at) in snapshot.standing.items()
            if since is None or id_ in known or at > since
        }
        check_standing(f"{name}, partition {self._partition}", history, stored, self._findings)

    async def _check_accepted(self, topic: str, snapshot: _Snapshot) -> None:
        """Every event below the stored position is in the activity or was set aside; the others are still ahead."""
        through = snapshot.positions.get(topic, 0)
        _, end = await self._container.log.bounds(TopicPartition(topic, self._partition))
        self._findings.count("records still ahead", max(0, end - through))
        batch: list[StoredRecord] = []
        async for record in self._records(topic, through):
            batch.append(record)
            if len(batch) >= _READ:
                await asyncio.to_thread(self._check_stored, batch, snapshot)
                batch = []
        await asyncio.to_thread(self._check_stored, batch, snapshot)

    def _check_stored(self, batch: Sequence[StoredRecord], snapshot: _Snapshot) -> None:
        self._findings.count("accepted events", len(batch))
        keyed = event_keys(batch)
        activity = SelectMany(self._engines["stage_engine"].tables.activity, _EVENT_KEY, _EVENT_KEY)
        with self._container.databases["stage_engine"].reading() as transaction:
            stored = set(activity.run(transaction, list({key for key, _ in keyed})))
        for key, place in keyed:
            if key in stored:
                continue
            if place in self._rejected or place in snapshot.waiting_rejected:
                self._findings.count("events set aside")
            else:
                self._findings.wrong("accepted", f"The event at {place} is in no customer's activity.")


def _place_of(record: Record | StoredRecord) -> str:
    return next((value.decode("utf-8", "replace") for name, value in record.headers if name == "ce_place"), "")
