"""A subject as an engine holds it in memory: its states, and when silence may count."""

from collections.abc import Sequence

import msgspec

from behavior import Definition, StaleState, State
from schemas.ids import record_key
from schemas.times import HOUR
from tracks.domain.rows import SubjectRow

__all__ = ["Subject", "quiet_until", "row_of_subject", "subject_of_row"]

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(dict[str, bytes])


class Subject:
    """One subject, and the definitions that apply to it; times in ms.

    `states` are in the order of `definitions`; None where the stored state cannot be used and the events must be folded
    again. `first_at` is None before the first event. `wake_at` is what is stored: never later than the instant at which
    something is due.
    """

    __slots__ = (
        "counted_to",
        "definitions",
        "first_at",
        "key",
        "last_at",
        "partition",
        "quiet_until",
        "states",
        "subject",
        "superseded_through",
        "wake_at",
        "workspace",
    )

    def __init__(
        self,
        workspace: str,
        subject: str,
        partition: int,
        definitions: Sequence[Definition],
        states: list[State | None] | None = None,
    ) -> None:
        """A subject of whom nothing is known yet, or of whom only `states` are."""
        self.key = record_key(workspace, subject)
        self.workspace = workspace
        self.subject = subject
        self.partition = partition
        self.definitions = definitions
        self.states = [State.new(definition) for definition in definitions] if states is None else states
        self.wake_at: int | None = None
        self.first_at: int | None = None
        self.last_at = 0
        self.quiet_until = 0
        self.counted_to = 0
        self.superseded_through = 0

    @property
    def due_at(self) -> int | None:
        """The instant at which something falls due and silence may count: None when nothing will."""
        due: int | None = None
        for state in self.states:
            if state is not None:
                next_due = state.next_due_at
                if next_due is not None and (due is None or next_due < due):
                    due = next_due
        return None if due is None else max(due, self.quiet_until)

    def lower_wake(self) -> None:
        """Make `wake_at` early enough for what is due. It is not moved later: that would cost an index entry a time."""
        due = self.due_at
        if due is not None and (self.wake_at is None or due < self.wake_at):
            self.wake_at = due

    def arrived(self, occurred_at: int, received_at: int, settle: int, settle_history: int) -> None:
        """Note that an event arrived: its time, and that silence has to wait for what may follow it."""
        if self.first_at is None or occurred_at < self.first_at:
            self.first_at = occurred_at
        if occurred_at > self.last_at:
            self.last_at = occurred_at
        until = quiet_until(occurred_at, received_at, settle, settle_history)
        if until > self.quiet_until:
            self.quiet_until = until


def quiet_until(occurred_at: int, received_at: int, settle: int, settle_history: int) -> int:
    """Until when (ms) due instants wait after an event: `settle_history` if it was over an hour old on arrival."""
    return received_at + (settle_history if received_at - occurred_at > HOUR else settle)


def row_of_subject(subject: Subject) -> SubjectRow:
    """The subject as it is stored."""
    return SubjectRow(
        workspace=subject.workspace,
        subject=subject.subject,
        partition=subject.partition,
        states=_encoder.encode(
            {
                definition.name: state.dump()
                for definition, state in zip(subject.definitions, subject.states, strict=True)
                if state is not None
            }
        ),
        wake_at=subject.wake_at,
        first_at=subject.first_at,
        last_at=subject.last_at,
        quiet_until=subject.quiet_until,
        counted_to=subject.counted_to,
        superseded_through=subject.superseded_through,
    )


def subject_of_row(row: SubjectRow, definitions: Sequence[Definition]) -> Subject:
    """The stored subject; where a definition is new or has changed since, it has no state."""
    stored = _decoder.decode(row.states)
    states = [_load(definition, stored.get(definition.name)) for definition in definitions]
    subject = Subject(row.workspace, row.subject, row.partition, definitions, states)
    subject.wake_at = row.wake_at
    subject.first_at = row.first_at
    subject.last_at = row.last_at
    subject.quiet_until = row.quiet_until
    subject.counted_to = row.counted_to
    subject.superseded_through = row.superseded_through
    return subject


def _load(definition: Definition, stored: bytes | None) -> State | None:
    if stored is None:
        return None
    try:
        return State.load(definition, stored)
    except StaleState:
        return None
