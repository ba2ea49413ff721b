"""The fold: instants one after the other, each with its event phase and its level phase."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from behavior.definition import Definition
from behavior.errors import OutOfOrder, RunawayDefinition
from behavior.events import Event, canonical_order
from behavior.instant import Instant
from behavior.registry import Plan
from behavior.state import State
from behavior.transitions import Transition

__all__ = ["advance", "apply", "fold", "step"]

_MOST_INSTANTS = 100_000
_NOTHING: Mapping[str, Any] = {}


def step(
    definition: Definition, state: State, at: int, events: Sequence[Event], *, short_cuts: bool = True
) -> list[Transition]:
    """Process one instant: its events (all of the instant `at`, in any order), then its level phase.

    Without events it is a wake-up. `short_cuts=False` examines everything anew, with the same outcome. Raises
    `OutOfOrder` when `at` is not after the last instant or a due instant before it has not been run; `StateOverflow`
    and `UnreadableEvent` leave a state that must be thrown away.
    """
    if state.first_at is None:
        if not events:
            return []
    elif at <= state.last_instant or state.next_due < at:
        raise OutOfOrder
    if len(events) > 1:
        events = sorted(events, key=canonical_order)
    instant: Instant | None = None
    if state.first_at is None:
        instant = Instant(definition, state, at, events)
        instant.begin()
    fed = 0
    for event in events:
        plan = definition.plans.get(event.name)
        if plan is not None:
            fed |= _remember(plan, state, event)
            if plan.edges:
                instant = instant or Instant(definition, state, at, events)
                fed |= _offer(plan, instant, event)
    state.last_instant = at
    if short_cuts and not _stirred(state, at, fed):
        return []
    instant = instant or Instant(definition, state, at, events)
    return instant.settle(fed, everything=not short_cuts)


def _stirred(state: State, at: int, fed: int) -> bool:
    """Whether the last answer of any track may no longer stand."""
    for here in state.tracks:
        if here.due <= at or here.watch & fed:
            return True
    return False


def _remember(plan: Plan, state: State, event: Event) -> int:
    """Feed the digests that the event's name and content touch; the bits that this sets in a watch."""
    properties = event.content() if plan.reads else _NOTHING
    at, message_id = event.at, event.message_id
    for feed in plan.always:
        feed(state, at, message_id, properties)
    fed = plan.mask
    for matches, feeds, bit in plan.filtered:
        if matches(properties):
            for feed in feeds:
                feed(state, at, message_id, properties)
            fed |= bit
    return fed


def _offer(plan: Plan, instant: Instant, event: Event) -> int:
    """Offer the event to each track's present stage; the bits that its transitions set in a watch."""
    fed = 0
    for index, stages in plan.edges:
        rules = stages.get(instant.state.tracks[index].stage)
        if rules is not None:
            fed |= instant.offer(event, index, rules)
    return fed


def advance(definition: Definition, state: State, until: int, *, short_cuts: bool = True) -> list[Transition]:
    """Run the due instants up to and including `until`, in order. Raises `RunawayDefinition`."""
    made: list[Transition] = []
    if state.first_at is None:
        return made
    for _ in range(_MOST_INSTANTS):
        if state.next_due > until:
            return made
        made += step(definition, state, state.next_due, (), short_cuts=short_cuts)
    raise RunawayDefinition


def apply(
    definition: Definition, state: State, at: int, events: Sequence[Event], *, short_cuts: bool = True
) -> list[Transition]:
    """Run the due instants before `at`, then the instant `at` with its events. Raises what `step` raises."""
    if state.next_due >= at:
        return step(definition, state, at, events, short_cuts=short_cuts)
    made = advance(definition, state, at - 1, short_cuts=short_cuts)
    made += step(definition, state, at, events, short_cuts=short_cuts)
    return made


def fold(
    definition: Definition, events: Iterable[Event], until: int, *, short_cuts: bool = True
) -> tuple[State, list[Transition]]:
    """The state and all transitions at `until` (ms) of a set of events, given in any order, repeated or not."""
    unique: dict[str, Event] = {}
    for event in events:
        unique.setdefault(event.message_id, event)
    ordered = sorted((event for event in unique.values() if event.at <= until), key=canonical_order)
    state = State.new(definition)
    made: list[Transition] = []
    for at, group in groupby(ordered, key=lambda event: event.at):
        made += apply(definition, state, at, list(group), short_cuts=short_cuts)
    made += advance(definition, state, until, short_cuts=short_cuts)
    return state, made
