"""The pages: customers per stage, the customers of a stage, one customer. They work without JavaScript."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Query
from fastapi.requests import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from schemas.ids import InvalidId
from services.runtime.clock import Clock
from services.storage.errors import StorageError
from services.storage.keys import Scope
from services.web.auth import Auth
from services.web.catalog import KINDS
from services.web.facts import CustomerFacts, MemberFact, PageReads, Place
from services.web.moments import Moments
from services.web.rendering import Pages
from services.web.sessions import SIGN_IN_PATH
from services.web.views import change_view, days, grouped, member_view, message_view, panels, place_view, worded
from services.web.why import why_view

__all__ = ["PageBuilder", "pages_router"]

log = logging.getLogger(__name__)

_LATEST: Final = 20
_OUTBOX: Final = 10
_PER_PAGE: Final = 50
_QUERY: Final = 128

Views = Mapping[str, Any]


class PageBuilder:
    """Reads the facts of a page and turns them into what its template prints. Synchronous."""

    def __init__(self, reads: PageReads, clock: Clock, first_line: str) -> None:
        """`first_line` is the shell line that sends a first event; it is shown until there is one."""
        self._reads = reads
        self._clock = clock
        self._first_line = first_line

    def home(self) -> Views:
        """The front page."""
        moments = Moments(self._clock.now())
        shown = panels(self._reads.catalog, self._reads.counts())
        total = shown[0].total if shown else 0
        messages = self._reads.messages(None, _OUTBOX)
        return {
            "panels": shown,
            "total": grouped(total),
            "as_of": moments.present(),
            "kinds": KINDS.items(),
            "changes": [change_view(self._reads.catalog, moments, fact) for fact in self._reads.latest(_LATEST)],
            "messages": [message_view(moments, fact) for fact in messages],
            "outbox_note": f"the latest {len(messages)}" if messages else "",
            "first_line": "" if total else self._first_line,
        }

    def stage(self, place: Place, after: str | None) -> Views | None:
        """The customers of a stage; None when there is no such stage."""
        catalog = self._reads.catalog
        track = catalog.track(place.lifecycle, place.track)
        if track is None or not catalog.known(*place):
            return None
        found = self._reads.members(place, after, _PER_PAGE + 1)
        counts = {item.place: item.customers for item in self._reads.counts()}
        number = counts.get(place, 0)
        stage = catalog.stage(*place)
        return {
            "heading": "Customers in",
            "title": f"{stage.label}: customers",
            "stage": stage,
            "note": f"{grouped(number)} customer{'' if number == 1 else 's'} · {track.title.lower()}",
            "empty": "Nobody is in this stage now.",
            **self._listed(found, {}),
        }

    def search(self, query: str, after: str | None) -> Views:
        """The customers whose id holds `query`."""
        found = self._reads.find(query, after, _PER_PAGE + 1)
        return {
            "heading": f"Customers with “{query}”" if query else "All customers",
            "title": "Customers",
            "stage": None,
            "note": "in order of their ids",
            "empty": "No customer's id holds this.",
            "query": query,
            **self._listed(found, {"q": query}),
        }

    def _listed(self, found: Sequence[MemberFact], parameters: dict[str, str]) -> Views:
        moments = Moments(self._clock.now())
        shown = list(found[:_PER_PAGE])
        more = len(found) > _PER_PAGE
        return {
            "members": [member_view(self._reads.catalog, moments, fact) for fact in shown],
            "next_href": "?" + urlencode({**parameters, "after": shown[-1].customer}) if more else "",
        }

    def customer(self, identifier: str) -> Views | None:
        """The page of one customer; None when there is no such customer. Raises `InvalidId`."""
        facts = self._reads.customer(identifier)
        if facts is None:
            return None
        moments, catalog = Moments(self._clock.now()), self._reads.catalog
        places = [place_view(catalog, moments, fact) for fact in facts.stages]
        name = facts.traits.get("name")
        return {
            "title": facts.id,
            "name": name if isinstance(name, str) else "",
            "identifier": facts.id,
            "as_of": moments.present(),
            "places": places,
            "segments": [place_view(catalog, moments, fact) for fact in facts.segments],
            "home_stage": places[0] if places else None,
            "whys": [why_view(catalog, moments, fact) for fact in facts.explanations],
            "messages": [message_view(moments, fact) for fact in self._reads.messages(facts.id, _OUTBOX)],
            "traits": [(trait, worded(value)) for trait, value in facts.traits.items()],
            "days": days(catalog, moments, facts.changes, facts.activity),
            "timeline_note": _timeline_note(facts),
        }


def _timeline_note(facts: CustomerFacts) -> str:
    number = len(facts.activity)
    return f"{grouped(number)} event{'' if number == 1 else 's'}" if facts.complete else f"the latest {number} events"


class _Answers:
    """Answers requests for pages: only to those who may read, and whatever happens with a page."""

    def __init__(self, pages: Pages, auth: Auth) -> None:
        self._pages = pages
        self._auth = auth

    async def page(self, request: Request, template: str, build: Callable[[], Views | None]) -> Response:
        """The page that `template` makes of what `build` reads, in a worker thread; None: there is no such thing."""
        principal = await self._auth.principal(request)
        if principal is None:
            target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            return RedirectResponse(f"{SIGN_IN_PATH}?next={quote(target, safe='/')}", 303)
        if Scope.READ not in principal.scopes:
            detail = "The token that signed you in may not read customers. Use another one."
            return self._refusal("Not allowed", detail, 403)
        try:
            page = await asyncio.to_thread(self._made, template, build)
        except StorageError as error:
            log.warning("page.unavailable", extra={"code": error.code})
            detail = "The database does not answer right now. Load this page again later."
            return self._refusal("Unavailable", detail, 503)
        except Exception:
            log.exception("page.failed")
            return self._refusal("Internal error", "Something broke here. The log says what.", 500)
        return page or self._refusal("Not found", "There is no such customer or stage here.", 404)

    def _made(self, template: str, build: Callable[[], Views | None]) -> HTMLResponse | None:
        try:
            views = build()
        except InvalidId:
            return None
        return None if views is None else self._pages.render(template, **views)

    def _refusal(self, title: str, detail: str, status: int) -> Response:
        return self._pages.render("problem.html", status=status, title=title, detail=detail)


def pages_router(pages: Pages, builder: PageBuilder, auth: Auth) -> APIRouter:
    """Routes /, /stages/…, /customers and /customers/{id}, for signed-in browsers."""
    router = APIRouter(include_in_schema=False)
    answers = _Answers(pages, auth)
    after_id = Annotated[str | None, Query(max_length=1_024)]

    @router.get("/")
    async def home(request: Request) -> Response:
        return await answers.page(request, "home.html", builder.home)

    @router.get("/stages/{lifecycle}/{track}/{stage}")
    async def stage(request: Request, lifecycle: str, track: str, stage: str, after: after_id = None) -> Response:
        place = Place(lifecycle, track, stage)
        return await answers.page(request, "members.html", lambda: builder.stage(place, after))

    @router.get("/customers")
    async def customers(
        request: Request, q: Annotated[str, Query(max_length=_QUERY)] = "", after: after_id = None
    ) -> Response:
        return await answers.page(request, "members.html", lambda: builder.search(q.strip(), after))

    @router.get("/customers/{identifier}")
    async def customer(request: Request, identifier: str) -> Response:
        return await answers.page(request, "customer.html", lambda: builder.customer(identifier))

    return router
