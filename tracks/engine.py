"""What makes one engine out of tracks: its name, definitions, topics, types and times."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from behavior import Definition
from schemas.times import MINUTE, SECOND
from schemas.topics import EVENTS, ROUTED

__all__ = ["Engine"]


@dataclass(frozen=True, slots=True)
class Engine:
    """The constants of an engine; times in ms. The names of `definitions` are distinct.

    `event_topics` carry events, the other `inputs` are the engine's own business (`TrackProcessor.facts`).
    Due instants wait `settle` after an event's arrival, `settle_history` if it was over an hour old. `partitions` is
    the number of partitions of every input; 0 leaves unchecked that a record stands in the partition of its key.
    A subject takes about 7 KB of memory while it is warm, then about 2 KB while it is cached.
    """

    name: str
    source: str
    definitions: Sequence[Definition]
    inputs: tuple[str, ...]
    output_topic: str
    changed_type: str
    corrected_type: str
    progress_type: str
    event_topics: frozenset[str] = frozenset((EVENTS, ROUTED))
    keeps_every_event: bool = True
    settle: int = 5 * SECOND
    settle_history: int = MINUTE
    partitions: int = 0
    warm_subjects: int = 16_000
    cached_subjects: int = 64_000
    kinds: Mapping[str, tuple[Definition, ...]] = field(init=False)

    def __post_init__(self) -> None:
        """Sort the definitions by the kind of subject: an anonymous visitor follows those of users."""
        users = tuple(definition for definition in self.definitions if definition.subject == "user")
        accounts = tuple(definition for definition in self.definitions if definition.subject == "account")
        object.__setattr__(self, "kinds", {"user": users, "anon": users, "account": accounts})

    def definitions_of(self, subject: str) -> tuple[Definition, ...]:
        """The definitions that apply to a subject."""
        return self.kinds.get(subject.partition(":")[0], ())
