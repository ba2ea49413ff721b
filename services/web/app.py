"""The HTTP application, assembled: the door in front, behind it the API, its description, and the pages."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

from fastapi import APIRouter, Depends, FastAPI
from fastapi.requests import Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from services.runtime.clock import Clock
from services.runtime.ids import Ids
from services.storage.keys import KeyRing
from services.web.auth import Auth
from services.web.body_limit import BodyLimit
from services.web.description import complete_description, describe_transport
from services.web.facts import PageReads
from services.web.operations import HealthReader, Metric, operations_router
from services.web.pages import PageBuilder, pages_router
from services.web.problems import install_problems, problem_responses
from services.web.raw_paths import RawPaths
from services.web.rendering import STATIC, Pages
from services.web.security import SecurityHeaders
from services.web.sessions import SIGN_IN_PATH, Sessions
from services.web.sign_in import SessionAuth, links_router, sign_in_router

__all__ = ["TAGS", "VERSION", "WebParts", "assemble"]

VERSION: Final = "0.1.0"
TAGS: Final = (
    ("Tracking", "Events come in here, in the shapes that Segment's SDKs send, with a write key."),
    ("Customers", "Where a customer is, how they came there, and what leads on."),
    ("Catalog", "The events that there are, what they carry, and which of them come."),
    ("Lifecycles", "The active definitions of stages, and how many customers are in each."),
    ("Segments", "The active segments and their members."),
    ("Messages", "What was sent, what was not, and why."),
    ("Rejected", "What could not be accepted or processed, why, and how to send it once more."),
    ("Administration", "Keys, sources, and signing in."),
    ("Operations", "For probes and monitoring."),
)
_DESCRIPTION: Final = """
Parcours follows every customer's journey. **Events** are sent with a write key; everything else is read with an API
token (press *Authorize*). The first start wrote both to `credentials.env` in the data folder. Errors are problems after
RFC 9457 with a stable `code`.
"""


@dataclass(frozen=True, slots=True)
class WebParts:
    """What the application is made of. `api` holds the routers of the contexts: they get an API token's check in front;
    those of `public` bring a check of their own, and those of `guarded` are made with the checks of the application.

    `door` wraps the application in the dispatcher of the tracking routes, `document` describes these routes; None when
    this process has no door. `first_line` is the shell line that sends a first event. Without `public_operations` the
    numbers and this description are only for those who may read.
    """

    clock: Clock
    ids: Ids
    keys: KeyRing
    sessions: Sessions
    page_reads: PageReads
    health: HealthReader
    api: Sequence[APIRouter] = ()
    door: Callable[[ASGIApp], ASGIApp] | None = None
    document: Callable[[FastAPI], None] | None = None
    metrics: Callable[[], Iterable[Metric]] = tuple
    first_line: str = ""
    public: Sequence[APIRouter] = ()
    guarded: Sequence[Callable[[Auth], APIRouter]] = ()
    public_operations: bool = True


def _docs_router(pages: Pages, app: FastAPI, auth: Auth | None) -> APIRouter:
    """/docs and /openapi.json: for everybody, or with `auth` for those who may read."""
    router = APIRouter(include_in_schema=False)
    guards = [] if auth is None else [Depends(auth.read)]

    @router.get("/docs")
    async def docs(request: Request) -> Response:
        if auth is not None and await auth.principal(request) is None:
            return RedirectResponse(f"{SIGN_IN_PATH}?next=/docs", 303)
        return pages.render("docs.html")

    @router.get("/openapi.json", dependencies=guards)
    async def description() -> JSONResponse:
        # Made when it is first asked for, which takes longer than other requests can wait.
        return JSONResponse(await asyncio.to_thread(app.openapi))

    return router


def assemble(parts: WebParts) -> ASGIApp:
    """The whole application as an ASGI app."""
    app = FastAPI(
        title="Parcours",
        version=VERSION,
        description=_DESCRIPTION,
        openapi_tags=[{"name": name, "description": text} for name, text in TAGS],
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    install_problems(app, parts.ids.uuid7)
    complete_description(app)
    auth = Auth(parts.keys, SessionAuth(parts.sessions, parts.keys))
    if parts.document is not None:
        parts.document(app)
    describe_transport(app)
    answers: dict[int | str, dict[str, Any]] = problem_responses("unauthorized", "scope")
    for router in parts.api:
        app.include_router(router, dependencies=[Depends(auth.read)], responses=answers)
    for router in (*parts.public, *(make(auth) for make in parts.guarded)):
        app.include_router(router)
    app.include_router(links_router(auth, parts.sessions, parts.clock))
    guard = None if parts.public_operations else auth
    app.include_router(operations_router(parts.health, parts.metrics, guard))
    pages = Pages()
    app.include_router(_docs_router(pages, app, guard))
    app.include_router(sign_in_router(pages, parts.sessions, parts.keys))
    app.include_router(pages_router(pages, PageBuilder(parts.page_reads, parts.clock, parts.first_line), auth))
    app.mount("/static", StaticFiles(directory=STATIC))
    app.mount("/docs/assets", StaticFiles(directory=str(files("fastapi_offline") / "static")))
    # The door's answers are for programs: they need no page headers, and its hot path shall not pay for them.
    served: ASGIApp = SecurityHeaders(RawPaths(BodyLimit(app)))
    return served if parts.door is None else parts.door(served)
