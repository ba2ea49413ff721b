"""Which events fold forward, which need the whole history, and both folds."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import attrgetter

from behavior import Definition, Event, State, Transition, advance, apply, canonical_order, fold
from tracks.domain.rows import ActivityRow

__all__ = ["events_of", "forward", "in_order", "refold"]

_instant = attrgetter("at")


def in_order(definition: Definition, state: State, events: Sequence[Event]) -> Sequence[Event] | None:
    """The events to fold forward, of events in canonical order; None when the history must be folded again.

    An event is late if it is not later than everything applied. A late one needs the whole history unless its name
    feeds nothing in the definition and it is later than the subject's first instant: then it changes nothing. At that
    instant the first event in canonical order is the cause of the journey's beginning, and it may arrive second.
    """
    last = state.last_instant
    if events[0].at > last:
        return events
    first = state.first_at
    for event in events:
        if event.at > last:
            break
        if first is None or event.at <= first or definition.touches(event.name):
            return None
    return [event for event in events if event.at > last]


def forward(definition: Definition, state: State, events: Sequence[Event], counted_to: int) -> list[Transition]:
    """Fold events, in canonical order and later than everything applied, on the state; returns what happened.

    Silence that has already counted, up to `counted_to` (ms), still counts after them: so the state is at any time the
    one that `refold` makes.
    """
    if len(events) == 1:
        transitions = apply(definition, state, events[0].at, events)
    else:
        transitions = []
        for at, instant in groupby(events, key=_instant):
            transitions += apply(definition, state, at, list(instant))
    due = state.next_due_at
    if due is not None and due <= counted_to:
        transitions += advance(definition, state, counted_to)
    return transitions


def refold(definition: Definition, events: Sequence[Event], counted_to: int) -> tuple[State, list[Transition]]:
    """Fold all events of a subject; silence counts up to `counted_to` (ms) or the last event, whichever is later."""
    until = max(counted_to, max((event.at for event in events), default=0))
    return fold(definition, events, until)


def events_of(rows: Iterable[ActivityRow]) -> list[Event]:
    """Stored events as the machine sees them, in canonical order."""
    events = [Event(row.occurred_at, row.message_id, row.name, row.sequence, None, row.body) for row in rows]
    events.sort(key=canonical_order)
    return events
