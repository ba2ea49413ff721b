"""Predicates over every event of a window: sums, ratios, trends; and decaying scores."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from behavior.conditions import Found, Node, leaf
from behavior.digests import feed_sum, feed_total, feed_window
from behavior.registry import Registry, ScoreSlot, Stream
from behavior.scores import Threshold
from behavior.state import NEVER, State, TrackState
from behavior.values import NANO, nanos
from schemas.language_predicates import Ratio, ScoreTest, Sum, Trend

__all__ = ["ratio", "score", "total", "trend"]

_LOOKS = 32
"""How many changes ahead are looked at; beyond them an answer is given until the last one looked at."""


def _latest(slot: int) -> Any:
    def evidence(state: State, _here: TrackState, _at: int) -> Sequence[str]:
        kept = state.slots[slot]
        return () if kept is None else (kept[0],)

    return evidence


def total(registry: Registry, stream: Stream, asked: Sum, track: int) -> Node:
    """The sum of a property. Values may be negative, so every matching event is watched."""
    limited = asked.within is not None or asked.since is not None
    slot = _windowed_sum(registry, stream, asked, track) if limited else _running_total(registry, stream, asked)
    low = None if asked.at_least is None else nanos(asked.at_least)
    high = None if asked.at_most is None else nanos(asked.at_most)
    within, since_entry, bit = asked.within, asked.since is not None, stream.bit

    def within_bounds(value: int) -> bool:
        return (low is None or value >= low) and (high is None or value <= high)

    def entries(state: State, here: TrackState, at: int) -> tuple[list[int], list[int]]:
        kept = state.slots[slot]
        if kept is None:
            return [], []
        if not limited:
            return [], [int(kept[1])]
        start = at - within if within is not None else -1
        if since_entry:
            start = max(start, here.since - 1)
        first = bisect_right(kept[1], start)
        return kept[1][first:], [int(value) for value in kept[2][first:]]

    def check(state: State, here: TrackState, at: int) -> Found:
        stamps, values = entries(state, here, at)
        remaining = sum(values)
        holds = within_bounds(remaining)
        if within is not None:
            for index, stamp in enumerate(stamps):
                if index == _LOOKS:
                    return holds, stamp + within, bit
                remaining -= values[index]
                last_of_instant = index + 1 == len(stamps) or stamps[index + 1] != stamp
                if last_of_instant and within_bounds(remaining) != holds:
                    return holds, stamp + within, bit
        return holds, NEVER, bit

    def present(state: State, here: TrackState, at: int) -> Any:
        return Decimal(sum(entries(state, here, at)[1])) / NANO

    return leaf("sum", check, present, stream.names, _latest(slot), rank=2)


def _windowed_sum(registry: Registry, stream: Stream, asked: Sum, track: int) -> int:
    entry_of = track if asked.since is not None else None

    def make(slot: int, _size: int) -> Any:
        return feed_sum(slot, asked.property, asked.within, entry_of)

    return registry.slot(stream, ("sum", asked.property, asked.within, entry_of), make, reads=True)


def _running_total(registry: Registry, stream: Stream, asked: Sum) -> int:
    def make(slot: int, _size: int) -> Any:
        return feed_total(slot, asked.property)

    return registry.slot(stream, ("total", asked.property), make, reads=True)


class _Fall:
    """Two sorted lists of instants that drop entries as time passes, and the next instant at which one does."""

    __slots__ = ("first", "lists", "spans")

    def __init__(self, lists: tuple[list[int], list[int]], spans: tuple[int, int], at: int) -> None:
        self.lists = lists
        self.spans = spans
        self.first = [bisect_right(stamps, at - span) for stamps, span in zip(lists, spans, strict=True)]

    def counts(self) -> tuple[int, int]:
        return len(self.lists[0]) - self.first[0], len(self.lists[1]) - self.first[1]

    def advance(self) -> int | None:
        """Go to the next instant at which an entry drops out, and drop all that do; None when none is left."""
        ahead = [
            stamps[first] + span
            for stamps, span, first in zip(self.lists, self.spans, self.first, strict=True)
            if first < len(stamps)
        ]
        if not ahead:
            return None
        instant = min(ahead)
        for which, (stamps, span) in enumerate(zip(self.lists, self.spans, strict=True)):
            first = self.first[which]
            while first < len(stamps) and stamps[first] + span <= instant:
                first += 1
            self.first[which] = first
        return instant

    def until_other(self, holds_for: Callable[[tuple[int, int]], bool], holds: bool) -> int:
        """The next instant at which `holds_for` the counts may no longer be `holds`."""
        instant: int | None = None
        for _ in range(_LOOKS):
            instant = self.advance()
            if instant is None:
                return NEVER
            if holds_for(self.counts()) != holds:
                break
        return NEVER if instant is None else instant


def _stamps(state: State, slot: int) -> list[int]:
    kept = state.slots[slot]
    return [] if kept is None else kept[1]


def ratio(registry: Registry, streams: tuple[Stream, Stream], asked: Ratio) -> Node:
    """The share of the numerator in the denominator, once there are enough of the latter."""
    slots = tuple(registry.slot(stream, ("window",), feed_window, asked.within) for stream in streams)
    bits = streams[0].bit | streams[1].bit
    spans = (asked.within, asked.within)
    low = None if asked.at_least is None else asked.at_least.as_integer_ratio()
    high = None if asked.at_most is None else asked.at_most.as_integer_ratio()

    def holds_for(counts: tuple[int, int]) -> bool:
        above, below = counts
        if below < asked.min_sample:
            return False
        if low is not None and above * low[1] < low[0] * below:
            return False
        return high is None or above * high[1] <= high[0] * below

    def fall(state: State, at: int) -> _Fall:
        return _Fall((_stamps(state, slots[0]), _stamps(state, slots[1])), spans, at)

    def check(state: State, _here: TrackState, at: int) -> Found:
        falling = fall(state, at)
        counts = falling.counts()
        if counts[1] < asked.min_sample:
            return False, NEVER, bits
        holds = holds_for(counts)
        return holds, falling.until_other(holds_for, holds), bits

    def present(state: State, _here: TrackState, at: int) -> Any:
        above, below = fall(state, at).counts()
        return {"numerator": above, "denominator": below}

    def evidence(state: State, here: TrackState, at: int) -> Sequence[str]:
        return (*_latest(slots[1])(state, here, at), *_latest(slots[0])(state, here, at))

    return leaf("ratio", check, present, streams[0].names | streams[1].names, evidence, rank=2)


def trend(registry: Registry, stream: Stream, asked: Trend) -> Node:
    """A drop from the window before to the last one.

    While it does not hold, an event makes the last window fuller: it can matter only once it has moved into the window
    before, so none is watched and the answer stands for one window at most. For a subject who does hardly anything,
    watching is the cheaper way.
    """
    window, bit, min_before = asked.window, stream.bit, asked.min_before
    slot = registry.slot(stream, ("window",), feed_window, 2 * window)
    drop, whole = asked.drop_at_least.as_integer_ratio()
    left = whole - drop

    def fall(state: State, at: int) -> _Fall:
        stamps = _stamps(state, slot)
        return _Fall((stamps, stamps), (window, 2 * window), at)

    def holds_for(counts: tuple[int, int]) -> bool:
        recent, both = counts
        before = both - recent
        return before >= min_before and recent * whole <= left * before

    def check(state: State, _here: TrackState, at: int) -> Found:
        falling = fall(state, at)
        counts = falling.counts()
        holds = holds_for(counts)
        until = falling.until_other(holds_for, holds)
        if holds or not counts[0]:
            return holds, until, bit
        return False, min(until, at + window), 0

    def present(state: State, _here: TrackState, at: int) -> Any:
        recent, both = fall(state, at).counts()
        return {"last_window": recent, "window_before": both - recent}

    return leaf("trend", check, present, stream.names, _latest(slot), rank=2)


def score(slot: ScoreSlot, asked: ScoreTest) -> Node:
    """Where a decaying score stands. Events that can only keep the answer as it is are not watched."""
    threshold = asked.at_least if asked.at_least is not None else asked.below
    line = Threshold(slot.decay, threshold or Decimal(1))
    index, wanted = slot.index, asked.at_least is not None
    unreachable = threshold is not None and threshold > slot.cap

    def check(state: State, _here: TrackState, at: int) -> Found:
        if unreachable:
            return not wanted, NEVER, 0
        kept = state.slots[index]
        if kept is None or not line.reached(kept, at):
            return not wanted, NEVER, slot.raised
        return wanted, line.falls_below(kept, at), slot.lowered

    def present(state: State, _here: TrackState, at: int) -> Any:
        return slot.decay.value(state.slots[index], at, slot.cap)

    def evidence(state: State, _here: TrackState, _at: int) -> Sequence[str]:
        kept = state.slots[index]
        return () if kept is None else (kept[3],)

    return leaf("score", check, present, slot.names, evidence, rank=3)
