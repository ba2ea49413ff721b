"""The pages' facts from the stores of the stage engine, the segmenter and the notifier."""

from collections.abc import Mapping, Sequence
from typing import Final

from behavior.explain import Outgoing, TrackExplanation
from behavior.transitions import CLOCK
from notifier.reads import MessageFilter, MessageReads
from schemas.ids import DEFAULT_WORKSPACE, display_id, parse_customer_id
from services.runtime.clock import Clock
from services.web.catalog import Catalog
from services.web.facts import (
    ActivityFact,
    ChangeFact,
    CheckFact,
    CustomerFacts,
    EvidenceFact,
    ExplanationFact,
    MemberFact,
    MessageFact,
    Place,
    StageCount,
    WayFact,
)
from services.web.first_minute import Applied
from tracks.domain.folding import events_of
from tracks.domain.rows import ActivityRow, StageRow, TransitionRow
from tracks.reads import Explained, JourneyFilter, TrackReads
from tracks.reads import Place as StoredPlace

__all__ = ["StoreReads"]

_MOST_EVENTS: Final = 200
_LOOKED_THROUGH: Final = 2_000


class StoreReads:
    """A `PageReads` over the engines' tables. Raises `StorageError`, and `InvalidId` for what is no id."""

    def __init__(self, stages: TrackReads, segments: TrackReads, messages: MessageReads, clock: Clock) -> None:
        """`stages` reads the stage engine, `segments` the segmenter."""
        self.catalog = Catalog(
            [definition.file for definition in stages.definitions],
            [definition.file for definition in segments.definitions],
        )
        self._stages = stages
        self._segments = segments
        self._messages = messages
        self._clock = clock

    def _engine(self, lifecycle: str) -> TrackReads:
        segments = {definition.name for definition in self._segments.definitions}
        return self._segments if lifecycle in segments else self._stages

    def counts(self) -> Sequence[StageCount]:
        """How many customers are in each stage of each lifecycle track; empty stages are missing."""
        return [StageCount(Place(*item.place), item.subjects) for item in self._stages.counts(DEFAULT_WORKSPACE)]

    def members(self, place: Place, after: str | None, limit: int) -> Sequence[MemberFact]:
        """Customers in a stage, or in a segment, in order of their ids, after the customer `after`."""
        subject = None if after is None else parse_customer_id(after)
        rows = self._engine(place.lifecycle).members(DEFAULT_WORKSPACE, StoredPlace(*place), "", subject, limit)
        return [_member(row) for row in rows]

    def find(self, query: str, after: str | None, limit: int) -> Sequence[MemberFact]:
        """Customers whose id holds `query`, in order of their ids, each with their primary stage."""
        subject = None if after is None else parse_customer_id(after)
        found = self._stages.subjects(DEFAULT_WORKSPACE, query, subject, limit)
        places = self._stages.places(DEFAULT_WORKSPACE, found)
        primary = [(track.lifecycle, track.track) for track in self.catalog.tracks if track.primary]
        return [
            _member(min(rows, key=lambda row: (row.lifecycle, row.track) not in primary))
            for rows in (places[subject] for subject in found)
            if rows
        ]

    def latest(self, limit: int) -> Sequence[ChangeFact]:
        """The changes that were recorded last, latest first, entries into initial stages left out."""
        return [_change(row) for row in self._stages.latest(DEFAULT_WORKSPACE, limit)]

    def messages(self, customer: str | None, limit: int) -> Sequence[MessageFact]:
        """The latest messages, of one customer or of all, latest first."""
        subject = None if customer is None else parse_customer_id(customer)
        seen = self._messages.recent(DEFAULT_WORKSPACE, MessageFilter(subject), None, limit)
        return [
            MessageFact(
                display_id(item.decision.subject),
                item.decision.campaign,
                item.decision.status,
                item.decision.reason,
                item.subject_line,
                item.text,
                item.decision.decided_at,
            )
            for item in seen
        ]

    def customer(self, identifier: str) -> CustomerFacts | None:
        """A customer by the id of the API, or None."""
        subject = parse_customer_id(identifier)
        if not self._stages.known(DEFAULT_WORKSPACE, subject):
            return None
        activity = self._stages.activity(DEFAULT_WORKSPACE, subject, None, _MOST_EVENTS + 1)
        shown = activity[:_MOST_EVENTS]
        earliest = shown[-1].occurred_at if len(activity) > _MOST_EVENTS else 0
        journey = self._stages.journey(DEFAULT_WORKSPACE, subject, JourneyFilter())
        explanations = self._stages.explanations(DEFAULT_WORKSPACE, subject, self._clock.now())
        return CustomerFacts(
            id=display_id(subject),
            traits=self._stages.traits(DEFAULT_WORKSPACE, subject),
            stages=self._present(self._stages, subject),
            segments=self._present(self._segments, subject),
            changes=[_change(row) for row in journey if row.effective_at >= earliest],
            activity=[ActivityFact(event.name, event.at, event.content()) for event in events_of(shown)],
            complete=len(activity) <= _MOST_EVENTS,
            explanations=[fact for explained in explanations for fact in _explanations(explained)],
        )

    def _present(self, reads: TrackReads, subject: str) -> Sequence[MemberFact]:
        """Present stages, in the order of the definitions."""
        order = {
            (definition.name, track.name): (number, index)
            for number, definition in enumerate(reads.definitions)
            for index, track in enumerate(definition.tracks)
        }
        rows = reads.places(DEFAULT_WORKSPACE, [subject])[subject]
        return [_member(row) for row in sorted(rows, key=lambda row: order.get((row.lifecycle, row.track), (99, 0)))]

    def applied(self, subject: str, event: str, since: int) -> Applied | None:
        """What the first event of that name, received since `since` (ms), changed on the primary track.

        None: the stage engine has not applied it yet, or follows no such subject.
        """
        recent = self._stages.activity(DEFAULT_WORKSPACE, subject, None, _LOOKED_THROUGH)
        mine = [row for row in recent if row.name == event and row.received_at >= since]
        primary = self.catalog.primary
        if not mine or primary is None:
            return None
        first = min(mine, key=lambda row: (row.received_at, row.occurred_at))
        wanted = JourneyFilter(primary.lifecycle, primary.track, as_of=first.occurred_at)
        turns = self._stages.journey(DEFAULT_WORKSPACE, subject, wanted)
        if not turns:
            return None
        here = [row for row in turns if row.effective_at == first.occurred_at]
        before = here[0].from_stage if here else turns[-1].to_stage
        return Applied(primary.lifecycle, primary.track, before, turns[-1].to_stage)


def _member(row: StageRow) -> MemberFact:
    place = Place(row.lifecycle, row.track, row.stage)
    return MemberFact(display_id(row.subject), place, row.since, row.visit, row.reason)


def _change(row: TransitionRow) -> ChangeFact:
    return ChangeFact(
        display_id(row.subject),
        row.lifecycle,
        row.track,
        row.from_stage,
        row.to_stage,
        row.transition,
        row.reason,
        row.effective_at,
        row.step,
    )


def _explanations(explained: Explained) -> Sequence[ExplanationFact]:
    lifecycle = explained.explanation.lifecycle
    return [_explanation(lifecycle, track, explained.evidence) for track in explained.explanation.tracks]


def _explanation(lifecycle: str, track: TrackExplanation, events: Mapping[str, ActivityRow]) -> ExplanationFact:
    entered = track.entered_by
    known = [events[message_id] for message_id in entered.evidence if message_id in events]
    return ExplanationFact(
        Place(lifecycle, track.track, track.stage),
        track.since,
        track.visit,
        track.reason,
        entered.transition,
        entered.cause == CLOCK,
        tuple(EvidenceFact(row.name, row.occurred_at) for row in known),
        tuple(_way(way) for way in track.transitions),
    )


def _way(way: Outgoing) -> WayFact:
    return WayFact(
        way.id,
        way.to,
        way.kind == "event",
        way.holds,
        None if way.holds else way.until,
        tuple(CheckFact(item.words, item.holds, item.present, item.needed, item.group) for item in way.checklist),
    )
