"""The machine once more, written straight from the definition language: no digests, no caches, no short cuts.

Every condition is asked of the list of all events so far, at every instant at which anything could conceivably change.
It shares the models of the language and the event type with the machine, and nothing else.
"""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import lru_cache
from itertools import groupby, pairwise
from math import ceil
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

from behavior.events import Event
from schemas.language import Condition, DefinitionFile, Transition
from schemas.times import parse_instant

__all__ = ["NaiveFold", "Row"]

_TOLERANCE = Decimal("1e-11")
with localcontext(prec=60):
    _LN2 = Decimal(2).ln()


@dataclass(frozen=True)
class Row:
    """One transition, with every field that a trace compares."""

    at: int
    track: str
    ordinal: int
    step: int
    origin: str | None
    to: str
    transition: str
    reason: str | None
    cause: str
    visit: int


@dataclass
class _Place:
    stage: str
    since: int
    visits: dict[str, int]
    left: list[str] = field(default_factory=list)

    def copy(self) -> "_Place":
        return _Place(self.stage, self.since, dict(self.visits), list(self.left))


class NaiveFold:
    """Folds one subject's events under one definition; `rows` are the transitions, `places` where it stands."""

    def __init__(self, file: DefinitionFile) -> None:
        self.file = file
        self.zone = ZoneInfo(file.zone)
        self.seen: list[Event] = []
        self.places: dict[str, _Place] = {}
        self.milestones: set[str] = set()
        self.rows: list[Row] = []
        self.first = 0
        self.durations = sorted(_durations(file.model_dump(by_alias=True)))
        self.agenda: list[int] = []

    def run(self, events: Iterable[Event], until: int, extra: Iterable[int] = ()) -> list[Row]:
        """All transitions at `until`; `extra` are more instants to look at."""
        unique: dict[str, Event] = {}
        for event in events:
            unique.setdefault(event.message_id, event)
        ordered = sorted((event for event in unique.values() if event.at <= until), key=_order)
        if not ordered:
            return []
        self.first = ordered[0].at
        by_instant = {at: list(group) for at, group in groupby(ordered, key=lambda event: event.at)}
        self.agenda = [*by_instant, *(at for at in extra if at > self.first)]
        for date in self._dates(ordered):
            self.agenda += [date, *(date - duration for duration in self.durations)]
        heapq.heapify(self.agenda)
        done = self.first - 1
        while self.agenda:
            at = heapq.heappop(self.agenda)
            if at > until:
                break
            if at > done:
                done = at
                self._instant(at, by_instant.get(at, []))
        return self.rows

    def _plan(self, at: int) -> None:
        """Look again after every time span that the definition mentions, once and twice, and a tick later."""
        heapq.heappush(self.agenda, at + 1)
        for duration in self.durations:
            heapq.heappush(self.agenda, at + duration)
            heapq.heappush(self.agenda, at + 2 * duration)

    def _dates(self, events: list[Event]) -> set[int]:
        found = set()
        for event in events:
            for value in event.content().values():
                if isinstance(value, str) and len(value) >= 10:
                    try:
                        found.add(parse_instant(value))
                    except ValueError:
                        continue
        return found

    # -- one instant

    def _instant(self, at: int, events: list[Event]) -> None:
        self.at = at
        self.today: list[Event] = events
        before = len(self.rows)
        self.ordinals: dict[str, int] = {}
        occupied = {name: {place.stage} for name, place in self.places.items()}
        if not self.places:
            for name, track in self.file.tracks.items():
                self.places[name] = _Place(track.initial, at, {track.initial: 1})
                self._set_milestones(name, track.initial)
                occupied[name] = {track.initial}
            first = next((event for event in events if not event.name.startswith("$stage:")), events[0])
            for name, track in self.file.tracks.items():
                self._write(name, None, track.initial, "initial", 0, first.message_id)
        for event in events:
            self.seen.append(event)
            for name in self.file.tracks:
                self._offer(name, event, occupied)
        self._levels(occupied)
        if events or len(self.rows) > before:
            self._plan(at)
            self._plan_overdue_and_scores()

    def _offer(self, name: str, event: Event, occupied: dict[str, set[str]]) -> None:
        for transition in self._leaving(name):
            if transition.event is None or event.name not in self.file.names_of(transition.event):
                continue
            if not _where(transition.where, event.content()):
                continue
            target = self._enabled(name, transition)
            if target is not None:
                occupied[name].add(target)
                self._move(name, target, transition.id, 0, event.message_id, self.rows)
                return

    def _levels(self, occupied: dict[str, set[str]]) -> None:
        start = {name: place.copy() for name, place in self.places.items()}
        flags, ordinals = set(self.milestones), dict(self.ordinals)
        void: set[str] = set()
        while True:
            rows = self._attempt({name: set(stages) for name, stages in occupied.items()}, void)
            if isinstance(rows, list):
                self.rows += rows
                return
            void.add(rows)
            self.places = {name: place.copy() for name, place in start.items()}
            self.milestones, self.ordinals = set(flags), dict(ordinals)

    def _attempt(self, occupied: dict[str, set[str]], void: set[str]) -> list[Row] | str:
        rows: list[Row] = []
        fired = True
        while fired:
            fired = False
            for name in self.file.tracks:
                if name in void:
                    continue
                for transition in self._leaving(name):
                    target = None if transition.event is not None else self._enabled(name, transition)
                    if target is None:
                        continue
                    if target in occupied[name]:
                        return name
                    occupied[name].add(target)
                    self._move(name, target, transition.id, len(rows), self._cause(transition), rows)
                    fired = True
                    break
        return rows

    def _leaving(self, name: str) -> list[Transition]:
        stage = self.places[name].stage
        return [each for each in self.file.tracks[name].transitions if "*" in each.from_ or stage in each.from_]

    def _enabled(self, name: str, transition: Transition) -> str | None:
        place = self.places[name]
        if transition.after is not None and self.at - place.since < transition.after:
            return None
        if transition.when is not None and not self.holds(transition.when, name):
            return None
        target = transition.to.default
        for stage in reversed(place.left):
            if stage in transition.to.history:
                target = stage
                break
        return None if target == place.stage else target

    def _move(self, name: str, target: str, rule: str, step: int, cause: str, rows: list[Row]) -> None:
        place = self.places[name]
        origin = place.stage
        place.left = [stage for stage in place.left if stage != origin] + [origin]
        place.stage, place.since = target, self.at
        place.visits[target] = place.visits.get(target, 0) + 1
        self._set_milestones(name, target)
        rows.append(self._row(name, origin, target, rule, step, cause))

    def _write(self, name: str, origin: str | None, to: str, rule: str, step: int, cause: str) -> None:
        self.rows.append(self._row(name, origin, to, rule, step, cause))

    def _row(self, name: str, origin: str | None, to: str, rule: str, step: int, cause: str) -> Row:
        ordinal = self.ordinals.get(name, 0)
        self.ordinals[name] = ordinal + 1
        reasons = self.file.tracks[name].stages[to].reason
        reason = next((each.label for each in reasons if self.holds(each.when, name)), None)
        return Row(self.at, name, ordinal, step, origin, to, rule, reason, cause, self.places[name].visits[to])

    def _set_milestones(self, name: str, stage: str) -> None:
        for action in self.file.tracks[name].stages[stage].on_enter:
            if action.milestone is not None:
                self.milestones.add(action.milestone)

    def _cause(self, transition: Transition) -> str:
        names = self._names(transition.when) if transition.when is not None else set()
        return next((event.message_id for event in self.today if event.name in names), "clock")

    def _names(self, condition: Condition) -> set[str]:
        names: set[str] = set()
        for part in condition.parts():
            names |= self._names(part)
        asked: Any = getattr(condition, condition.kind, None)
        if condition.score is not None:
            names |= {name for name, weight in self.file.scores[condition.score.name].weights.items() if weight}
        elif condition.trait is not None or (condition.date is not None and condition.date.trait is not None):
            names.add("$identify")
        elif condition.ratio is not None:
            names |= set(self.file.names_of(condition.ratio.numerator.event))
            names |= set(self.file.names_of(condition.ratio.denominator.event))
        elif condition.in_stage is not None:
            if condition.in_stage.lifecycle not in (None, self.file.lifecycle):
                names.add(f"$stage:{condition.in_stage.lifecycle}")
        elif getattr(asked, "event", None):
            names |= set(self.file.names_of(asked.event))
        return names

    # -- what conditions ask

    def holds(self, condition: Condition, name: str) -> bool:
        """Whether a condition of the track `name` holds now."""
        if condition.all is not None:
            return all(self.holds(part, name) for part in condition.all)
        if condition.any is not None:
            return any(self.holds(part, name) for part in condition.any)
        if condition.not_ is not None:
            return not self.holds(condition.not_, name)
        asked = getattr(condition, condition.kind)
        return bool(getattr(self, f"_{condition.kind}")(asked, self.places[name]))

    def _matching(self, asked: Any) -> list[Event]:
        names = self.file.names_of(asked.event)
        named = [event for event in self.seen if event.name in names]
        return [event for event in named if _where(asked.where, event.content())] if asked.where else named

    def _window(self, asked: Any, place: _Place) -> list[Event]:
        events = self._matching(asked)
        if asked.within is not None:
            events = [event for event in events if event.at > self.at - asked.within]
        if asked.since is not None:
            events = [event for event in events if event.at >= place.since]
        return events

    def _count(self, asked: Any, place: _Place) -> bool:
        return _between(len(self._window(asked, place)), asked)

    def _did(self, asked: Any, place: _Place) -> bool:
        return bool(self._window(asked, place))

    def _did_not(self, asked: Any, place: _Place) -> bool:
        return not self._window(asked, place)

    def _inactive(self, asked: Any, place: _Place) -> bool:
        anchors = [self.first, *(event.at for event in self._matching(asked))]
        if asked.since is not None:
            anchors.append(place.since)
        return bool(self.at - max(anchors) >= asked.for_)

    def _overdue_at(self, asked: Any) -> int | None:
        instants = [event.at for event in self._matching(asked)][-11:]
        gaps = [Fraction(later - earlier) for earlier, later in pairwise(instants) if later != earlier]
        if len(gaps) < asked.min_gaps:
            return None
        return int(instants[-1] + max(asked.min, ceil(Fraction(asked.factor) * median(gaps))))

    def _overdue(self, asked: Any, _place: _Place) -> bool:
        due = self._overdue_at(asked)
        return due is not None and self.at >= due

    def _active_days(self, asked: Any, place: _Place) -> bool:
        days = {datetime.fromtimestamp(event.at // 1000, self.zone).date() for event in self._window(asked, place)}
        return _between(len(days), asked)

    def _distinct(self, asked: Any, place: _Place) -> bool:
        values = [event.content().get(asked.property) for event in self._window(asked, place)]
        kept = {(isinstance(value, bool), value) for value in values if isinstance(value, str | int | float)}
        return _between(len(kept), asked)

    def _sum(self, asked: Any, place: _Place) -> bool:
        values = [event.content().get(asked.property) for event in self._window(asked, place)]
        numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
        return _between(sum((Decimal(repr(value)) for value in numbers), Decimal(0)), asked)

    def _ratio(self, asked: Any, _place: _Place) -> bool:
        above, below = (
            len([event for event in self._matching(stream) if event.at > self.at - asked.within])
            for stream in (asked.numerator, asked.denominator)
        )
        if below < asked.min_sample:
            return False
        share = Fraction(above, below)
        low, high = asked.at_least, asked.at_most
        return (low is None or share >= Fraction(low)) and (high is None or share <= Fraction(high))

    def _trend(self, asked: Any, _place: _Place) -> bool:
        ages = [self.at - event.at for event in self._matching(asked)]
        recent = len([age for age in ages if age < asked.window])
        before = len([age for age in ages if asked.window <= age < 2 * asked.window])
        return before >= asked.min_before and recent <= (1 - Fraction(asked.drop_at_least)) * before

    def _last(self, asked: Any, _place: _Place) -> bool:
        events = self._matching(asked)
        return bool(events) and _passes(asked.is_, events[-1].content().get(asked.property))

    def _trait_value(self, name: str) -> Any:
        said = [event.content() for event in self.seen if event.name == "$identify" and name in event.content()]
        return said[-1][name] if said else None

    def _trait(self, asked: Any, _place: _Place) -> bool:
        return _passes(asked.is_, self._trait_value(asked.name))

    def _date(self, asked: Any, _place: _Place) -> bool:
        if asked.trait is not None:
            date = _date_or_none(self._trait_value(asked.trait))
        else:
            dates = [_date_or_none(event.content().get(asked.property)) for event in self._matching(asked)]
            date = next((each for each in reversed(dates) if each is not None), None)
        if date is None:
            return False
        if asked.within_next is not None:
            return bool(date - asked.within_next <= self.at < date)
        return bool((self.at >= date) is asked.passed)

    def _stage_age(self, duration: int, place: _Place) -> bool:
        return self.at - place.since >= duration

    def _in_stage(self, asked: Any, _place: _Place) -> bool:
        if asked.lifecycle in (None, self.file.lifecycle):
            there = self.places[asked.track]
            stage, since = there.stage, there.since
        else:
            facts = [event for event in self.seen if event.name == f"$stage:{asked.lifecycle}"]
            facts = [event for event in facts if event.content()["track"] == asked.track]
            if not facts:
                return False
            stage, since = facts[-1].content()["stage"], facts[-1].content().get("since", facts[-1].at)
        return stage in asked.stage and (asked.for_ is None or self.at - since >= asked.for_)

    def _milestone(self, name: str, _place: _Place) -> bool:
        return name in self.milestones

    def _always(self, _asked: Any, _place: _Place) -> bool:
        return True

    # -- scores, with decimals of 50 digits

    def _raw_score(self, name: str, at: int) -> Decimal:
        score = self.file.scores[name]
        events = [event for event in self.seen if event.name in score.weights]
        total = sum((score.weights[event.name] * _growth(event.at, score.half_life) for event in events), Decimal(0))
        return total / _growth(at, score.half_life)

    def _score_at(self, name: str, at: int) -> Decimal:
        return min(self.file.scores[name].cap, max(Decimal(0), self._raw_score(name, at)))

    def _score(self, asked: Any, _place: _Place) -> bool:
        value = self._score_at(asked.name, self.at)
        if asked.at_least is not None:
            return bool(value >= asked.at_least - _TOLERANCE)
        return bool(value < asked.below - (_TOLERANCE if asked.below <= self.file.scores[asked.name].cap else 0))

    def _plan_overdue_and_scores(self) -> None:
        for track in self.file.tracks.values():
            for _path, condition in track.conditions():
                if condition.overdue is not None:
                    due = self._overdue_at(condition.overdue)
                    if due is not None and due > self.at:
                        heapq.heappush(self.agenda, due)
                if condition.score is not None:
                    self._plan_crossing(condition.score)

    def _plan_crossing(self, asked: Any) -> None:
        wanted = asked.at_least if asked.at_least is not None else asked.below
        value = self._score_at(asked.name, self.at)
        if value <= wanted or not self.today:
            return
        half_life = self.file.scores[asked.name].half_life
        exact = self._raw_score(asked.name, self.at) / wanted
        ahead = int(half_life * exact.ln() / _LN2)
        for at in range(self.at + ahead - 1, self.at + ahead + 3):
            heapq.heappush(self.agenda, at)


@lru_cache(maxsize=65_536)
def _growth(at: int, half_life: int) -> Decimal:
    """How much less an event of the instant `at` has decayed than one of the epoch, to 50 digits."""
    with localcontext(prec=50):
        return (_LN2 * at / half_life).exp()


def _order(event: Event) -> tuple[Any, ...]:
    sequence = (0, 0) if event.sequence is None else (1, event.sequence)
    return event.at, 0 if event.name.startswith("$stage:") else 1, sequence, event.message_id


def _between(value: int | Decimal, asked: Any) -> bool:
    low, high = asked.at_least, asked.at_most
    return (low is None or value >= low) and (high is None or value <= high)


def _date_or_none(value: Any) -> int | None:
    try:
        return parse_instant(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _where(where: Any, properties: Any) -> bool:
    return all(_passes(test, properties.get(name)) for name, test in where.items())


def _same(value: Any, other: Any) -> bool:
    return (type(value) is type(other) and value == other) or (_number(value) and _number(other) and value == other)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _passes(test: Any, value: Any) -> bool:
    for name, operand in test.asked():
        if name == "exists":
            good = (value is not None) is operand
        elif value is None:
            good = False
        elif name in ("eq", "ne"):
            good = _same(value, operand) is (name == "eq")
        elif name in ("in", "not_in"):
            good = any(_same(value, each) for each in operand) is (name == "in")
        elif name == "prefix":
            good = isinstance(value, str) and value.startswith(operand)
        elif not (_number(value) and _number(operand)) and not (isinstance(value, str) and isinstance(operand, str)):
            good = False
        else:
            good = {
                "gt": value > operand,
                "gte": value >= operand,
                "lt": value < operand,
                "lte": value <= operand,
            }[name]
        if not good:
            return False
    return True


def _durations(data: Any) -> set[int]:
    """Every time span that a definition mentions."""
    keys = {"within", "for", "window", "min", "within_next", "stage_age", "after"}
    found: set[int] = set()
    if isinstance(data, dict):
        for key, value in data.items():
            if key in keys and isinstance(value, int):
                found.add(value)
            found |= _durations(value)
    elif isinstance(data, list | tuple):
        for value in data:
            found |= _durations(value)
    return found
