"""Compile time: which digests a definition needs, which events feed them, and which bits of a watch they set."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from behavior.digests import Feed, feed_score
from behavior.names import Names
from behavior.scores import Decay
from behavior.values import Matcher, compile_where
from schemas.language import DefinitionFile, Score
from schemas.language_types import PropertyTest

__all__ = ["Plan", "Registry", "ScoreSlot", "Stream"]

MakeFeed = Callable[[int, int], Feed]
"""(slot, size) to the function that feeds it."""


class _Slot:
    """One digest: the largest size asked for, and how to make its feed."""

    __slots__ = ("index", "make", "reads", "size")

    def __init__(self, index: int, make: MakeFeed, *, reads: bool) -> None:
        self.index = index
        self.make = make
        self.reads = reads
        self.size = 0


class Stream:
    """Events that count as one: some names, perhaps filtered by their properties. `bit` is set when one arrives."""

    __slots__ = ("bit", "matcher", "names", "slots")

    def __init__(self, names: frozenset[str], matcher: Matcher | None, bit: int) -> None:
        self.names = names
        self.matcher = matcher
        self.bit = bit
        self.slots: dict[tuple[Any, ...], _Slot] = {}


class ScoreSlot:
    """The digest of a score. `raised` and `lowered` are the bits set by events of positive and negative weight."""

    __slots__ = ("cap", "decay", "index", "lowered", "names", "raised", "weights")

    def __init__(self, index: int, score: Score, names: Names, bits: tuple[int, int]) -> None:
        self.index = index
        self.cap: Decimal = score.cap
        self.decay = Decay(score.half_life)
        weights = names.spread(score.weights)
        self.weights = {name: weight.as_integer_ratio() for name, weight in weights.items() if weight}
        self.names = frozenset(self.weights)
        self.raised, self.lowered = bits


class Plan:
    """What an event of one name does: digests fed whatever it carries, digests fed if it passes a filter, bits set.

    `edges` are filled in by the definition: (track index, rules per stage).
    """

    __slots__ = ("always", "edges", "filtered", "mask", "reads")

    def __init__(self) -> None:
        self.always: tuple[Feed, ...] = ()
        self.filtered: tuple[tuple[Matcher, tuple[Feed, ...], int], ...] = ()
        self.mask = 0
        self.reads = False
        self.edges: tuple[tuple[int, dict[str, tuple[Any, ...]]], ...] = ()


class Registry:
    """Hands out slots and bits; predicates over the same events share one digest."""

    def __init__(self, file: DefinitionFile, names: Names) -> None:
        self._file = file
        self._names = names
        self._bits = 0
        self.slot_count = 0
        self._streams: dict[tuple[frozenset[str], str], Stream] = {}
        self._scores: dict[str, ScoreSlot] = {}

    def bit(self) -> int:
        """A bit that nothing else uses."""
        self._bits += 1
        return 1 << (self._bits - 1)

    def _new_slot(self) -> int:
        self.slot_count += 1
        return self.slot_count - 1

    def stream(self, names: frozenset[str], where: Mapping[str, PropertyTest] | None = None) -> Stream:
        """The stream of these events, one for all who ask for the same."""
        asked = sorted((name, repr(test.asked())) for name, test in (where or {}).items())
        key = (names, repr(asked))
        if key not in self._streams:
            self._streams[key] = Stream(names, compile_where(where or {}), self.bit())
        return self._streams[key]

    def slot(self, stream: Stream, key: tuple[Any, ...], make: MakeFeed, size: int = 1, *, reads: bool = False) -> int:
        """The slot of the digest `key` over `stream`, large enough for `size`; `reads`: it looks at properties."""
        slot = stream.slots.get(key)
        if slot is None:
            slot = stream.slots[key] = _Slot(self._new_slot(), make, reads=reads)
        slot.size = max(slot.size, size)
        return slot.index

    def score(self, name: str) -> ScoreSlot:
        """The digest of a score of the file."""
        if name not in self._scores:
            asked, bits = self._file.scores[name], (self.bit(), self.bit())
            self._scores[name] = ScoreSlot(self._new_slot(), asked, self._names, bits)
        return self._scores[name]

    def plans(self) -> dict[str, Plan]:
        """Per event name what it feeds. To be asked once, when every predicate is compiled."""
        plans: dict[str, Plan] = {}
        for stream in self._streams.values():
            feeds = tuple(slot.make(slot.index, slot.size) for slot in stream.slots.values())
            reads = stream.matcher is not None or any(slot.reads for slot in stream.slots.values())
            for name in stream.names:
                plan = plans.setdefault(name, Plan())
                plan.reads = plan.reads or reads
                if stream.matcher is None:
                    plan.always += feeds
                    plan.mask |= stream.bit
                else:
                    plan.filtered += ((stream.matcher, feeds, stream.bit),)
        for score in self._scores.values():
            for name, weight in score.weights.items():
                plan = plans.setdefault(name, Plan())
                plan.always += (feed_score(score.index, score.decay, weight),)
                plan.mask |= score.raised if weight[0] > 0 else score.lowered
        return plans
