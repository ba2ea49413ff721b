"""Seeded histories that go where the rules are: each step picks a way out of the present stage and tries to take it."""

import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

from behavior import Definition, Event, State, apply
from behavior.definition import Rule
from schemas.language import Condition
from schemas.times import DAY, HOUR, MINUTE, format_instant, parse_instant

__all__ = ["Journey", "travel"]

_START = parse_instant("2025-03-27T21:30:00.000Z")
_PATIENCE = 20 * DAY
_VALUES: list[Any] = ["x", "y", "z", "price", 0, 1, 2.5, True, None]


@dataclass(frozen=True)
class Journey:
    """A subject's events in canonical order, and the instant up to which they are to be folded."""

    events: list[Event]
    until: int


def travel(definition: Definition, seed: int, most_events: int, fired: Counter[str] | None = None) -> Journey:
    """A history of about `most_events` events; `fired` steers towards rules seldom taken and counts those taken."""
    return _Traveller(definition, seed, fired if fired is not None else Counter()).run(most_events)


class _Traveller:
    def __init__(self, definition: Definition, seed: int, fired: Counter[str]) -> None:
        self.definition = definition
        self.dice = random.Random(seed)
        self.fired = fired
        self.at = _START + self.dice.choice([0, self.dice.randrange(3 * DAY)])
        self.state = State.new(definition)
        self.events: list[Event] = []
        self.now: list[Event] = []
        self.goal: Rule | None = None
        self.names = sorted(definition.plans)

    def run(self, most_events: int) -> Journey:
        self._say(self.dice.choice([*self.names, "Something Else"]))
        for _ in range(most_events * 3):
            if len(self.events) + len(self.now) >= most_events:
                break
            self._wait(self.dice.choice([0, 1, self.dice.randrange(HOUR), self.dice.randrange(2 * DAY)]))
            rule = self.goal = self._goal()
            if rule is None or self.dice.random() < 0.15:
                self._say(self.dice.choice(self.names))
                continue
            if rule.node is not None:
                if rule.source.after is not None:
                    self._wait(rule.source.after + self.dice.choice([-1, 0, 1]))
                if rule.source.when is not None:
                    self._satisfy(rule.source.when)
            if rule.event_names:
                self._say(self.dice.choice(sorted(rule.event_names)), self._fitting(rule.source.where))
        until = self.at + self.dice.choice([0, 10 * DAY, 400 * DAY])
        self._flush()
        return Journey(self.events, until)

    def _goal(self) -> Rule | None:
        rules = [
            (f"{track.name}.{rule.id}", rule)
            for track, here in zip(self.definition.tracks, self.state.tracks, strict=False)
            for rule in track.rules[here.stage]
        ]
        if not rules:
            return None
        if self.dice.random() < 0.6:
            seldom = min(self.fired[name] for name, _ in rules)
            rules = [(name, rule) for name, rule in rules if self.fired[name] == seldom]
        return self.dice.choice(rules)[1]

    def _flush(self) -> None:
        if self.now:
            for each in apply(self.definition, self.state, self.now[0].at, self.now):
                self.fired[f"{each.track}.{each.transition}"] += 1
            self.events += self.now
            self.now = []

    def _wait(self, milliseconds: int) -> None:
        if milliseconds > _PATIENCE and self.dice.random() < 0.4:
            for _ in range(milliseconds // _PATIENCE):
                self._wait(_PATIENCE)
                self._stay_awake()
            milliseconds %= _PATIENCE
        if milliseconds > 0:
            self._flush()
            self.at += milliseconds

    def _stay_awake(self) -> None:
        """Do something that only puts off the rules for silent subjects."""
        wanted = self.goal.node.names if self.goal is not None and self.goal.node is not None else frozenset[str]()
        for track, here in zip(self.definition.tracks, self.state.tracks, strict=True):
            for rule in track.levels[here.stage]:
                for node in (rule.node, *(rule.node.parts if rule.node is not None else ())):
                    harmless = sorted(node.names - wanted) if node is not None and node.kind == "inactive" else []
                    if harmless:
                        self._say(self.dice.choice(harmless), {})
                        return

    def _say(self, name: str, properties: dict[str, Any] | None = None) -> None:
        content = self._content(name) | (properties or {})
        identity = f"{self.dice.randrange(16**8):08x}-{len(self.events) + len(self.now):04d}"
        sequence = self.dice.choice([None, None, None, self.dice.randrange(5)])
        self.now.append(Event(self.at, identity, name, sequence, content))

    def _content(self, name: str) -> dict[str, Any]:
        dice = self.dice
        if name.startswith("$stage:"):
            return {"track": "stage", "stage": dice.choice(["adoption", "retention", "churned"])}
        date = format_instant(self.at + dice.randrange(-2 * DAY, 70 * DAY))
        content = {
            "feature": dice.choice(_VALUES),
            "revenue": dice.choice([5, 19.99, 40, 600, -30, "12"]),
            "nights": dice.randrange(12),
            "reason": dice.choice(["price", "competitor", "other"]),
            "currency": dice.choice(["EUR", "USD"]),
            "kind": dice.choice(["rude", "kind", None]),
            "far": dice.choice([True, False, 1]),
            "plan": dice.choice(["pro", "pro-old", "free", None]),
        }
        for name_of_date in ("trial_end_date", "renewal_date", "day", "ends"):
            content[name_of_date] = dice.choice([date, date, date[:10], "soon"])
        return {key: value for key, value in content.items() if dice.random() < 0.8}

    def _fitting(self, where: Any) -> dict[str, Any]:
        content: dict[str, Any] = {}
        for name, test in where.items():
            asked = dict(test.asked())
            if "eq" in asked:
                content[name] = asked["eq"]
            elif "in" in asked:
                content[name] = self.dice.choice(asked["in"])
            elif "prefix" in asked:
                content[name] = asked["prefix"]
            elif "gt" in asked:
                content[name] = asked["gt"] + 1
            elif "exists" in asked:
                content[name] = None
        return content

    def _satisfy(self, condition: Condition) -> None:
        parts = list(condition.parts())
        if condition.any is not None:
            parts = [self.dice.choice(parts)]
        self.dice.shuffle(parts)
        if condition.not_ is not None:
            self._wait(self.dice.choice([DAY, 40 * DAY, 366 * DAY]))
            return
        for part in parts:
            self._satisfy(part)
        if not parts:
            take = getattr(self, f"_{condition.kind}", None)
            if take is not None:
                take(getattr(condition, condition.kind))

    def _spread(self, asked: Any, number: int, span: int, extra: Any = None) -> None:
        names = sorted(self.definition.file.names_of(asked.event))
        for index in range(number):
            content = self._fitting(asked.where)
            if extra is not None:
                content |= extra(index)
            self._say(self.dice.choice(names), content)
            self._wait(self.dice.choice([0, 1, span // (number + 1), self.dice.randrange(span // (number + 1) + 1)]))

    def _span(self, asked: Any) -> int:
        return asked.within or self.dice.choice([MINUTE, DAY])

    def _count(self, asked: Any) -> None:
        if asked.at_least is None:
            self._wait(self._span(asked) + self.dice.choice([-1, 0, 0, 1]))
        else:
            self._spread(asked, asked.at_least, self._span(asked))

    def _did(self, asked: Any) -> None:
        self._spread(asked, 1, MINUTE)

    def _did_not(self, asked: Any) -> None:
        self._wait(self._span(asked) + self.dice.choice([-1, 0, 0, 1]))

    def _inactive(self, asked: Any) -> None:
        self._wait(asked.for_ + self.dice.choice([-1, 0, 0, 1]))

    def _overdue(self, asked: Any) -> None:
        gap = self.dice.choice([DAY, 9 * DAY])
        for _ in range(asked.min_gaps + self.dice.randrange(3)):
            self._spread(asked, 1, MINUTE)
            self._wait(gap)
        self._wait(max(asked.min, int(asked.factor * gap)))

    def _active_days(self, asked: Any) -> None:
        if asked.at_least is None:
            self._wait(self._span(asked))
            return
        for _ in range(asked.at_least):
            self._spread(asked, 1, MINUTE)
            self._wait(self.dice.choice([HOUR, DAY, DAY]))

    def _distinct(self, asked: Any) -> None:
        number = asked.at_least or 1
        self._spread(asked, number, self._span(asked), lambda index: {asked.property: "xyzuvw"[index % 6]})

    def _sum(self, asked: Any) -> None:
        if asked.at_least is None:
            self._wait(self._span(asked))
            return
        share = float(asked.at_least) / 2
        self._spread(asked, 2, self._span(asked), lambda _index: {asked.property: share})

    def _ratio(self, asked: Any) -> None:
        self._spread(asked.denominator, asked.min_sample, asked.within)
        if asked.at_least is not None:
            self._spread(asked.numerator, self.dice.randrange(1, asked.min_sample + 1), asked.within // 4)

    def _trend(self, asked: Any) -> None:
        self._spread(asked, asked.min_before + 1, asked.window // 2)
        self._wait(asked.window)

    def _last(self, asked: Any) -> None:
        self._spread(asked, 1, MINUTE, lambda _index: self._fitting({asked.property: asked.is_}))

    def _trait(self, asked: Any) -> None:
        self._say("$identify", self._fitting({asked.name: asked.is_}))

    def _score(self, asked: Any) -> None:
        score = self.definition.file.scores[asked.name]
        if asked.below is not None:
            self._wait(score.half_life * self.dice.choice([1, 3, 6]))
            return
        helpful = sorted(name for name, weight in score.weights.items() if weight > 0)
        helpful.sort(key=lambda name: -score.weights[name])
        for _ in range(int(asked.at_least / score.weights[helpful[0]]) + 1):
            self._say(self.dice.choice(helpful[:2]))
            self._wait(self.dice.choice([0, MINUTE, HOUR]))

    def _date(self, asked: Any) -> None:
        ahead = self.dice.choice([HOUR, DAY, asked.within_next or DAY])
        text = format_instant(self.at + ahead)
        if asked.trait is not None:
            self._say("$identify", {asked.trait: text})
        else:
            self._spread(asked, 1, 2, lambda _index: {asked.property: text})
        self._wait(self.dice.choice([0, ahead, ahead]))

    def _stage_age(self, duration: int) -> None:
        self._wait(duration + self.dice.choice([-1, 0, 0, 1]))

    def _in_stage(self, asked: Any) -> None:
        if asked.lifecycle is not None:
            stage = self.dice.choice(asked.stage)
            self._say(f"$stage:{asked.lifecycle}", {"track": asked.track, "stage": stage})
        self._wait(asked.for_ or 0)
