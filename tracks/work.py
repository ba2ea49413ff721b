"""One transaction of an engine, handed from step to step."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from behavior import Definition
from schemas.processing import DeadLetter
from tracks.engine import Engine
from tracks.ports import Transaction
from tracks.results import Results
from tracks.store import TrackStore

__all__ = ["Work"]


@dataclass(slots=True)
class Work:
    """A batch or a wake of one partition. `kinds` holds the definitions per kind of subject; `now` is in ms."""

    engine: Engine
    kinds: Mapping[str, tuple[Definition, ...]]
    store: TrackStore
    transaction: Transaction
    partition: int
    now: int
    results: Results
    dead: list[DeadLetter] = field(default_factory=list)

    def definitions_of(self, subject: str) -> tuple[Definition, ...]:
        """The definitions that apply to a subject."""
        return self.kinds.get(subject.partition(":")[0], ())
