"""Why a subject is where it is, and what is missing for each way on."""

from typing import Any

import msgspec

from behavior.conditions import MAX_EVIDENCE, Node
from behavior.definition import CompiledTrack, Definition, Rule
from behavior.machine import advance
from behavior.state import NEVER, State, TrackState
from behavior.words import event_words, needed_words, present_words, words_of

__all__ = ["Checked", "EnteredBy", "Explanation", "Outgoing", "TrackExplanation", "Verdict", "explain", "verdict"]

_MOST_LOOKS = 2_000


class Verdict(msgspec.Struct, frozen=True):
    """An answer: whether a condition holds, the instant (ms) at which that changes by itself, and what it rests on."""

    holds: bool
    until: int | None
    evidence: tuple[str, ...]


class Checked(msgspec.Struct, frozen=True):
    """One predicate of a condition. `group` says how it is joined, for example ``any/2/all``; `until` in ms."""

    words: str
    holds: bool
    present: str
    needed: str
    until: int | None
    evidence: tuple[str, ...]
    group: str


class Outgoing(msgspec.Struct, frozen=True):
    """A transition out of the present stage.

    `kind` is ``event``, ``when`` or ``after``. An event transition does not hold before its event happens. `until` is
    the instant (ms) at which `holds` changes if nothing happens.
    """

    id: str
    to: str
    why: dict[str, str]
    kind: str
    holds: bool
    until: int | None
    checklist: tuple[Checked, ...]


class EnteredBy(msgspec.Struct, frozen=True):
    """The transition that led here, the message id (or ``clock``) that caused it, and the events it rested on."""

    transition: str
    cause: str
    evidence: tuple[str, ...]


class TrackExplanation(msgspec.Struct, frozen=True):
    """Where a subject stands in one track, why, and where it can go. `conflict`: two rules that undo each other."""

    track: str
    stage: str
    since: int
    visit: int
    reason: str | None
    entered_by: EnteredBy
    conflict: tuple[str, str, int] | None
    transitions: tuple[Outgoing, ...]


class Explanation(msgspec.Struct, frozen=True):
    """All tracks of one subject under one definition, at the instant `at` (ms)."""

    lifecycle: str
    version: int
    at: int
    tracks: tuple[TrackExplanation, ...]


def explain(definition: Definition, state: State, at: int) -> Explanation:
    """Explain a subject at the instant `at`, not before its last instant; `state` is left as it is."""
    twin = State.load(definition, state.dump())
    advance(definition, twin, at)
    tracks = tuple(
        _track(track, twin, here, max(at, twin.last_instant))
        for track, here in zip(definition.tracks, twin.tracks, strict=False)
    )
    return Explanation(definition.name, definition.version, at, tracks)


def verdict(node: Node, state: State, here: TrackState, at: int) -> Verdict:
    """The answer of a condition at `at`, with the very instant at which it changes if nothing happens."""
    holds, until, _ = node.check(state, here, at)
    for _ in range(_MOST_LOOKS):
        if until >= NEVER:
            break
        changed, later, _ = node.check(state, here, until)
        if changed != holds:
            break
        until = later
    evidence = tuple(dict.fromkeys(node.evidence(state, here, at)))[-MAX_EVIDENCE:]
    return Verdict(holds, None if until >= NEVER else until, evidence)


def _track(track: CompiledTrack, state: State, here: TrackState, at: int) -> TrackExplanation:
    ways = [_outgoing(rule, state, here, at) for rule in track.rules[here.stage] if rule.target(here) != here.stage]
    entered_by = EnteredBy(here.entered_by, here.cause, here.evidence)
    return TrackExplanation(
        track.name, here.stage, here.since, here.visit, here.reason, entered_by, here.conflict, tuple(ways)
    )


def _outgoing(rule: Rule, state: State, here: TrackState, at: int) -> Outgoing:
    checklist: list[Checked] = []
    if rule.node is not None:
        _checklist(rule.node, (state, here, at), "", False, checklist)
    found = verdict(rule.node, state, here, at) if rule.node is not None else Verdict(True, None, ())
    if rule.edge:
        words = f"{event_words(rule.source.event or ())} happens"
        checklist.insert(0, Checked(words, False, "nothing yet", "the event", None, (), "all"))
        found = Verdict(False, None, found.evidence)
    kind = "event" if rule.edge else "when" if rule.source.when is not None else "after"
    return Outgoing(rule.id, rule.target(here), rule.why, kind, found.holds, found.until, tuple(checklist))


def _checklist(
    node: Node, where: tuple[State, TrackState, int], group: str, negated: bool, checklist: list[Checked]
) -> None:
    if node.parts:
        for number, part in enumerate(node.parts, 1):
            deeper = node.kind if part.parts == () or len(node.parts) == 1 else f"{node.kind}/{number}"
            _checklist(part, where, f"{group}/{deeper}".strip("/"), negated != (node.kind == "not"), checklist)
        return
    found = verdict(node, *where)
    words = words_of(node.kind, node.source)
    present: Any = node.present(*where) if node.present is not None else None
    checklist.append(
        Checked(
            f"not: {words}" if negated else words,
            found.holds != negated,
            present_words(node.kind, present),
            needed_words(node.kind, node.source),
            found.until,
            found.evidence,
            group or "all",
        )
    )
