"""GET /v1/segments...: the active segments, how many customers are in each, and who."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from behavior import Definition
from schemas.cursors import Cursors, ListCursors
from schemas.ids import DEFAULT_WORKSPACE
from schemas.problems import Problem, ProblemError
from schemas.times import format_instant
from segmenter.views import MemberList, SegmentsList, SegmentsView, member_view, segments_view
from tracks.reads import Place, TrackReads

__all__ = ["Now", "segments_router"]

Now = Callable[[], int]
"""Wall time in ms."""

_UNKNOWN: dict[int | str, dict[str, Any]] = {400: {"model": Problem}, 404: {"model": Problem}}
_Name = Annotated[str, Path(max_length=128, examples=["segments"])]


class _Reader:
    """What the routes ask, for one workspace. Synchronous: called in worker threads."""

    def __init__(self, reads: TrackReads, now: Now, workspace: str, pages: ListCursors) -> None:
        self._reads = reads
        self._now = now
        self._workspace = workspace
        self._pages = pages
        self._by_name = {definition.name: definition for definition in reads.definitions}

    def _definition(self, name: str) -> Definition:
        if name not in self._by_name:
            raise ProblemError("unknown_segment")
        return self._by_name[name]

    def all(self) -> SegmentsList:
        """Every active segments file with its counts."""
        return SegmentsList(segments=tuple(self.one(name, whole=False) for name in self._by_name))

    def one(self, name: str, *, whole: bool) -> SegmentsView:
        """One segments file with its counts. Raises `ProblemError`."""
        definition = self._definition(name)
        counts = {
            (each.place.track, each.place.stage): each.subjects for each in self._reads.counts(self._workspace, name)
        }
        return segments_view(definition, counts, self._now(), whole=whole)

    def members(self, place: tuple[str, str | None, str], text: str, after: str | None, limit: int) -> MemberList:
        """A page of the customers in a stage of a segment. Raises `ProblemError`."""
        name, track, stage = place
        definition = self._definition(name)
        found = definition.primary
        if track is not None:
            named = [each for each in definition.tracks if each.name == track]
            if not named:
                raise ProblemError("unknown_track")
            found = named[0]
        if stage not in found.stages:
            raise ProblemError("unknown_stage")
        rows = self._reads.members(self._workspace, Place(name, found.name, stage), text, after, limit + 1)
        shown = rows[:limit]
        return MemberList(
            name=name,
            version=definition.version,
            track=found.name,
            stage=stage,
            members=tuple(member_view(row) for row in shown),
            next=self._pages.write(shown[-1].subject) if len(rows) > limit else None,
            as_of=format_instant(self._now()),
        )


def segments_router(reads: TrackReads, now: Now, cursors: Cursors, workspace: str = DEFAULT_WORKSPACE) -> APIRouter:
    """The routes of segments. Who may call them is for the including application to say."""
    router = APIRouter(prefix="/v1/segments", tags=["Segments"])
    pages = cursors.of("members", workspace)
    reader = _Reader(reads, now, workspace, pages)

    @router.get("", summary="The active segments, and how many customers are in each")
    async def list_segments() -> SegmentsList:
        """Every stage of every track of every segments file, also the empty ones, in the definition's order."""
        return await asyncio.to_thread(reader.all)

    @router.get("/{name}", responses=_UNKNOWN, summary="One segments file with its counts and definition")
    async def read_segments(name: _Name) -> SegmentsView:
        """A segment is a track of the file; the whole definition is told as JSON."""
        return await asyncio.to_thread(reader.one, name, whole=True)

    @router.get("/{name}/members", responses=_UNKNOWN, summary="Who is in a segment")
    async def list_members(
        name: _Name,
        stage: Annotated[str, Query(max_length=128, examples=["engaged"])],
        track: Annotated[
            str | None, Query(max_length=128, description="The segment; by default the file's primary one")
        ] = None,
        q: Annotated[str, Query(max_length=128, description="Part of the id", examples=["u-4"])] = "",
        cursor: Annotated[str | None, Query(description="`next` of the page before")] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
    ) -> MemberList:
        """Customers in a stage of a segment, in order of their ids."""
        after = pages.read(cursor, str)
        return await asyncio.to_thread(reader.members, (name, track, stage), q.strip(), after, limit)

    return router
