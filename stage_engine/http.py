"""GET /v1/customers... and GET /v1/lifecycles...: where customers are, how they came there, and what leads on."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from behavior import Definition
from schemas.cursors import Cursors, ListCursors
from schemas.ids import DEFAULT_WORKSPACE, display_id
from schemas.problems import Problem, ProblemError
from schemas.times import format_instant
from stage_engine.errors import instant_given, subject_given
from stage_engine.ports import Now, SegmentPlaces
from stage_engine.views import (
    ActivityList,
    CustomerList,
    CustomerView,
    JourneyView,
    LifecycleList,
    LifecycleView,
    StageCounts,
    counts_view,
    event_view,
    lifecycle_view,
    next_view,
    segments_of,
    stages_of,
    summary_of,
    transition_view,
)
from stage_engine.why import ExplanationView, explanation_view
from tracks.reads import ActivityPlace, JourneyFilter, Place, TrackReads

__all__ = ["customers_router", "lifecycles_router"]

_REFUSED: dict[int | str, dict[str, Any]] = {400: {"model": Problem}}
_UNKNOWN: dict[int | str, dict[str, Any]] = {400: {"model": Problem}, 404: {"model": Problem}}

_Id = Annotated[
    str, Path(max_length=1_024, description="A userId, or user:<id>, anon:<id>, account:<id>", examples=["u-42"])
]
_Cursor = Annotated[str | None, Query(description="`next` of the page before")]
_Limit = Annotated[int, Query(ge=1, le=500)]
_Name = Annotated[str | None, Query(max_length=128, examples=["default"])]
_Time = Annotated[str | None, Query(max_length=64, examples=["2026-11-03T10:00:00.000Z"])]


class _Reader:
    """What the routes ask, for one workspace. Synchronous: called in worker threads."""

    def __init__(self, reads: TrackReads, segments: SegmentPlaces | None, now: Now, workspace: str) -> None:
        self.reads = reads
        self.now = now
        self.workspace = workspace
        self.by_name = {definition.name: definition for definition in reads.definitions}
        self._segments = segments

    def lifecycle(self, name: str) -> Definition:
        """An active lifecycle. Raises `ProblemError`."""
        if name not in self.by_name:
            raise ProblemError("unknown_lifecycle")
        return self.by_name[name]

    def _place(self, lifecycle: str | None, track: str | None, stage: str) -> Place:
        definition = self.lifecycle(next(iter(self.by_name), "") if lifecycle is None else lifecycle)
        found = definition.primary
        if track is not None:
            named = [each for each in definition.tracks if each.name == track]
            if not named:
                raise ProblemError("unknown_track")
            found = named[0]
        if stage not in found.stages:
            raise ProblemError("unknown_stage")
        return Place(definition.name, found.name, stage)

    def customers(
        self,
        place: tuple[str | None, str | None, str] | None,
        text: str,
        after: str | None,
        limit: int,
        pages: ListCursors,
    ) -> CustomerList:
        """A page of customers, in a stage or all."""
        if place is None:
            found = self.reads.subjects(self.workspace, text, after, limit + 1)
        else:
            rows = self.reads.members(self.workspace, self._place(*place), text, after, limit + 1)
            found = [row.subject for row in rows]
        shown = found[:limit]
        places = self.reads.places(self.workspace, shown)
        return CustomerList(
            customers=tuple(summary_of(subject, places[subject]) for subject in shown),
            next=pages.write(shown[-1]) if len(found) > limit else None,
            as_of=format_instant(self.now()),
        )

    def known(self, identifier: str) -> str:
        """The subject of an id of whom something is stored. Raises `ProblemError`."""
        subject = subject_given(identifier)
        if not self.reads.known(self.workspace, subject):
            raise ProblemError("unknown_customer")
        return subject

    def customer(self, identifier: str) -> CustomerView:
        """One customer."""
        subject = self.known(identifier)
        segments = {} if self._segments is None else self._segments.places(self.workspace, [subject])
        return CustomerView(
            id=display_id(subject),
            identities=(subject,),
            traits=self.reads.traits(self.workspace, subject),
            stages=stages_of(self.reads.places(self.workspace, [subject])[subject]),
            segments=segments_of(segments.get(subject, ())),
            as_of=format_instant(self.now()),
        )

    def journey(self, identifier: str, wanted: JourneyFilter) -> JourneyView:
        """The transitions of one customer, and what comes next if nothing happens."""
        subject = self.known(identifier)
        if wanted.lifecycle is not None:
            self.lifecycle(wanted.lifecycle)
        rows = self.reads.journey(self.workspace, subject, wanted)
        outlooks = {
            name: outlook
            for name, outlook in self.reads.next_changes(self.workspace, subject).items()
            if wanted.lifecycle in (None, name) and wanted.track in (None, outlook.track)
        }
        return JourneyView(transitions=tuple(transition_view(row) for row in rows), next=next_view(outlooks))

    def activity(self, identifier: str, after: ActivityPlace | None, limit: int, pages: ListCursors) -> ActivityList:
        """A page of one customer's events."""
        subject = self.known(identifier)
        rows = self.reads.activity(self.workspace, subject, after, limit + 1)
        shown = rows[:limit]
        following = None
        if len(rows) > limit:
            last = shown[-1]
            following = pages.write(ActivityPlace(last.occurred_at, last.sequence, last.message_id))
        return ActivityList(events=tuple(event_view(row) for row in shown), next=following)

    def explanation(self, identifier: str, lifecycle: str | None) -> ExplanationView:
        """Why one customer is where they are."""
        subject = self.known(identifier)
        if lifecycle is not None:
            self.lifecycle(lifecycle)
        now = self.now()
        found = self.reads.explanations(self.workspace, subject, now)
        chosen = tuple(each for each in found if lifecycle in (None, each.explanation.lifecycle))
        return explanation_view(display_id(subject), chosen, self.by_name, now)

    def counts(self, name: str) -> StageCounts:
        """Customers per stage of a lifecycle."""
        definition = self.lifecycle(name)
        counts = {
            (each.place.track, each.place.stage): each.subjects for each in self.reads.counts(self.workspace, name)
        }
        return counts_view(definition, counts, self.now())


def customers_router(
    reads: TrackReads,
    now: Now,
    cursors: Cursors,
    segments: SegmentPlaces | None = None,
    workspace: str = DEFAULT_WORKSPACE,
) -> APIRouter:
    """The routes of customers; `segments` tells their segments. Who may call them is for the including app to say."""
    router = APIRouter(prefix="/v1/customers", tags=["Customers"])
    reader = _Reader(reads, segments, now, workspace)
    pages, events = cursors.of("customers", workspace), cursors.of("activity", workspace)

    @router.get("", responses=_UNKNOWN, summary="Customers, all or those in a stage")
    async def list_customers(
        stage: Annotated[str | None, Query(max_length=128, examples=["adoption"])] = None,
        lifecycle: _Name = None,
        track: Annotated[str | None, Query(max_length=128, examples=["stage"])] = None,
        q: Annotated[str, Query(max_length=128, description="Part of the id", examples=["u-4"])] = "",
        cursor: _Cursor = None,
        limit: _Limit = 50,
    ) -> CustomerList:
        """In order of their ids. `stage` is one of the first lifecycle's primary track unless others are named."""
        after = pages.read(cursor, str)
        place = None if stage is None else (lifecycle, track, stage)
        return await asyncio.to_thread(reader.customers, place, q.strip(), after, limit, pages)

    @router.get("/{id}", responses=_UNKNOWN, summary="One customer: traits, stages, segments")
    async def read_customer(id: _Id) -> CustomerView:
        """Where the customer is now. Traits are the latest said by `identify`."""
        return await asyncio.to_thread(reader.customer, id)

    @router.get("/{id}/journey", responses=_UNKNOWN, summary="The stages a customer went through")
    async def read_journey(
        id: _Id,
        lifecycle: _Name = None,
        track: Annotated[str | None, Query(max_length=128, examples=["stage"])] = None,
        as_of: _Time = None,
        as_known_at: _Time = None,
    ) -> JourneyView:
        """Standing transitions in order of time, and what comes next if nothing happens.

        `as_of` leaves out what took effect later; `as_known_at` tells what was known at that time, before later
        corrections.
        """
        wanted = JourneyFilter(lifecycle, track, instant_given(as_of), instant_given(as_known_at))
        return await asyncio.to_thread(reader.journey, id, wanted)

    @router.get("/{id}/activity", responses=_UNKNOWN, summary="The events of a customer, latest first")
    async def read_activity(id: _Id, cursor: _Cursor = None, limit: _Limit = 100) -> ActivityList:
        """Every accepted event once, as it was sent."""
        after = events.read(cursor, ActivityPlace)
        return await asyncio.to_thread(reader.activity, id, after, limit, events)

    @router.get("/{id}/explanation", responses=_UNKNOWN, summary="Why a customer is in a stage, and what leads on")
    async def read_explanation(id: _Id, lifecycle: _Name = None) -> ExplanationView:
        """What led into each present stage with its evidence, and what each way out still needs."""
        return await asyncio.to_thread(reader.explanation, id, lifecycle)

    return router


def lifecycles_router(reads: TrackReads, now: Now, workspace: str = DEFAULT_WORKSPACE) -> APIRouter:
    """The routes of lifecycles."""
    router = APIRouter(prefix="/v1/lifecycles", tags=["Lifecycles"])
    reader = _Reader(reads, None, now, workspace)
    name_given = Annotated[str, Path(max_length=128, examples=["default"])]

    @router.get("", responses=_REFUSED, summary="The active lifecycles")
    async def list_lifecycles() -> LifecycleList:
        """Names, versions, tracks and stages."""
        return LifecycleList(lifecycles=tuple(lifecycle_view(each, whole=False) for each in reads.definitions))

    @router.get("/{name}", responses=_UNKNOWN, summary="One lifecycle with its definition")
    async def read_lifecycle(name: name_given) -> LifecycleView:
        """The whole definition as JSON."""
        return lifecycle_view(reader.lifecycle(name), whole=True)

    @router.get("/{name}/stages", responses=_UNKNOWN, summary="How many customers are in each stage")
    async def count_stages(name: name_given) -> StageCounts:
        """Every stage of every track, also the empty ones, in the definition's order."""
        return await asyncio.to_thread(reader.counts, name)

    return router
