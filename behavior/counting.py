"""Predicates that need only the instants of the latest matching events."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from math import ceil
from typing import Any

from behavior.calendar import DayOf
from behavior.conditions import MAX_EVIDENCE, Check, Found, Node, all_of, leaf, negated
from behavior.digests import feed_days, feed_distinct, feed_recent
from behavior.registry import Registry, Stream
from behavior.state import NEVER, State, TrackState
from schemas.language_predicates import ActiveDays, Count, Distinct, Happened, Inactive, Overdue

__all__ = ["active_days", "count", "distinct", "happened", "inactive", "overdue"]

_GAPS = 10
_TRUE: Found = (True, NEVER, 0)


class _Reading:
    """How a digest holds its entries: `width` fields each, the instant at `instant` and the id at `identity`."""

    __slots__ = ("identity", "instant", "slot", "width")

    def __init__(self, slot: int, width: int, instant: int, identity: int) -> None:
        self.slot = slot
        self.width = width
        self.instant = instant
        self.identity = identity

    def ids(self, state: State, _here: TrackState, _at: int) -> Sequence[str]:
        kept = state.slots[self.slot] or ()
        return tuple(kept[self.identity :: self.width])[-MAX_EVIDENCE:]


class _Limits:
    """The window of a predicate (ms), and whether only the present visit counts."""

    __slots__ = ("since_entry", "within")

    def __init__(self, within: int | None, since: str | None) -> None:
        self.within = within
        self.since_entry = since is not None


def _at_least(reading: _Reading, number: int, limits: _Limits, bit: int) -> Check:
    """At least `number` entries lie in the window; a further event can only make that last longer."""
    slot, within, since_entry = reading.slot, limits.within, limits.since_entry
    size = reading.width * number
    index = reading.instant - size
    no: Found = (False, NEVER, bit)

    def check(state: State, here: TrackState, at: int) -> Found:
        kept = state.slots[slot]
        if kept is None or len(kept) < size:
            return no
        oldest = kept[index]
        if since_entry and oldest < here.since:
            return no
        if within is None:
            return _TRUE
        until = oldest + within
        return (True, until, 0) if at < until else no

    return check if number else lambda _state, _here, _at: _TRUE


def _bounded(
    kind: str, reading: _Reading, bounds: tuple[int | None, int | None], limits: _Limits, stream: Stream
) -> Node:
    within = limits.within

    def present(state: State, here: TrackState, at: int) -> Any:
        kept = state.slots[reading.slot] or ()
        start = at - within if within is not None else -NEVER
        if limits.since_entry:
            start = max(start, here.since - 1)
        return sum(1 for instant in kept[reading.instant :: reading.width] if instant > start)

    def node(number: int) -> Node:
        return leaf(kind, _at_least(reading, number, limits, stream.bit), present, stream.names, reading.ids)

    low, high = bounds
    parts = [] if low is None else [node(low)]
    if high is not None:
        parts.append(negated(node(high + 1)))
    joined = parts[0] if len(parts) == 1 else all_of(parts)
    joined.kind, joined.parts, joined.present, joined.rank = kind, (), present, 1
    return joined


def _size(low: int | None, high: int | None) -> int:
    return max(1, low or 0, -1 if high is None else high + 1)


def _recent(registry: Registry, stream: Stream, size: int) -> _Reading:
    return _Reading(registry.slot(stream, ("recent",), feed_recent, size), 2, 0, 1)


def count(registry: Registry, stream: Stream, asked: Count) -> Node:
    """How many events match."""
    bounds = (asked.at_least, asked.at_most)
    return _bounded(
        "count", _recent(registry, stream, _size(*bounds)), bounds, _Limits(asked.within, asked.since), stream
    )


def happened(registry: Registry, stream: Stream, asked: Happened, kind: str) -> Node:
    """`did`: at least one event matches; `did_not`: none does."""
    bounds = (1, None) if kind == "did" else (None, 0)
    return _bounded(kind, _recent(registry, stream, 1), bounds, _Limits(asked.within, asked.since), stream)


def active_days(registry: Registry, stream: Stream, asked: ActiveDays, day_of: DayOf) -> Node:
    """On how many calendar days events match."""
    bounds = (asked.at_least, asked.at_most)

    def make(slot: int, size: int) -> Any:
        return feed_days(slot, size, day_of)

    reading = _Reading(registry.slot(stream, ("days",), make, _size(*bounds)), 3, 1, 2)
    return _bounded("active_days", reading, bounds, _Limits(asked.within, asked.since), stream)


def distinct(registry: Registry, stream: Stream, asked: Distinct) -> Node:
    """How many values of a property matching events carry."""
    bounds = (asked.at_least, asked.at_most)

    def make(slot: int, size: int) -> Any:
        return feed_distinct(slot, size, asked.property)

    slot = registry.slot(stream, ("distinct", asked.property), make, _size(*bounds), reads=True)
    return _bounded("distinct", _Reading(slot, 3, 1, 2), bounds, _Limits(asked.within, asked.since), stream)


def inactive(registry: Registry, stream: Stream, asked: Inactive) -> Node:
    """Nothing for a while. While it does not hold, another event only puts it off, so none is watched."""
    reading = _recent(registry, stream, 1)
    slot, duration, since_entry, bit = reading.slot, asked.for_, asked.since is not None, stream.bit

    def anchor(state: State, here: TrackState) -> int:
        kept = state.slots[slot]
        start: int = kept[-2] if kept is not None else (state.first_at or 0)
        return here.since if since_entry and here.since > start else start

    def check(state: State, here: TrackState, at: int) -> Found:
        due = anchor(state, here) + duration
        return (False, due, 0) if at < due else (True, NEVER, bit)

    def present(state: State, here: TrackState, at: int) -> Any:
        return at - anchor(state, here)

    def latest(state: State, _here: TrackState, _at: int) -> Sequence[str]:
        kept = state.slots[slot]
        return () if kept is None else (kept[-1],)

    return leaf("inactive", check, present, stream.names, latest)


def overdue(registry: Registry, stream: Stream, asked: Overdue) -> Node:
    """Later than the subject's own rhythm."""
    reading = _recent(registry, stream, _GAPS + 1)
    slot, bit = reading.slot, stream.bit
    factor, shortest, min_gaps = Fraction(asked.factor), asked.min, asked.min_gaps

    def due_at(state: State) -> int | None:
        kept = state.slots[slot]
        if kept is None:
            return None
        instants = kept[-2 * (_GAPS + 1) :: 2]
        gaps = sorted(later - earlier for earlier, later in pairwise(instants) if later > earlier)
        if len(gaps) < min_gaps:
            return None
        middle = len(gaps) // 2
        median = Fraction(gaps[middle]) if len(gaps) % 2 else Fraction(gaps[middle - 1] + gaps[middle], 2)
        return int(instants[-1]) + max(shortest, ceil(factor * median))

    def check(state: State, _here: TrackState, at: int) -> Found:
        due = due_at(state)
        if due is None:
            return False, NEVER, bit
        return (False, due, bit) if at < due else (True, NEVER, bit)

    def present(state: State, _here: TrackState, at: int) -> Any:
        kept = state.slots[slot]
        return None if kept is None else at - kept[-2]

    return leaf("overdue", check, present, stream.names, reading.ids, rank=2)
