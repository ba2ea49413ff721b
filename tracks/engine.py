"""What makes one engine out of tracks: its name, topics, types and times."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from behavior import Definition
from schemas.times import MINUTE, SECOND
from schemas.topics import EVENTS, ROUTED

__all__ = ["Engine", "definitions_by_kind"]


@dataclass(frozen=True, slots=True)
class Engine:
    """The constants of an engine; times in ms.

    `event_topics` carry events, the other `inputs` are the engine's own business (`TrackProcessor.facts`).
    Due instants wait `settle` after an event's arrival, `settle_history` if it was over an hour old. `partitions` is
    the number of partitions of every input; 0 leaves unchecked that a record stands in the partition of its key.
    """

    name: str
    source: str
    inputs: tuple[str, ...]
    output_topic: str
    changed_type: str
    corrected_type: str
    progress_type: str
    event_topics: frozenset[str] = field(default_factory=lambda: frozenset((EVENTS, ROUTED)))
    keeps_every_event: bool = True
    settle: int = 5 * SECOND
    settle_history: int = MINUTE
    partitions: int = 0
    cached_subjects: int = 100_000


def definitions_by_kind(definitions: Sequence[Definition]) -> Mapping[str, tuple[Definition, ...]]:
    """The definitions that apply to each kind of subject: an anonymous visitor follows those of users."""
    users = tuple(definition for definition in definitions if definition.subject == "user")
    accounts = tuple(definition for definition in definitions if definition.subject == "account")
    return {"user": users, "anon": users, "account": accounts}
