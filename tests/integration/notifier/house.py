"""A notifier of one partition over a real database, with records made by hand."""

from collections.abc import Sequence
from typing import Any

import msgspec

from notifier.composer import Composer
from notifier.domain.rendering import TemplateLibrary
from notifier.handlers import NotifierProcessor
from notifier.reads import MessageFilter, MessageReads, MessageSeen
from notifier.tables import metadata
from schemas.campaigns import Campaign
from schemas.changes import Because, Progress, TrackChange, TrackCorrected
from schemas.ids import DEFAULT_WORKSPACE, record_key
from schemas.processing import Batch, BatchResult, Output, Wake
from schemas.records import EventEnvelope, StoredRecord, cloud_event_headers
from schemas.times import DAY, format_instant, parse_instant
from schemas.topics import CONTROL, EVENTS, ROUTED, SEGMENT_CHANGES, STAGE_CHANGES
from services.runtime.clock import ManualClock
from services.storage.database import Database

__all__ = ["NOON", "PARTITION", "House", "change"]

NOON = parse_instant("2026-11-03T12:00:00Z")
PARTITION = 1
_encode = msgspec.json.encode


def change(
    subject: str = "user:ada",
    *,
    at: int = NOON,
    to: str = "adoption",
    id: str | None = None,
    **given: Any,
) -> TrackChange:
    """An entry into the adoption stage of the default lifecycle, which notifies `welcome`, unless said otherwise."""
    found = id or f"{subject}/{to}/{at}"
    values: dict[str, Any] = {
        "id": found,
        "revision": 1,
        "effect_id": found,
        "workspace": DEFAULT_WORKSPACE,
        "subject": subject,
        "lifecycle": "default",
        "version": 1,
        "track": "stage",
        "ordinal": 0,
        "step": 0,
        "from_": "awareness",
        "to": to,
        "transition": "purchase",
        "visit": 1,
        "effective_at": format_instant(at),
        "recorded_at": format_instant(at + 1_000),
        "reason": None,
        "because": Because("event", ("m1",)),
        "actions": ({"notify": "welcome"}, {"milestone": "customer"}),
    }
    return TrackChange(**{**values, **given})


class House:
    """A notifier. `published` is everything that it would publish.

    The clock of its partition is that of the wall less five seconds, or `own_clock` if a test sets it.
    """

    def __init__(
        self,
        database: Database,
        campaigns: Sequence[Campaign],
        templates: TemplateLibrary,
        *,
        smtp: bool = False,
        effects_within: int = DAY,
    ) -> None:
        self.database = database
        self.clock = ManualClock(NOON + 10_000)
        self.own_clock: int | None = None
        self.published: list[Output] = []
        self.reads = MessageReads(database)
        self.progress_of_reading = dict.fromkeys((EVENTS, ROUTED, CONTROL, STAGE_CHANGES, SEGMENT_CHANGES), 0)
        self._composer = Composer(campaigns, templates, "The Acme team <hello@acme.example>", smtp=smtp)
        self._effects_within = effects_within
        database.create(metadata)
        self.restart()

    def restart(self) -> None:
        """As after a crash: nothing in memory is kept."""
        self.processor = NotifierProcessor(self._composer, self._effects_within)
        with self.database.transaction() as transaction:
            self.processor.take(transaction, PARTITION)

    def identify(self, subject: str = "user:ada", *, at: int = NOON, **traits: object) -> StoredRecord:
        """An `identify`; it is on the topic when it is read."""
        body = _encode({"type": "identify", "traits": traits})
        return self.event("$identify", subject, at=at, body=body)

    def event(self, name: str, subject: str = "user:ada", *, at: int = NOON, body: bytes = b"{}") -> StoredRecord:
        """Any event."""
        offset = self._next(EVENTS)
        message_id = f"{name}-{offset}"
        envelope = EventEnvelope(DEFAULT_WORKSPACE, subject, message_id, name, at, self.clock.now())
        key = record_key(DEFAULT_WORKSPACE, subject)
        return StoredRecord(EVENTS, PARTITION, offset, key, body, envelope.headers(), self.clock.now())

    def changed(self, news: TrackChange, topic: str = STAGE_CHANGES) -> StoredRecord:
        """The record of a change."""
        return self._written(topic, "changed", news.subject, news)

    def corrected(
        self, retracted: Sequence[TrackChange], added: Sequence[TrackChange], topic: str = STAGE_CHANGES
    ) -> StoredRecord:
        """The record of a correction."""
        first = (*retracted, *added)[0]
        data = TrackCorrected(
            workspace=first.workspace,
            subject=first.subject,
            lifecycle=first.lifecycle,
            recorded_at=format_instant(self.clock.now()),
            cause="late",
            retracted=tuple(retracted),
            added=tuple(added),
        )
        return self._written(topic, "corrected", first.subject, data)

    def progress(self, *, events: int | None = None, clock: int = 0, topic: str = STAGE_CHANGES) -> StoredRecord:
        """The engine's progress: it had read events up to `events` (default: as far as they are written)."""
        read = self.progress_of_reading[EVENTS] if events is None else events
        data = Progress("stage_engine", PARTITION, {EVENTS: read, ROUTED: 0, CONTROL: 0}, format_instant(clock))
        return self._written(topic, "progress", None, data)

    def _written(self, topic: str, kind: str, subject: str | None, data: msgspec.Struct) -> StoredRecord:
        prefix = "parcours.stage" if topic == STAGE_CHANGES else "parcours.segment"
        offset = self._next(topic)
        headers = cloud_event_headers(
            f"{kind}-{offset}", f"{prefix}.{kind}", "/engine", self.clock.now(), subject or ""
        )
        key = record_key(DEFAULT_WORKSPACE, subject) if subject else b"progress"
        return StoredRecord(topic, PARTITION, offset, key, _encode(data), headers, self.clock.now())

    def _next(self, topic: str) -> int:
        offset = self.progress_of_reading[topic]
        self.progress_of_reading[topic] = offset + 1
        return offset

    def read(self, *records: StoredRecord, upto: dict[str, int] | None = None) -> BatchResult:
        """Process one batch; positions are the ends of all topics unless `upto` says otherwise."""
        order = (EVENTS, ROUTED, CONTROL, STAGE_CHANGES, SEGMENT_CHANGES)
        batch = Batch(
            partition=PARTITION,
            records=sorted(records, key=lambda record: order.index(record.topic)),
            clock=self._partition_clock(),
            now=self.clock.now(),
            positions={**self.progress_of_reading, **(upto or {})},
        )
        with self.database.transaction() as transaction:
            result = self.processor.process(transaction, batch)
        self.published += result.outputs
        return result

    def _partition_clock(self) -> int:
        return self.clock.now() - 5_000 if self.own_clock is None else self.own_clock

    def tick(self) -> BatchResult | None:
        """Wake the processor if something is due, until nothing is."""
        result: BatchResult | None = None
        clock = self._partition_clock()
        for _ in range(20):
            due = self.processor.next_wake(PARTITION)
            if due is None or due > clock:
                return result
            wake = Wake(PARTITION, clock, self.clock.now(), 100, dict(self.progress_of_reading))
            with self.database.transaction() as transaction:
                result = self.processor.wake(transaction, wake)
            self.published += result.outputs
        raise AssertionError("the processor never comes to rest")

    def messages(self, **wanted: str) -> list[MessageSeen]:
        """What GET /v1/messages would list, the oldest first."""
        return self.reads.recent(DEFAULT_WORKSPACE, MessageFilter(**wanted), None, 1_000)[::-1]

    def outcomes(self) -> list[tuple[str, str | None]]:
        """(campaign:outcome, reason) of everything published, in order."""
        decoded = [msgspec.json.decode(output.value or b"") for output in self.published]
        return [(f"{each['campaign']}:{each['outcome']}", each["reason"]) for each in decoded]
