"""Conditions made ready to be asked: predicates as functions of a state, joined by all, any and not."""

from collections.abc import Callable, Sequence
from typing import Any

from behavior.state import NEVER, State, TrackState

__all__ = ["MAX_EVIDENCE", "Check", "Evidence", "Found", "Node", "Present", "all_of", "any_of", "leaf", "negated"]

MAX_EVIDENCE = 10

Found = tuple[bool, int, int]
"""(holds, until, watch). The answer stands until the instant `until` unless an event sets one of the bits `watch`.

It may stand longer: where another event could only prolong it, that event is not watched and `until` is the earliest
instant at which it can end.
"""

Check = Callable[[State, TrackState, int], Found]
"""(state, own track, instant) to what is found."""

Evidence = Callable[[State, TrackState, int], Sequence[str]]
"""(state, own track, instant) to the ids of the events that the answer rests on, the latest last."""

Present = Callable[[State, TrackState, int], Any]
"""(state, own track, instant) to the value to show beside what is needed."""


class Node:
    """A compiled condition. `names` are the events that feed its digests; `rank` orders parts, the cheapest first."""

    __slots__ = ("check", "evidence", "kind", "names", "parts", "present", "rank", "source")

    def __init__(self, kind: str, check: Check, names: frozenset[str], evidence: Evidence, rank: int) -> None:
        self.kind = kind
        self.check = check
        self.names = names
        self.evidence = evidence
        self.rank = rank
        self.parts: tuple[Node, ...] = ()
        self.present: Present | None = None
        self.source: Any = None


def _nothing(_state: State, _here: TrackState, _at: int) -> Sequence[str]:
    return ()


def leaf(
    kind: str,
    check: Check,
    present: Present,
    names: frozenset[str] = frozenset(),
    evidence: Evidence = _nothing,
    rank: int = 1,
) -> Node:
    """A predicate."""
    node = Node(kind, check, names, evidence, rank)
    node.present = present
    return node


def _joined(kind: str, check: Check, evidence: Evidence, parts: Sequence[Node]) -> Node:
    names = frozenset[str]().union(*(part.names for part in parts))
    node = Node(kind, check, names, evidence, 1 + max(part.rank for part in parts))
    node.parts = tuple(parts)
    return node


def all_of(parts: Sequence[Node]) -> Node:
    """Holds while every part does."""
    checks = tuple(part.check for part in sorted(parts, key=lambda part: part.rank))

    def check(state: State, here: TrackState, at: int) -> Found:
        until = NEVER
        watch = 0
        for ask in checks:
            found = ask(state, here, at)
            if not found[0]:
                return found
            if found[1] < until:
                until = found[1]
            watch |= found[2]
        return True, until, watch

    def evidence(state: State, here: TrackState, at: int) -> Sequence[str]:
        return [each for part in parts for each in part.evidence(state, here, at)]

    return _joined("all", check, evidence, parts)


def any_of(parts: Sequence[Node]) -> Node:
    """Holds while at least one part does."""
    checks = tuple(part.check for part in sorted(parts, key=lambda part: part.rank))

    def check(state: State, here: TrackState, at: int) -> Found:
        until = NEVER
        watch = 0
        for ask in checks:
            found = ask(state, here, at)
            if found[0]:
                return found
            if found[1] < until:
                until = found[1]
            watch |= found[2]
        return False, until, watch

    def evidence(state: State, here: TrackState, at: int) -> Sequence[str]:
        holding = [part for part in parts if part.check(state, here, at)[0]]
        return [each for part in holding or parts for each in part.evidence(state, here, at)]

    return _joined("any", check, evidence, parts)


def negated(part: Node) -> Node:
    """Holds while the part does not."""
    ask = part.check

    def check(state: State, here: TrackState, at: int) -> Found:
        holds, until, watch = ask(state, here, at)
        return not holds, until, watch

    return _joined("not", check, part.evidence, (part,))
