"""GET /v1/catalog...: the events that there are, what each carries, and which of them come."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Path, Query
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from behavior import Definition
from schemas.catalog import Catalog, CatalogEntry, Phase, Retention, Spec
from schemas.ids import DEFAULT_WORKSPACE
from schemas.problems import Problem, ProblemError
from services.storage.seen import SeenReads
from services.web.coverage import CoverageView, coverage_of

__all__ = ["Now", "event_catalog_router"]

Now = Callable[[], int]
"""Wall time in ms."""

_SHOWN: Final = {"Cache-Control": "private, no-cache"}
_REFUSED: Final[dict[int | str, dict[str, Any]]] = {
    304: {"description": "It is still what `If-None-Match` names"},
    400: {"model": Problem},
}
_UNKNOWN: Final[dict[int | str, dict[str, Any]]] = {**_REFUSED, 404: {"model": Problem}}


class CatalogEventView(BaseModel):
    """One event of the catalog. `json_schema` describes its `properties`; further ones are always welcome."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(examples=["Product Reviewed"])
    group: str = Field(examples=["commerce"])
    spec: Spec = Field(description="The specification that its name comes from: Segment's three, or Parcours' own")
    phase: Phase = Field(description="Whether it comes before or after a purchase")
    used_for: tuple[str, ...] = Field(examples=[["advocacy"]])
    retention: Retention
    aliases: tuple[str, ...] = Field(description="Other names that count as this event", examples=[[]])
    description: dict[str, str] = Field(examples=[{"en": "Someone reviewed a product."}])
    json_schema: dict[str, Any] = Field(examples=[{"type": "object", "properties": {"rating": {"type": "number"}}}])
    pii: tuple[str, ...] = Field(description="JSON pointers of properties about a person", examples=[[]])
    sentiment: tuple[str, ...] = Field(
        description="JSON pointers of properties about what someone feels: no rule for review requests may read them",
        examples=[["/rating"]],
    )
    example: dict[str, Any] = Field(examples=[{"product_id": "p-102", "rating": 5}])


class CatalogView(BaseModel):
    """The events of the catalog, by group and in the order of its files."""

    model_config = ConfigDict(frozen=True)

    events: tuple[CatalogEventView, ...]


def event_catalog_router(
    catalog: Catalog,
    seen: SeenReads,
    definitions: Sequence[Definition],
    now: Now,
    workspace: str = DEFAULT_WORKSPACE,
) -> APIRouter:
    """The routes of the catalog. Who may call them is for the including app to say."""
    router = APIRouter(prefix="/v1/catalog", tags=["Catalog"])
    digest = catalog.digest()
    held = Annotated[str | None, Header(description="The `ETag` of an earlier answer", max_length=1_024)]

    @router.get("", responses=_REFUSED, summary="The events that there are", response_model=CatalogView)
    async def list_events(
        q: Annotated[str, Query(max_length=128, description="Part of a name or description", examples=["cart"])] = "",
        phase: Phase | None = None,
        if_none_match: held = None,
    ) -> Response:
        """All, or those of a phase, or those whose name, other names, group or description hold `q`."""
        tag = _tag(digest, q, phase)
        if _is_held(if_none_match, tag):
            return Response(status_code=304, headers={"ETag": tag, **_SHOWN})
        found = [entry for entry in catalog.entries.values() if phase in (None, entry.event.phase)]
        shown = CatalogView(events=tuple(_view(entry) for entry in found if _holds(entry, q.strip().casefold())))
        return JSONResponse(shown.model_dump(mode="json"), headers={"ETag": tag, **_SHOWN})

    @router.get("/coverage", summary="Which expected events come, and which are silent")
    async def read_coverage() -> CoverageView:
        """Per stage of each lifecycle the events that lead into it or out of it, and when each came last.

        `silent` are those that never came, or not for 14 days: either nobody does it, or the tracking is broken.
        """
        rows = await asyncio.to_thread(seen.all_of, workspace)
        return coverage_of(definitions, catalog, rows, now())

    @router.get("/{name}", responses=_UNKNOWN, summary="One event", response_model=CatalogEventView)
    async def read_event(
        name: Annotated[str, Path(max_length=255, examples=["Order Completed"])], if_none_match: held = None
    ) -> Response:
        """By its name, or by another name that counts as it."""
        entry = catalog.find(name)
        if entry is None:
            raise ProblemError("unknown_event_name")
        tag = _tag(digest, entry.name, None)
        if _is_held(if_none_match, tag):
            return Response(status_code=304, headers={"ETag": tag, **_SHOWN})
        return JSONResponse(_view(entry).model_dump(mode="json"), headers={"ETag": tag, **_SHOWN})

    return router


def _view(entry: CatalogEntry) -> CatalogEventView:
    event = entry.event
    return CatalogEventView(
        name=entry.name,
        group=entry.group,
        spec=event.spec,
        phase=event.phase,
        used_for=tuple(event.used_for),
        retention=event.retention,
        aliases=tuple(event.aliases),
        description=event.description,
        json_schema=entry.as_schema(),
        pii=entry.marked("pii"),
        sentiment=entry.marked("sentiment"),
        example=event.example,
    )


def _holds(entry: CatalogEntry, text: str) -> bool:
    event = entry.event
    return any(
        text in each.casefold() for each in (entry.name, entry.group, *event.aliases, *event.description.values())
    )


def _tag(*parts: str | None) -> str:
    return f'"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}"'


def _is_held(given: str | None, tag: str) -> bool:
    return given is not None and any(each.strip().removeprefix("W/") in ("*", tag) for each in given.split(","))
