"""GET /v1/rejected: what could not be accepted or processed, and why; POST /v1/rejected/redrive: once more."""

import asyncio
import re
from base64 import b64encode
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from ingest.errors import Refused
from schemas.cursors import Cursors
from schemas.problems import ProblemError
from schemas.times import format_instant, parse_instant
from schemas.topics import REJECTED
from services.eventlog.port import EventLog, OffsetOutOfRange, TopicPartition
from services.redrive import Redrive, Redriver
from services.rejected_index import RejectedIndex
from services.storage.rejected import Rejected, RejectedFilter, RejectedPlace, RejectedStore
from services.web.auth import Auth, Principal
from services.web.json_bodies import json_only
from services.web.problems import problem_responses

__all__ = ["RejectedParts", "rejected_router"]

MOST_REDRIVEN: Final = 10_000
MOST_IDS: Final = 200
_ID: Final = re.compile(r"([0-9]{1,5})-([0-9]{1,18})", re.ASCII)
_REDRIVEN: Final = {"open": False, "redriven": True, "all": None}
_Id = Annotated[str, Path(max_length=64, examples=["0-1532"])]


class RejectedQuery(BaseModel):
    """Which rejected events to list."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: str | None = Field(default=None, max_length=64, examples=["no_identity"], description="A problem code")
    source: str | None = Field(default=None, max_length=64, examples=["web-shop"])
    since: str | None = Field(default=None, max_length=64, examples=["2026-11-03T10:00:00.000Z"])
    before: str | None = Field(default=None, max_length=64, examples=["2026-11-04T10:00:00.000Z"])
    state: Literal["open", "redriven", "all"] = Field(default="open", description="Redriven or not yet.")
    cursor: str | None = Field(default=None, max_length=1_024, description="`next` of the page before")
    limit: int = Field(default=50, ge=1, le=200)


class RejectedView(BaseModel):
    """One event that was kept apart. Its bytes stay on `parcours.rejected`."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(examples=["0-1532"], description="Names this record, as long as the topic keeps it.")
    reason: str = Field(examples=["no_identity"])
    detail: str = Field(examples=["An event needs a userId or an anonymousId."])
    origin: str = Field(examples=["door"], description="`door`, or the processor that gave it up.")
    source: str = Field(examples=["web-shop"], description="The source whose write key sent it.")
    call: str | None = Field(examples=["track"], description="The call that the path named; `events`: a CloudEvent.")
    place: str | None = Field(examples=[None], description="Where it stood on the log when a processor gave it up.")
    size: int = Field(examples=[22], description="Bytes of its body.")
    rejected_at: str = Field(examples=["2026-11-03T10:00:00.000Z"])
    redriven_at: str | None = Field(examples=[None], description="When it was sent through the door again.")


class RejectedList(BaseModel):
    """Rejected events, the newest first, and how many of them there are by reason, on all pages together."""

    model_config = ConfigDict(frozen=True)

    counts: dict[str, int] = Field(examples=[{"no_identity": 12, "invalid_timestamp": 3}])
    rejected: tuple[RejectedView, ...]
    next: str | None = Field(examples=[None], description="The cursor of the following page; null: that was all.")


class RejectedBody(RejectedView):
    """One rejected event with its body, as text where it is some, else in base64. Null: the topic has dropped it."""

    body: str | None = Field(examples=['{"event": "Signed In"}'])
    body_base64: str | None = Field(default=None, examples=[None])


class RedriveBody(BaseModel):
    """What to redrive: everything that fits, or `ids` alone."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={"examples": [{"reason": "unknown_event", "source": "web-shop", "dry_run": True}]},
    )

    reason: str | None = Field(default=None, max_length=64, examples=["unknown_event"])
    source: str | None = Field(default=None, max_length=64, examples=["web-shop"])
    before: str | None = Field(default=None, max_length=64, examples=["2026-11-03T10:00:00.000Z"])
    ids: tuple[Annotated[str, Field(max_length=64)], ...] | None = Field(default=None, max_length=MOST_IDS)
    limit: int = Field(default=1_000, ge=1, le=MOST_REDRIVEN, description="How many to try at most.")
    cursor: str | None = Field(default=None, max_length=1_024, description="`next` of the answer before")
    dry_run: bool = Field(default=False, description="Say what would become of them, and do nothing.")


class RedriveView(BaseModel):
    """What became of them."""

    model_config = ConfigDict(frozen=True)

    accepted: int = Field(examples=[11], description="They are on the log now.")
    rejected: dict[str, int] = Field(examples=[{"no_identity": 1}], description="By code; they stay as they were.")
    skipped: dict[str, int] = Field(
        examples=[{}],
        description="`expired`: the topic has dropped it. `not_an_event`: it is no event of anybody's."
        " `under_way`: another process is at it, or died over it within the last minute.",
    )
    next: str | None = Field(examples=[None], description="Where to go on; null: that was all.")


class RejectedParts:
    """What the routes ask."""

    def __init__(
        self, index: RejectedIndex, store: RejectedStore, event_log: EventLog, redriver: Redriver, cursors: Cursors
    ) -> None:
        """The log is started."""
        self.index = index
        self.store = store
        self.log = event_log
        self.redriver = redriver
        self.cursors = cursors

    async def page(self, workspace: str, wanted: RejectedFilter, cursor: str | None, limit: int) -> RejectedList:
        """A page of what is on the topic now."""
        await self.index.catch_up()
        return await asyncio.to_thread(self._page, workspace, wanted, cursor, limit)

    def _page(self, workspace: str, wanted: RejectedFilter, cursor: str | None, limit: int) -> RejectedList:
        pages = self.cursors.of("rejected", workspace)
        after = pages.read(cursor, tuple[int, int, int])
        found = self.store.newest(workspace, wanted, after, limit + 1)
        shown, last = found[:limit], found[limit - 1] if len(found) > limit else None
        return RejectedList(
            counts=self.store.counts(workspace, wanted),
            rejected=tuple(RejectedView.model_validate(_values(item)) for item in shown),
            next=None if last is None else pages.write((last.at, *last.where)),
        )

    async def one(self, workspace: str, id_: str) -> RejectedBody:
        """One with its body. Raises `ProblemError`."""
        await self.index.catch_up()
        found = await asyncio.to_thread(self.store.at, workspace, _places((id_,)))
        if not found:
            raise ProblemError("unknown_rejected")
        where = found[0].where
        value: bytes | None = None
        try:
            records = await self.log.read(TopicPartition(REJECTED, where.partition), where.position, 1)
        except OffsetOutOfRange:
            records = ()
        if records and records[0].offset == where.position:
            value = records[0].value
        return RejectedBody.model_validate({**_values(found[0]), **_shown(value)})


def rejected_router(auth: Auth, parts: RejectedParts) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/v1/rejected", tags=["Rejected"], dependencies=[Depends(json_only)])
    readers = Annotated[Principal, Depends(auth.read)]
    admins = Annotated[Principal, Depends(auth.admin)]

    def refusals(*codes: str) -> dict[int | str, dict[str, Any]]:
        return problem_responses("unauthorized", "scope", *codes, "unavailable")

    listing = refusals("invalid_parameter", "invalid_timestamp", "bad_cursor")

    @router.get("", summary="What was rejected, and why", responses=listing)
    async def list_rejected(principal: readers, asked: Annotated[RejectedQuery, Query()]) -> RejectedList:
        """The newest first. What they hold may be personal, so it stands only in GET /v1/rejected/{id}."""
        since, before = _instant(asked.since), _instant(asked.before)
        wanted = RejectedFilter(asked.reason, asked.source, since, before, _REDRIVEN[asked.state])
        return await parts.page(principal.workspace, wanted, asked.cursor, asked.limit)

    @router.get("/{id}", summary="One rejected event with its body", responses=refusals("unknown_rejected"))
    async def read_rejected(id: _Id, principal: admins, response: Response) -> RejectedBody:
        """The sender's own bytes. Needs the scope `admin`: they may hold anything."""
        response.headers["Cache-Control"] = "no-store"
        return await parts.one(principal.workspace, id)

    redriving = refusals(
        "invalid_json", "invalid_timestamp", "bad_cursor", "unknown_rejected", "unsupported_media_type", "invalid_body"
    )

    @router.post("/redrive", summary="Send rejected events through the door again", responses=redriving)
    async def redrive(body: RedriveBody, principal: admins) -> RedriveView:
        """Each once, with the times and ids that it had; what would be rejected again stays as it is."""
        workspace = principal.workspace
        cursors = parts.cursors.of("redrive", workspace)
        after = cursors.read(body.cursor, RejectedPlace)
        places = None if body.ids is None else _places(body.ids)
        wanted = RejectedFilter(body.reason, body.source, None, _instant(body.before))
        await parts.index.catch_up()
        try:
            done = await parts.redriver.run(workspace, Redrive(wanted, places, body.limit, after, body.dry_run))
        except Refused as error:
            raise ProblemError(error.code) from error
        following = None if done.following is None else cursors.write(done.following)
        return RedriveView(accepted=done.accepted, rejected=done.rejected, skipped=done.skipped, next=following)

    return router


def _places(ids: Sequence[str]) -> list[RejectedPlace]:
    """The places that ids name. Raises `ProblemError` ``unknown_rejected``."""
    places: list[RejectedPlace] = []
    for each in ids:
        found = _ID.fullmatch(each)
        if found is None:
            raise ProblemError("unknown_rejected")
        places.append(RejectedPlace(int(found[1]), int(found[2])))
    return places


def _instant(text: str | None) -> int | None:
    return None if text is None else parse_instant(text)


def _values(item: Rejected) -> dict[str, object]:
    return {
        "id": f"{item.where.partition}-{item.where.position}",
        "reason": item.reason,
        "detail": item.detail,
        "origin": item.origin,
        "source": item.source,
        "call": item.call or None,
        "place": item.place or None,
        "size": item.size,
        "rejected_at": format_instant(item.at),
        "redriven_at": None if item.redriven_at is None else format_instant(item.redriven_at),
    }


def _shown(value: bytes | None) -> dict[str, str | None]:
    if value is None:
        return {"body": None}
    try:
        return {"body": value.decode()}
    except UnicodeDecodeError:
        return {"body": None, "body_base64": b64encode(value).decode()}
