"""What is remembered of a subject's events, as little as the definition's predicates need.

Each digest owns one slot of the state, empty (None) until an event feeds it. Its size is bounded by constants of the
definition; those that hold every event of a window refuse to grow beyond `MAX_STAMPS`. Message ids are kept beside the
instants because a verdict names the events that it rests on.
"""

from bisect import bisect_right
from collections.abc import Callable, Mapping
from typing import Any

from behavior.calendar import DayOf
from behavior.errors import StateOverflow
from behavior.scores import Decay
from behavior.state import State
from behavior.values import distinct_key, fixed_point, instant_of, kept_value

__all__ = [
    "MAX_STAMPS",
    "Feed",
    "feed_date",
    "feed_days",
    "feed_distinct",
    "feed_fact",
    "feed_latest",
    "feed_recent",
    "feed_score",
    "feed_sum",
    "feed_total",
    "feed_trait",
    "feed_window",
    "packed",
]

MAX_STAMPS = 2_000

Feed = Callable[[State, int, str, Mapping[str, Any]], None]
"""(state, instant, message id, properties): remember one matching event; events come in ascending order."""

_MAX_INT = 2**63


def packed(number: int) -> int | str:
    """A number as it can be stored: text beyond 64 bits."""
    return number if -_MAX_INT <= number < _MAX_INT else str(number)


def feed_recent(slot: int, size: int) -> Feed:
    """The `size` latest events, ascending: ``[instant, id, instant, id, ...]``."""
    length = 2 * size

    def feed(state: State, at: int, message_id: str, _properties: Mapping[str, Any]) -> None:
        kept = state.slots[slot]
        if kept is None:
            state.slots[slot] = [at, message_id]
            return
        kept += (at, message_id)
        if len(kept) > length:
            del kept[:2]

    return feed


def _renew(kept: list[Any], key: int | str, at: int, message_id: str) -> None:
    """Move the entry of `key` to the end. Even days can return: a clock set back at midnight repeats one."""
    for index in range(0, len(kept), 3):
        if kept[index] == key:
            del kept[index : index + 3]
            break
    kept += (key, at, message_id)


def feed_days(slot: int, size: int, day_of: DayOf) -> Feed:
    """The latest event of each of the `size` latest calendar days: ``[day, instant, id, ...]``, ascending."""
    length = 3 * size

    def feed(state: State, at: int, message_id: str, _properties: Mapping[str, Any]) -> None:
        day = day_of(at)
        kept = state.slots[slot]
        if kept is None:
            state.slots[slot] = [day, at, message_id]
        elif kept[-3] == day:
            kept[-2] = at
            kept[-1] = message_id
        else:
            _renew(kept, day, at, message_id)
            if len(kept) > length:
                del kept[:3]

    return feed


def feed_distinct(slot: int, size: int, name: str) -> Feed:
    """The latest event of each of the `size` values seen latest: ``[value, instant, id, ...]``, ascending."""
    length = 3 * size

    def feed(state: State, at: int, message_id: str, properties: Mapping[str, Any]) -> None:
        key = distinct_key(properties.get(name))
        if key is None:
            return
        kept = state.slots[slot]
        if kept is None:
            kept = state.slots[slot] = []
        _renew(kept, key, at, message_id)
        if len(kept) > length:
            del kept[:3]

    return feed


def feed_window(slot: int, window: int) -> Feed:
    """The instant of every event of a window: ``[latest id, [instant, ...]]``. Raises `StateOverflow`."""

    def feed(state: State, at: int, message_id: str, _properties: Mapping[str, Any]) -> None:
        kept = state.slots[slot]
        if kept is None:
            state.slots[slot] = [message_id, [at]]
            return
        kept[0] = message_id
        stamps = kept[1]
        if stamps[0] <= at - window:
            del stamps[: bisect_right(stamps, at - window)]
        stamps.append(at)
        if len(stamps) > MAX_STAMPS:
            raise StateOverflow

    return feed


def feed_sum(slot: int, name: str, window: int | None, entry_of: int | None) -> Feed:
    """Instant and value of every event of a window or visit: ``[latest id, [instant, ...], [value, ...]]``.

    `entry_of` is the index of the track whose visit limits it. Raises `StateOverflow`.
    """

    def feed(state: State, at: int, message_id: str, properties: Mapping[str, Any]) -> None:
        value = fixed_point(properties.get(name))
        if value is None:
            return
        kept = state.slots[slot]
        if kept is None:
            state.slots[slot] = [message_id, [at], [packed(value)]]
            return
        _, stamps, values = kept
        gone = bisect_right(stamps, at - window) if window is not None else 0
        if entry_of is not None:
            gone = max(gone, bisect_right(stamps, state.tracks[entry_of].since - 1))
        del stamps[:gone], values[:gone]
        kept[0] = message_id
        stamps.append(at)
        values.append(packed(value))
        if len(stamps) > MAX_STAMPS:
            raise StateOverflow

    return feed


def feed_total(slot: int, name: str) -> Feed:
    """The sum of a property over all events: ``[latest id, total]``."""

    def feed(state: State, at: int, message_id: str, properties: Mapping[str, Any]) -> None:
        value = fixed_point(properties.get(name))
        if value is not None:
            kept = state.slots[slot]
            state.slots[slot] = [message_id, packed(value + (int(kept[1]) if kept is not None else 0))]

    return feed


def feed_latest(slot: int, name: str) -> Feed:
    """What the latest event carries in a property: ``[value, instant, id]``."""

    def feed(state: State, at: int, message_id: str, properties: Mapping[str, Any]) -> None:
        state.slots[slot] = [kept_value(properties.get(name)), at, message_id]

    return feed


def feed_date(slot: int, name: str) -> Feed:
    """The date on the latest event that carries one: ``[date, instant, id]``."""

    def feed(state: State, at: int, message_id: str, properties: Mapping[str, Any]) -> None:
        date = instant_of(properties.get(name))
        if date is not None:
            state.slots[slot] = [date, at, message_id]

    return feed


def feed_trait(slot: int, name: str, *, as_date: bool) -> Feed:
    """The latest value of a trait, or the date it holds: ``[value, instant, id]``. A null takes the trait away."""

    def feed(state: State, at: int, message_id: str, traits: Mapping[str, Any]) -> None:
        if name in traits:
            value = traits[name]
            state.slots[slot] = [instant_of(value) if as_date else kept_value(value), at, message_id]

    return feed


def feed_fact(slot: int, track: str) -> Feed:
    """The latest stage of a track of another lifecycle: ``[stage, since, id]``."""

    def feed(state: State, at: int, message_id: str, fact: Mapping[str, Any]) -> None:
        stage, since = fact.get("stage"), fact.get("since", at)
        if fact.get("track") == track and isinstance(stage, str) and isinstance(since, int):
            state.slots[slot] = [stage, since, message_id]

    return feed


def feed_score(slot: int, decay: Decay, weight: tuple[int, int]) -> Feed:
    """A decaying sum; `weight` is a fraction."""

    def feed(state: State, at: int, message_id: str, _properties: Mapping[str, Any]) -> None:
        state.slots[slot] = decay.add(state.slots[slot], weight, at, message_id)

    return feed
