"""What the pages read, as plain facts; times are instants in ms. An adapter of this package reads them from stores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from services.web.catalog import Catalog

__all__ = ["ActivityFact", "ChangeFact", "CheckFact", "CustomerFacts", "EvidenceFact", "ExplanationFact", "MemberFact"]
__all__ += ["MessageFact", "PageReads", "Place", "StageCount", "WayFact"]


class Place(NamedTuple):
    """A stage of a track of a lifecycle (or of the segments file), by ids."""

    lifecycle: str
    track: str
    stage: str


class StageCount(NamedTuple):
    """How many customers are in a stage now."""

    place: Place
    customers: int


class MemberFact(NamedTuple):
    """A customer in a stage: since when, on which visit, for which reason."""

    customer: str
    place: Place
    since: int
    visit: int
    reason: str | None


class ChangeFact(NamedTuple):
    """A transition that stands. `source` is None for the entry into the initial stage; `step` orders one instant."""

    customer: str
    lifecycle: str
    track: str
    source: str | None
    target: str
    transition: str
    reason: str | None
    effective_at: int
    step: int


class ActivityFact(NamedTuple):
    """An event that the customer did."""

    name: str
    occurred_at: int
    properties: Mapping[str, Any]


class MessageFact(NamedTuple):
    """A message, or the decision not to send one. `outcome` and `reason` are stable codes; `text` is what was sent."""

    customer: str
    campaign: str
    outcome: str
    reason: str | None
    subject: str | None
    text: str | None
    at: int


class CheckFact(NamedTuple):
    """One condition of a transition in words: whether it holds, what is there now and what it needs.

    `group` says how it is joined with its neighbors, as `behavior.explain` writes it: ``all``, ``any/2/all``, ``any``.
    """

    text: str
    holds: bool
    present: str
    needed: str
    group: str


class WayFact(NamedTuple):
    """A transition that leads out of the present stage.

    `by_event`: it needs an event, so time alone never brings it about. `turns_true_at` is the instant at which it
    happens when nothing else does.
    """

    transition: str
    target: str
    by_event: bool
    holds: bool
    turns_true_at: int | None
    checks: tuple[CheckFact, ...]


class EvidenceFact(NamedTuple):
    """An event that a transition rests on."""

    name: str
    occurred_at: int | None


class ExplanationFact(NamedTuple):
    """Why a customer is in a stage of a track, and what leads out of it."""

    place: Place
    since: int
    visit: int
    reason: str | None
    transition: str
    by_clock: bool
    evidence: tuple[EvidenceFact, ...]
    ways: tuple[WayFact, ...]


@dataclass(frozen=True, slots=True)
class CustomerFacts:
    """Everything that the page of one customer shows. Lists are in order of time; `complete`: nothing was left out."""

    id: str
    traits: Mapping[str, Any]
    stages: Sequence[MemberFact]
    segments: Sequence[MemberFact]
    changes: Sequence[ChangeFact]
    activity: Sequence[ActivityFact]
    complete: bool
    explanations: Sequence[ExplanationFact]


class PageReads(Protocol):
    """Reads for the pages of one workspace. Synchronous: call them in a worker thread. They raise `StorageError`."""

    @property
    def catalog(self) -> Catalog:
        """Names of stages and transitions."""

    def counts(self) -> Sequence[StageCount]:
        """How many customers are in each stage of each lifecycle track; stages without customers may be missing."""

    def members(self, place: Place, after: str | None, limit: int) -> Sequence[MemberFact]:
        """Customers in a stage in order of their ids, after the customer `after`."""

    def find(self, query: str, after: str | None, limit: int) -> Sequence[MemberFact]:
        """Customers whose id holds `query`, in order of their ids, each with their primary stage."""

    def latest(self, limit: int) -> Sequence[ChangeFact]:
        """The changes that were recorded last, latest first, entries into initial stages left out."""

    def messages(self, customer: str | None, limit: int) -> Sequence[MessageFact]:
        """The latest messages, of one customer or of all, latest first."""

    def customer(self, identifier: str) -> CustomerFacts | None:
        """A customer by the id of the API, or None. Raises `InvalidId`."""
