"""Drives an engine's processor on a database as the runtime does, and judges what it published."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from behavior import Definition, Event, fold
from schemas.ids import record_key
from schemas.processing import Batch, BatchResult, DeadLetter, Output, Wake
from schemas.records import EventEnvelope, StoredRecord, header
from schemas.times import MINUTE, SECOND
from schemas.topics import EVENTS, ROUTED, STAGE_CHANGES
from services.storage.database import Database
from tracks.domain.folding import events_of, refold
from tracks.domain.rows import StageRow, SubjectKey, TransitionRow
from tracks.domain.subjects import subject_of_row
from tracks.engine import Engine
from tracks.handler import TrackProcessor
from tracks.store import TrackStore
from tracks.tables import TrackTables

__all__ = [
    "NOW",
    "Arrived",
    "Driver",
    "emptied",
    "engine_of",
    "expected",
    "processor_of",
    "record_of",
    "standing_of",
    "tables",
]

NOW = 4_000_000_000_000
"""The wall time of every batch (ms)."""

tables = TrackTables("tested_")


def engine_of(*definitions: Definition, settle: int = 5 * SECOND, settle_history: int = MINUTE) -> Engine:
    """An engine that runs these definitions."""
    return Engine(
        name="tested",
        source="/parcours/tested",
        definitions=definitions,
        inputs=(EVENTS, ROUTED),
        output_topic=STAGE_CHANGES,
        changed_type="parcours.stage.changed",
        corrected_type="parcours.stage.corrected",
        progress_type="parcours.stage.progress",
        settle=settle,
        settle_history=settle_history,
    )


def emptied(database: Database) -> Database:
    """The same database without rows of the harness's tables."""
    with database.transaction() as transaction:
        for table in tables.metadata.sorted_tables:
            transaction.connection.execute(table.delete())
    return database


def processor_of(*definitions: Definition) -> TrackProcessor:
    """A processor that runs these definitions on `tables`."""
    return TrackProcessor(engine_of(*definitions), TrackStore(tables))


@dataclass(frozen=True)
class Arrived:
    """An event as a test posts it; `at` and `received_at` in ms (by default it arrives when it happens)."""

    subject: str
    message_id: str
    name: str
    at: int
    properties: dict[str, Any] = field(default_factory=dict)
    sequence: int | None = None
    received_at: int | None = None

    @property
    def event(self) -> Event:
        """The same as the machine sees it."""
        return Event(self.at, self.message_id, self.name, self.sequence, self.properties)


def record_of(arrived: Arrived, offset: int = 0, *, topic: str = EVENTS, body: bytes | None = None) -> StoredRecord:
    """The record that the door would write; `body` replaces the value."""
    received_at = arrived.at if arrived.received_at is None else arrived.received_at
    envelope = EventEnvelope(
        "default", arrived.subject, arrived.message_id, arrived.name, arrived.at, received_at, sequence=arrived.sequence
    )
    content = "traits" if arrived.name == "$identify" else "properties"
    value = body if body is not None else json.dumps({content: arrived.properties}).encode()
    key = record_key("default", arrived.subject)
    return StoredRecord(topic, 0, offset, key, value, envelope.headers(), received_at)


@dataclass
class Driver:
    """One owner of partition 0. `outputs` and `dead` are what it gave back so far, in order."""

    database: Database
    processor: TrackProcessor
    clock: int = 0
    offset: int = 0
    outputs: list[Output] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    store: TrackStore = field(default_factory=lambda: TrackStore(tables))

    def __post_init__(self) -> None:
        """Begin to own the partition."""
        self.restart()

    def restart(self) -> None:
        """What the runtime does after a crash: nothing cached survives."""
        self.processor.forget(0)
        with self.database.transaction() as transaction:
            self.processor.take(transaction, 0)

    def post(self, events: Sequence[Arrived | StoredRecord]) -> BatchResult:
        """One batch in one transaction."""
        records = [each if isinstance(each, StoredRecord) else record_of(each, self.offset) for each in events]
        self.offset += len(records)
        with self.database.transaction() as transaction:
            result = self.processor.process(transaction, Batch(0, records, self.clock, NOW, {EVENTS: self.offset}))
        self._keep(result)
        return result

    def lose(self, events: Sequence[Arrived]) -> None:
        """A batch whose transaction does not commit."""
        try:
            with self.database.transaction() as transaction:
                records = [record_of(each, self.offset) for each in events]
                self.processor.process(transaction, Batch(0, records, self.clock, NOW, {EVENTS: self.offset}))
                raise _Crash
        except _Crash:
            self.restart()

    def wake(self, clock: int, limit: int = 100) -> int:
        """Let the clock pass, as the runtime does: wakes until nothing is due. Returns how many were needed."""
        self.clock = max(self.clock, clock)
        rounds = 0
        while (due := self.processor.next_wake(0)) is not None and due <= self.clock:
            with self.database.transaction() as transaction:
                result = self.processor.wake(transaction, Wake(0, self.clock, NOW, limit, {}))
            self._keep(result)
            rounds += 1
            assert rounds < 1_000, "the wakes do not end"
        return rounds

    def _keep(self, result: BatchResult) -> None:
        self.outputs += result.outputs
        self.dead += result.dead_letters

    def published(self) -> list[tuple[str, dict[str, Any]]]:
        """Type and data of every record published so far."""
        return [
            (header(output.headers, "ce_type") or "", json.loads(output.value or b"null")) for output in self.outputs
        ]

    def rows(self, subject: str) -> list[TransitionRow]:
        """All stored transitions of a subject, in the order of its journey."""
        key: SubjectKey = ("default", subject)
        with self.database.reading() as reading:
            rows = self.store.load_transitions(reading, [key])[key]
        return sorted(rows, key=lambda row: (row.effective_at, row.step, row.ordinal, row.track, row.revision))

    def stages(self, subject: str) -> dict[tuple[str, str], StageRow]:
        """The present stages of a subject, by lifecycle and track."""
        table = self.store.tables.stages
        with self.database.reading() as reading:
            found = reading.connection.execute(table.select().where(table.c.subject == subject)).all()
        return {(row.lifecycle, row.track): StageRow(*row) for row in found}

    def activity(self, subject: str) -> list[str]:
        """The message ids stored of a subject, in canonical order."""
        key: SubjectKey = ("default", subject)
        with self.database.reading() as reading:
            rows = self.store.load_history(reading, [key])[key]
        return [event.message_id for event in events_of(rows)]

    def check_state(self, subject: str) -> None:
        """What is stored of a subject is what its stored events fold to, silence included as far as it has counted."""
        key: SubjectKey = ("default", subject)
        with self.database.reading() as reading:
            row = self.store.load_subjects(reading, [key]).get(key)
            events = events_of(self.store.load_history(reading, [key])[key])
        if row is None:
            assert events == []
            return
        held = subject_of_row(row, self.processor.engine.definitions_of(subject))
        assert (row.first_at, row.last_at) == (events[0].at, events[-1].at)
        for definition, state in zip(held.definitions, held.states, strict=True):
            assert state is not None
            folded, _ = refold(definition, events, row.counted_to)
            assert state.dump() == folded.dump()

    def count(self, name: str) -> int:
        """A count of the engine."""
        table = self.store.tables.counts
        with self.database.reading() as reading:
            rows = reading.connection.execute(table.select().where(table.c.name == name)).all()
        return sum(row.value for row in rows)

    def check_published(self) -> dict[str, dict[str, Any]]:
        """Per id: added and retracted alternate and revisions rise by one. Returns what stands by the topic alone."""
        seen: dict[str, list[tuple[str, int]]] = defaultdict(list)
        standing: dict[str, dict[str, Any]] = {}
        for kind, data in self.published():
            corrected = kind.endswith(".corrected")
            for change in data["retracted"] if corrected else ():
                seen[change["id"]].append(("retracted", change["revision"]))
                assert standing.pop(change["id"])["revision"] == change["revision"]
            for change in data["added"] if corrected else (data,):
                seen[change["id"]].append(("added", change["revision"]))
                assert change["id"] not in standing
                standing[change["id"]] = change
        for steps in seen.values():
            assert steps == [(("added", "retracted")[n % 2], n // 2 + 1) for n in range(len(steps))]
        effects = [change["effect_id"] for change in standing.values()]
        assert len(effects) == len(set(effects)), "two standing transitions share an effect"
        return standing


class _Crash(Exception):
    """The transaction ends without a commit."""


def standing_of(rows: Sequence[TransitionRow], lifecycle: str) -> list[tuple[object, ...]]:
    """What a journey consists of, comparable with `expected`."""
    standing = (row for row in rows if row.superseded_at is None and row.lifecycle == lifecycle)
    places = {row: (row.effective_at, row.track, row.ordinal, row.from_stage or "", row.to_stage) for row in standing}
    return sorted((*place, row.transition, row.visit, row.reason or "", row.cause) for row, place in places.items())


def expected(definition: Definition, events: Sequence[Arrived], until: int) -> list[tuple[object, ...]]:
    """The journey by the machine alone, over the set of the events, up to `until` (ms)."""
    _, transitions = fold(definition, [each.event for each in events], until)
    places = [(each.at, each.track, each.ordinal, each.from_ or "", each.to) for each in transitions]
    return sorted(
        (*place, each.transition, each.visit, each.reason or "", each.cause)
        for place, each in zip(places, transitions, strict=True)
    )
