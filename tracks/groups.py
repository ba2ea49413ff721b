"""The part of a batch that concerns one subject, and what becomes of it."""

from collections.abc import Sequence

import msgspec

from behavior import Definition, Event, State, Transition, advance, canonical_order
from tracks.domain.changes import Journey
from tracks.domain.folding import events_of, forward, in_order, refold
from tracks.domain.rows import ActivityRow, EventKey, SubjectKey, TransitionRow
from tracks.domain.subjects import Subject
from tracks.reading import Arrival
from tracks.results import Results

__all__ = ["DEFINITION_CHANGED", "Group"]

DEFINITION_CHANGED = "definition"
"""The cause of a correction that no event brought about."""


class Group:
    """New events of one subject, and facts taken out of its set.

    `transitions[i]` are those that follow under definition *i*, folded forward; None where the history is needed, and
    then `folded[i]` holds all transitions of the journey once `fold_history` has run. Whatever raises `BehaviorError`
    leaves states that must be thrown away.
    """

    __slots__ = ("arrivals", "cause", "folded", "subject", "transitions", "withdrawn")

    def __init__(self, subject: Subject, arrivals: list[Arrival], withdrawn: Sequence[str] = ()) -> None:
        """What a batch brings for `subject`; `withdrawn` are message ids."""
        self.subject = subject
        self.arrivals = arrivals
        self.withdrawn = withdrawn
        self.transitions: list[list[Transition] | None] = []
        self.folded: dict[int, list[Transition]] = {}
        self.cause = DEFINITION_CHANGED

    @property
    def key(self) -> SubjectKey:
        """(workspace, subject)."""
        return self.subject.workspace, self.subject.subject

    def withdrawn_keys(self) -> list[EventKey]:
        """The keys of the facts that are taken out."""
        return [(*self.key, message_id) for message_id in self.withdrawn]

    def drop_repeats(self) -> int:
        """Keep the first of the events with one message id, flagged if another had another content.

        Returns how many had another content.
        """
        unique: dict[str, Arrival] = {}
        conflicts = 0
        for arrival in self.arrivals:
            first = unique.setdefault(arrival.row.message_id, arrival)
            if first is not arrival and first.row.contradicts(arrival.row):
                unique[arrival.row.message_id] = msgspec.structs.replace(first, row=first.row.in_conflict())
                conflicts += 1
        self.arrivals = list(unique.values())
        return conflicts

    def drop_unconsulted(self) -> None:
        """Keep the events that a definition consults, and those of the subject's first instant: it begins with one."""
        first = self.subject.first_at
        kept = []
        for arrival in self.arrivals:
            at = arrival.row.occurred_at
            if first is None or at <= first:
                first = at
            elif not any(definition.touches(arrival.row.name) for definition in self.subject.definitions):
                continue
            kept.append(arrival)
        self.arrivals = kept

    def note_arrivals(self, settle: int, settle_history: int) -> None:
        """Tell the subject of its new events: when they happened, and that silence has to wait (ms)."""
        for arrival in self.arrivals:
            self.subject.arrived(arrival.row.occurred_at, arrival.row.received_at, settle, settle_history)

    def fold_forward(self) -> None:
        """Fold the events that follow everything applied. Raises `BehaviorError`."""
        events = [arrival.event for arrival in self.arrivals]
        if len(events) > 1:
            events.sort(key=canonical_order)
        if self.withdrawn:
            self.cause = self.withdrawn[0]
        elif events:
            self.cause = events[0].message_id
        self.transitions = [
            self._forward(definition, state, events)
            for definition, state in zip(self.subject.definitions, self.subject.states, strict=True)
        ]

    def _forward(self, definition: Definition, state: State | None, events: Sequence[Event]) -> list[Transition] | None:
        if state is None or self.withdrawn:
            return None
        ordered = in_order(definition, state, events) if events else ()
        if ordered is None:
            return None
        return forward(definition, state, ordered, self.subject.counted_to) if ordered else []

    def fold_silence(self, clock: int) -> None:
        """Run the due instants up to `clock` (ms). Raises `BehaviorError`."""
        self.transitions = [
            advance(definition, state, clock) if state is not None else None
            for definition, state in zip(self.subject.definitions, self.subject.states, strict=True)
        ]

    @property
    def needs_history(self) -> bool:
        """Whether a definition must be folded from the beginning."""
        return None in self.transitions

    @property
    def needs_rows(self) -> bool:
        """Whether the stored transitions must be known: some are to be compared, or may come back."""
        through = self.subject.superseded_through
        for transitions in self.transitions:
            if transitions is None:
                return True
            for transition in transitions:
                if transition.at <= through:
                    return True
        return False

    def fold_history(self, rows: Sequence[ActivityRow]) -> None:
        """Fold all stored events of the subject where that is needed. Raises `BehaviorError`."""
        subject = self.subject
        events = events_of(rows)
        subject.first_at = events[0].at if events else None
        for index, transitions in enumerate(self.transitions):
            if transitions is None:
                subject.states[index], self.folded[index] = refold(
                    subject.definitions[index], events, subject.counted_to
                )

    def record(self, results: Results, stored: Sequence[TransitionRow], now: int) -> None:
        """Hand in what follows; `stored` are all rows of the subject's transitions where `needs_rows`."""
        subject = self.subject
        for index, definition in enumerate(subject.definitions):
            transitions = self.transitions[index]
            if not transitions and index not in self.folded:
                continue
            journey = Journey(subject.workspace, subject.subject, subject.partition, definition, now)
            rows = [row for row in stored if row.lifecycle == definition.name]
            state = subject.states[index]
            if transitions is None and state is not None:
                through = results.repair(subject.key, journey, rows, (state, self.folded[index]), self.cause)
                subject.superseded_through = max(subject.superseded_through, through)
            elif transitions:
                results.append(subject.key, journey, rows, transitions)
