"""The clock of a partition: how far silence may count, given what was read. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from schemas.changes import Progress
from schemas.records import StoredRecord
from schemas.times import InvalidTime, parse_instant
from schemas.topics import EVENTS, ROUTED, TOPICS

__all__ = ["InputState", "carries_progress", "clock_after", "progress_clock", "smallest_received"]

PROGRESS_SUFFIX: Final = ".progress"
_PROGRESS_TOPICS: Final = frozenset(
    spec.name for spec in TOPICS if any(kind.endswith(PROGRESS_SUFFIX) for kind in spec.types)
)
_decode_progress: Final = msgspec.json.Decoder(Progress).decode


@dataclass(frozen=True, slots=True)
class InputState:
    """What is known of one input topic of a partition once a batch is stored. All times in ms.

    `read_until`: wall time of the latest answer that held nothing more, or None when records still wait.
    `received`: the smallest `received_at` among the event records of the batch, if any.
    `bound`: for a topic that carries progress records, the clock of the latest one read (None: none yet).
    """

    topic: str
    read_until: int | None = None
    received: int | None = None
    bound: int | None = None


def carries_progress(topic: str) -> bool:
    """Whether the records of a topic include its writer's progress, which bounds every reader's clock."""
    return topic in _PROGRESS_TOPICS


def progress_clock(records: Iterable[StoredRecord]) -> int | None:
    """The greatest clock (ms) among the progress records; None when there is none. Unreadable ones are passed over."""
    latest: int | None = None
    for record in records:
        kind = next((value for name, value in record.headers if name == "ce_type"), b"")
        if not kind.endswith(PROGRESS_SUFFIX.encode()) or record.value is None:
            continue
        try:
            clock = parse_instant(_decode_progress(record.value).clock)
        except (msgspec.MsgspecError, InvalidTime):
            continue
        latest = clock if latest is None else max(latest, clock)
    return latest


def smallest_received(topic: str, records: Sequence[StoredRecord]) -> int | None:
    """The smallest `received_at` of a batch's records of one topic; None for topics that carry no events."""
    if topic not in (EVENTS, ROUTED) or not records:
        return None
    return min(record.timestamp for record in records)


def clock_after(stored: int, inputs: Sequence[InputState], settle: int) -> int:
    """The partition's clock: never before `stored`, never past what any input is known to have been read through.

    Where an input has nothing more to read, that is the time of the answer that said so; while it lags, the smallest
    `received_at` just read from it; both minus `settle` (ms). A topic that carries progress bounds the clock by its
    writer's own. An input of which nothing is known holds the clock where it stands.
    """
    clock: int | None = None
    for state in inputs:
        if carries_progress(state.topic):
            reached = state.bound
        else:
            known = [time - settle for time in (state.read_until, state.received) if time is not None]
            reached = max(known, default=None)
        if reached is None:
            return stored
        clock = reached if clock is None else min(clock, reached)
    return stored if clock is None else max(stored, clock)
