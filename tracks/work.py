"""One transaction of an engine, handed from step to step."""

from dataclasses import dataclass, field

from schemas.processing import DeadLetter
from tracks.cache import SubjectCache
from tracks.engine import Engine
from tracks.ports import Transaction
from tracks.results import Results
from tracks.store import TrackStore

__all__ = ["Work"]


@dataclass(slots=True)
class Work:
    """A batch or a wake of one partition; `now` is in ms. `conflicts` counts ids that came with another content."""

    engine: Engine
    store: TrackStore
    cache: SubjectCache
    transaction: Transaction
    partition: int
    now: int
    results: Results
    dead: list[DeadLetter] = field(default_factory=list)
    conflicts: int = 0
