"""Predicates over values that data carried, and over where the subject stands."""

from collections.abc import Callable, Sequence
from typing import Any

from behavior.conditions import Evidence, Found, Node, leaf
from behavior.digests import feed_date, feed_fact, feed_latest, feed_trait
from behavior.registry import Registry, Stream
from behavior.state import NEVER, State, TrackState
from behavior.values import compile_test
from schemas.language_predicates import DateTest, InStage, Last, TraitTest

__all__ = ["always", "date", "in_stage", "in_stage_elsewhere", "last", "milestone", "stage_age", "trait"]

_YES: Found = (True, NEVER, 0)


def _identity(slot: int) -> Evidence:
    def evidence(state: State, _here: TrackState, _at: int) -> Sequence[str]:
        kept = state.slots[slot]
        return () if kept is None else (kept[2],)

    return evidence


def _value_test(kind: str, slot: int, stream: Stream, passes: Callable[[Any], bool], *, if_unseen: bool) -> Node:
    yes: Found = (True, NEVER, stream.bit)
    no: Found = (False, NEVER, stream.bit)

    def check(state: State, _here: TrackState, _at: int) -> Found:
        kept = state.slots[slot]
        if kept is None:
            return yes if if_unseen else no
        return yes if passes(kept[0]) else no

    def present(state: State, _here: TrackState, _at: int) -> Any:
        kept = state.slots[slot]
        return None if kept is None else kept[0]

    return leaf(kind, check, present, stream.names, _identity(slot))


def last(registry: Registry, stream: Stream, asked: Last) -> Node:
    """What the latest matching event carries; nothing holds before there is one."""

    def make(slot: int, _size: int) -> Any:
        return feed_latest(slot, asked.property)

    slot = registry.slot(stream, ("latest", asked.property), make, reads=True)
    return _value_test("last", slot, stream, compile_test(asked.is_), if_unseen=False)


def trait(registry: Registry, stream: Stream, asked: TraitTest) -> Node:
    """What the profile says; a trait never given is missing."""

    def make(slot: int, _size: int) -> Any:
        return feed_trait(slot, asked.name, as_date=False)

    slot = registry.slot(stream, ("trait", asked.name), make, reads=True)
    passes = compile_test(asked.is_)
    return _value_test("trait", slot, stream, passes, if_unseen=passes(None))


def date(registry: Registry, stream: Stream, asked: DateTest) -> Node:
    """How far a date carried by data is ahead, or whether it has passed."""
    bit, ahead, passed = stream.bit, asked.within_next, asked.passed

    def make(slot: int, _size: int) -> Any:
        if asked.trait is not None:
            return feed_trait(slot, asked.trait, as_date=True)
        return feed_date(slot, asked.property or "")

    key = ("date", asked.property) if asked.trait is None else ("trait date", asked.trait)
    slot = registry.slot(stream, key, make, reads=True)
    no: Found = (False, NEVER, bit)

    def check(state: State, _here: TrackState, at: int) -> Found:
        kept = state.slots[slot]
        if kept is None or kept[0] is None:
            return no
        day: int = kept[0]
        if at >= day:
            return passed is True, NEVER, bit
        if ahead is not None and at < day - ahead:
            return False, day - ahead, bit
        return passed is not True, day, bit

    def present(state: State, _here: TrackState, _at: int) -> Any:
        kept = state.slots[slot]
        return None if kept is None else kept[0]

    return leaf("date", check, present, stream.names, _identity(slot))


def stage_age(duration: int) -> Node:
    """How long the subject has been in its present stage of the same track."""

    def check(_state: State, here: TrackState, at: int) -> Found:
        due = here.since + duration
        return (False, due, 0) if at < due else _YES

    def present(_state: State, here: TrackState, at: int) -> Any:
        return at - here.since

    return leaf("stage_age", check, present, rank=0)


def in_stage(track: int, bit: int, asked: InStage) -> Node:
    """Where another track of the same definition stands."""
    stages, duration = frozenset(asked.stage), asked.for_

    def check(state: State, _here: TrackState, at: int) -> Found:
        there = state.tracks[track]
        if there.stage not in stages:
            return False, NEVER, bit
        if duration is not None and at < there.since + duration:
            return False, there.since + duration, bit
        return True, NEVER, bit

    def present(state: State, _here: TrackState, at: int) -> Any:
        there = state.tracks[track]
        return {"stage": there.stage, "age": at - there.since}

    return leaf("in_stage", check, present, rank=0)


def in_stage_elsewhere(registry: Registry, stream: Stream, asked: InStage) -> Node:
    """Where a track of another lifecycle stands, by the facts that it published."""
    stages, duration, bit = frozenset(asked.stage), asked.for_, stream.bit

    def make(slot: int, _size: int) -> Any:
        return feed_fact(slot, asked.track)

    slot = registry.slot(stream, ("fact", asked.track), make, reads=True)

    def check(state: State, _here: TrackState, at: int) -> Found:
        kept = state.slots[slot]
        if kept is None or kept[0] not in stages:
            return False, NEVER, bit
        if duration is not None and at < kept[1] + duration:
            return False, kept[1] + duration, bit
        return True, NEVER, bit

    def present(state: State, _here: TrackState, at: int) -> Any:
        kept = state.slots[slot]
        return None if kept is None else {"stage": kept[0], "age": at - kept[1]}

    return leaf("in_stage", check, present, stream.names, _identity(slot))


def milestone(flag: int, bit: int) -> Node:
    """A flag set once by entering a stage. `flag` is its bit in the state, `bit` the one it sets in a watch."""
    no: Found = (False, NEVER, bit)

    def check(state: State, _here: TrackState, _at: int) -> Found:
        return _YES if state.milestones & flag else no

    def present(state: State, _here: TrackState, _at: int) -> Any:
        return bool(state.milestones & flag)

    return leaf("milestone", check, present, rank=0)


def always() -> Node:
    """Holds."""

    def check(_state: State, _here: TrackState, _at: int) -> Found:
        return _YES

    return leaf("always", check, lambda _state, _here, _at: True, rank=0)
