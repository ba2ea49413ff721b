"""A definition compiled: per event name what it touches, per stage which transitions to ask, in which order."""

from typing import Any, NamedTuple

from behavior.calendar import day_counter
from behavior.conditions import Check, Node, all_of, any_of, negated
from behavior.counting import active_days, count, distinct, happened, inactive, overdue
from behavior.measuring import ratio, score, total, trend
from behavior.names import Names
from behavior.registry import Plan, Registry, Stream
from behavior.standing import always, date, in_stage, in_stage_elsewhere, last, milestone, stage_age, trait
from behavior.state import TrackState
from behavior.values import Matcher, compile_where
from schemas.language import Condition, DefinitionFile, Stage, Track, Transition
from schemas.language_model import EVERY_STAGE
from schemas.language_predicates import Stream as AskedStream
from schemas.language_types import FACT_PREFIX, IDENTIFY

__all__ = ["CompiledStage", "CompiledTrack", "Definition", "Reason", "Rule", "compile_definition"]


class Rule:
    """A transition. `names` are the events that can cause it at level, `edge` those it needs to happen."""

    __slots__ = ("check", "default", "edge", "event_names", "history", "id", "names", "node", "source", "where", "why")

    def __init__(self, transition: Transition, node: Node | None, events: frozenset[str]) -> None:
        self.id = transition.id
        self.source = transition
        self.edge = transition.event is not None
        self.event_names = events
        self.where: Matcher | None = compile_where(transition.where)
        self.node = node
        self.check: Check | None = node.check if node is not None else None
        self.names = node.names if node is not None else frozenset[str]()
        self.default = transition.to.default
        plain = transition.to.history == (self.default,)
        self.history = frozenset[str]() if plain else frozenset(transition.to.history)
        self.why = dict(transition.why)

    def target(self, here: TrackState) -> str:
        """The stage it leads to from where the subject stands."""
        if self.history:
            for stage in reversed(here.left):
                if stage in self.history:
                    return stage
        return self.default


class Reason(NamedTuple):
    """A label and the condition under which it is the reason of an entry."""

    label: str
    node: Node


class CompiledStage(NamedTuple):
    """A stage: how it is shown, why one is in it, what entering it asks for, and which milestone flags it sets."""

    name: str
    kind: str | None
    label: dict[str, str]
    reasons: tuple[Reason, ...]
    actions: tuple[dict[str, Any], ...]
    flags: int
    flag_bits: int


class CompiledTrack(NamedTuple):
    """A track. `rules` per stage are in the file's order; `levels` and `edges` are those without and with an event."""

    name: str
    position: int
    primary: bool
    initial: str
    stages: dict[str, CompiledStage]
    moved_bit: int
    rules: dict[str, tuple[Rule, ...]]
    levels: dict[str, tuple[Rule, ...]]


class Definition:
    """An immutable compiled definition. `hash` is that of its content; `tracks` are in the file's order.

    `stamp` is the hash too, and another one if it also means further names of its events: states under one stamp were
    folded by the same rules.
    """

    __slots__ = ("file", "hash", "name", "plans", "primary", "slot_count", "stamp", "subject", "tracks", "version")

    def __init__(
        self, file: DefinitionFile, tracks: tuple[CompiledTrack, ...], registry: Registry, names: Names
    ) -> None:
        self.file = file
        self.name = file.lifecycle
        self.version = file.version
        self.hash = file.content_hash()
        self.subject = file.subject
        self.tracks = tracks
        self.primary = next((track for track in tracks if track.primary), tracks[0])
        self.plans = _with_edges(registry.plans(), tracks)
        self.slot_count = registry.slot_count
        self.stamp = names.stamp(self.hash, self.plans)

    def touches(self, name: str) -> bool:
        """Whether an event of this name feeds a digest or an event transition (``$identify``: a trait)."""
        return name in self.plans


def compile_definition(file: DefinitionFile, names: Names | None = None) -> Definition:
    """Make a checked definition ready to run. `names` are the further names of the events that it asks for."""
    compiler = _Compiler(file, names or Names())
    tracks = tuple(compiler.track(index, name, track) for index, (name, track) in enumerate(file.tracks.items()))
    return Definition(file, tracks, compiler.registry, compiler.names)


def _with_edges(plans: dict[str, Plan], tracks: tuple[CompiledTrack, ...]) -> dict[str, Plan]:
    names = {name for track in tracks for rules in track.rules.values() for rule in rules for name in rule.event_names}
    for name in names:
        plan = plans.setdefault(name, Plan())
        for track in tracks:
            stages = {
                stage: edges
                for stage, rules in track.rules.items()
                if (edges := tuple(rule for rule in rules if name in rule.event_names))
            }
            if stages:
                plan.edges += ((track.position, stages),)
    return plans


class _Compiler:
    def __init__(self, file: DefinitionFile, names: Names) -> None:
        self.file = file
        self.names = names
        self.registry = Registry(file, names)
        self.day_of = day_counter(file.zone)
        self.track_index = {name: index for index, name in enumerate(file.tracks)}
        self.moved_bits = [self.registry.bit() for _ in file.tracks]
        self.milestones: dict[str, tuple[int, int]] = {}

    def track(self, index: int, name: str, track: Track) -> CompiledTrack:
        rules = [self._rule(index, transition) for transition in track.transitions]
        by_stage = {
            stage: tuple(rule for rule in rules if EVERY_STAGE in rule.source.from_ or stage in rule.source.from_)
            for stage in track.stages
        }
        levels = {stage: tuple(rule for rule in each if not rule.edge) for stage, each in by_stage.items()}
        stages = {stage: self._stage(index, stage, declared) for stage, declared in track.stages.items()}
        return CompiledTrack(
            name, index, track.primary, track.initial, stages, self.moved_bits[index], by_stage, levels
        )

    def _stage(self, index: int, name: str, stage: Stage) -> CompiledStage:
        flags = bits = 0
        for action in stage.on_enter:
            if action.milestone is not None:
                flag, bit = self._milestone(action.milestone)
                flags |= flag
                bits |= bit
        reasons = tuple(Reason(reason.label, self._node(index, reason.when)) for reason in stage.reason)
        actions = tuple(action.as_declared() for action in stage.on_enter)
        return CompiledStage(name, stage.kind, dict(stage.label), reasons, actions, flags, bits)

    def _rule(self, index: int, transition: Transition) -> Rule:
        parts = [] if transition.after is None else [self._described(stage_age(transition.after), transition.after)]
        if transition.when is not None:
            parts.append(self._node(index, transition.when))
        node = None if not parts else parts[0] if len(parts) == 1 else all_of(parts)
        events = frozenset[str]() if transition.event is None else self._names_of(transition.event)
        return Rule(transition, node, events)

    @staticmethod
    def _described(node: Node, source: Any) -> Node:
        node.source = source
        return node

    def _milestone(self, name: str) -> tuple[int, int]:
        if name not in self.milestones:
            self.milestones[name] = (1 << len(self.milestones), self.registry.bit())
        return self.milestones[name]

    def _stream(self, asked: AskedStream) -> Stream:
        return self.registry.stream(self._names_of(asked.event), asked.where)

    def _names_of(self, asked: tuple[str, ...]) -> frozenset[str]:
        return self.names.all_of(self.file.names_of(asked))

    def _node(self, index: int, condition: Condition) -> Node:
        if condition.all is not None:
            return all_of([self._node(index, part) for part in condition.all])
        if condition.any is not None:
            return any_of([self._node(index, part) for part in condition.any])
        if condition.not_ is not None:
            return negated(self._node(index, condition.not_))
        node = self._events(index, condition) or self._values(condition) or self._places(condition)
        return self._described(node, condition)

    def _events(self, index: int, condition: Condition) -> Node | None:
        registry = self.registry
        if condition.count is not None:
            return count(registry, self._stream(condition.count), condition.count)
        if condition.did is not None:
            return happened(registry, self._stream(condition.did), condition.did, "did")
        if condition.did_not is not None:
            return happened(registry, self._stream(condition.did_not), condition.did_not, "did_not")
        if condition.inactive is not None:
            return inactive(registry, self._stream(condition.inactive), condition.inactive)
        if condition.overdue is not None:
            return overdue(registry, self._stream(condition.overdue), condition.overdue)
        if condition.active_days is not None:
            return active_days(registry, self._stream(condition.active_days), condition.active_days, self.day_of)
        if condition.distinct is not None:
            return distinct(registry, self._stream(condition.distinct), condition.distinct)
        if condition.sum is not None:
            return total(registry, self._stream(condition.sum), condition.sum, index)
        if condition.trend is not None:
            return trend(registry, self._stream(condition.trend), condition.trend)
        return None

    def _values(self, condition: Condition) -> Node | None:
        registry = self.registry
        if condition.ratio is not None:
            streams = (self._stream(condition.ratio.numerator), self._stream(condition.ratio.denominator))
            return ratio(registry, streams, condition.ratio)
        if condition.last is not None:
            return last(registry, self._stream(condition.last), condition.last)
        if condition.trait is not None:
            return trait(registry, registry.stream(frozenset((IDENTIFY,))), condition.trait)
        if condition.score is not None:
            return score(registry.score(condition.score.name), condition.score)
        if condition.date is not None:
            named = condition.date.event
            names = frozenset((IDENTIFY,)) if named is None else self._names_of(named)
            return date(registry, registry.stream(names, condition.date.where), condition.date)
        return None

    def _places(self, condition: Condition) -> Node:
        if condition.stage_age is not None:
            return stage_age(condition.stage_age)
        if condition.milestone is not None:
            return milestone(*self._milestone(condition.milestone))
        asked = condition.in_stage
        if asked is None:
            return always()
        if asked.lifecycle is None or asked.lifecycle == self.file.lifecycle:
            there = self.track_index[asked.track]
            return in_stage(there, self.moved_bits[there], asked)
        stream = self.registry.stream(frozenset((FACT_PREFIX + asked.lifecycle,)))
        return in_stage_elsewhere(self.registry, stream, asked)
