"""GET|PUT /v1/sources: what becomes of a source's events, and how many may come."""

import asyncio
import re
from collections.abc import Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Path, Response
from pydantic import BaseModel, ConfigDict, Field

from ingest.ports import Mode
from schemas.problems import ProblemError
from services.storage.key_admin import KeyAdmin, SourceInfo
from services.storage.sources import ANY, SOURCE_NAME, SourceRules
from services.web.auth import Auth, Principal
from services.web.json_bodies import json_only
from services.web.keys_http import KEY_ADMIN_PROBLEMS, problem_of
from services.web.problems import problem_responses

__all__ = ["sources_router"]

MOST_EVENTS: Final = 100_000_000
_TAGS: Final = re.compile(r'"[\x21\x23-\x7e]{1,64}"', re.ASCII)
_Name = Annotated[str, Path(pattern=f"^{SOURCE_NAME.pattern}$", examples=["web-shop"])]
_Limit = Annotated[int | None, Field(ge=1, le=MOST_EVENTS, examples=[500])]
_OF_KEY: Final = "of each key; null: as the settings say"


class SourceBody(BaseModel):
    """The rules of a source, complete."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Mode = Field(
        examples=["warn"],
        description="What becomes of events that the catalog does not know or that break it: `open` accepts and flags"
        " them, `warn` also tells the sender, `strict` keeps them apart.",
    )
    events_per_second: _Limit = Field(default=None, description=f"Events a second, {_OF_KEY}.")
    burst: _Limit = Field(default=None, description=f"Events at once after a pause, {_OF_KEY}.")


class SourceView(SourceBody):
    """A source: the name that write keys bear, and its rules."""

    name: str = Field(examples=["web-shop"])
    keys: int = Field(examples=[1], description="How many valid write keys bear its name.")


class SourceList(BaseModel):
    """The sources of the workspace, by name."""

    model_config = ConfigDict(frozen=True)

    sources: tuple[SourceView, ...]


def sources_router(auth: Auth, admin: KeyAdmin, changed: Callable[[], None]) -> APIRouter:
    """The routes. `changed` is called after each change: it holds in this process at once."""
    router = APIRouter(prefix="/v1/sources", tags=["Administration"], dependencies=[Depends(json_only)])
    readers = Annotated[Principal, Depends(auth.read)]
    admins = Annotated[Principal, Depends(auth.admin)]

    def refusals(*codes: str) -> dict[int | str, dict[str, Any]]:
        return problem_responses(*KEY_ADMIN_PROBLEMS, *codes)

    @router.get("", summary="The sources", responses=refusals())
    async def list_sources(principal: readers) -> SourceList:
        """Every name that a write key bears, or that was given rules."""
        found = await asyncio.to_thread(admin.sources, principal.workspace)
        return SourceList(sources=tuple(_view(info) for info in found))

    @router.get("/{name}", summary="One source", responses=refusals("invalid_parameter", "unknown_source"))
    async def read_source(name: _Name, principal: readers, response: Response) -> SourceView:
        """Its rules; the header `ETag` names their state, for the next change."""
        with problem_of():
            found = await asyncio.to_thread(admin.source, principal.workspace, name)
        response.headers["ETag"] = found.etag
        return _view(found)

    putting = refusals(
        "invalid_parameter", "invalid_json", "unsupported_media_type", "invalid_body", "stale", "precondition_required"
    )

    @router.put("/{name}", summary="Give a source its rules", responses=putting)
    async def put_source(
        name: _Name,
        body: SourceBody,
        principal: admins,
        response: Response,
        if_match: Annotated[
            str | None, Header(max_length=1_024, description="The ETag that was read, or `*`: whatever is there.")
        ] = None,
    ) -> SourceView:
        """Needs `If-Match` once rules were given, so that nobody undoes what someone else decided meanwhile.

        Here the rules hold at once, in other processes within a minute.
        """
        rules = SourceRules(body.mode, body.events_per_second, body.burst)
        with problem_of():
            found = await asyncio.to_thread(admin.put_source, principal.workspace, name, rules, _tags(if_match))
        changed()
        response.headers["ETag"] = found.etag
        return _view(found)

    return router


def _tags(if_match: str | None) -> frozenset[str] | None:
    """The entity tags of an If-Match header. Raises `ProblemError` for none."""
    if if_match is None:
        return None
    if if_match.strip() == ANY:
        return frozenset({ANY})
    tags = frozenset(_TAGS.findall(if_match))
    if not tags:
        raise ProblemError("invalid_parameter", 'If-Match is an ETag with its quotes, such as "5f0c6d0e7a1b", or *.')
    return tags


def _view(info: SourceInfo) -> SourceView:
    return SourceView(name=info.name, keys=info.keys, **info.rules._asdict())
