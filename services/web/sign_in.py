"""Routes for signing in and out: a page that takes an API token, and links that work once."""

import asyncio
from collections.abc import Collection
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends
from fastapi.requests import HTTPConnection, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import BaseModel, Field

from schemas.problems import PROBLEMS, ProblemError
from schemas.times import format_instant
from services.runtime.clock import Clock
from services.storage.keys import KeyKind, KeyRing, Scope
from services.web.auth import Auth, Principal
from services.web.problems import problem_responses
from services.web.rendering import Pages
from services.web.security import same_origin
from services.web.sessions import LINK_LIFE, SESSION_LIFE, SIGN_IN_PATH, Sessions

__all__ = ["SessionAuth", "links_router", "local_path", "sign_in_router"]

_FORM_BYTES = 4_096
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_NOT_VALID = "This is not a valid API token. Look it up in credentials.env, or make a new sign-in link."


class SignInLink(BaseModel):
    """A link that signs one browser in, once."""

    url: str = Field(examples=["http://127.0.0.1:8080/sign-in/2nQd0w1bq3J0cVZ0cXwTq8sC0yq3m5kP"])
    expires_at: str = Field(examples=["2026-11-03T10:10:00.000Z"])


class SessionAuth:
    """Reads the session cookie of a request, for `Auth`: who signed in, or None.

    A request that could change something counts only when the browser says that our own page sent it, and a session
    only as long as the token is valid that it was opened with.
    """

    def __init__(self, sessions: Sessions, keys: KeyRing) -> None:
        """`sessions` knows the cookies, `keys` the tokens."""
        self._sessions = sessions
        self._keys = keys

    async def __call__(self, connection: HTTPConnection) -> Principal | None:
        """The principal of the request's cookie."""
        if connection.scope.get("method") not in _SAFE_METHODS and not same_origin(connection.headers):
            return None
        cookies = connection.cookies
        if not cookies:
            return None
        session = await asyncio.to_thread(lambda: self._sessions.find(cookies.get(self._sessions.cookie_name)))
        if session is None or (session.key is not None and not await self._keys.holds(session.key)):
            return None
        return Principal(session.workspace, frozenset(Scope(scope) for scope in session.scopes), session.key)


def local_path(text: str | None) -> str:
    """`text` if it is a path of this server, else the front page: nobody is sent elsewhere after signing in."""
    if text is None or not text.startswith("/") or text.startswith(("//", "/\\")) or not text.isprintable():
        return "/"
    return text


async def _form(request: Request) -> dict[str, str]:
    """The fields of a small urlencoded form. Raises `ProblemError`."""
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        raise ProblemError("unsupported_media_type", "Send the form as application/x-www-form-urlencoded.")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _FORM_BYTES:
            raise ProblemError("body_too_large", "A form may hold 4 KiB.")
    fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=8, keep_blank_values=True)
    return {name: values[0] for name, values in fields.items()}


def _signed_in(request: Request, sessions: Sessions, cookie: str, target: str) -> Response:
    response = RedirectResponse(target, 303)
    response.set_cookie(
        sessions.cookie_name,
        cookie,
        max_age=SESSION_LIFE // 1000,
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )
    return response


def sign_in_router(pages: Pages, sessions: Sessions, keys: KeyRing) -> APIRouter:
    """The pages at /sign-in, and /sign-out."""
    router = APIRouter(include_in_schema=False)

    def form_page(status: int, next_path: str, refusal: str = "") -> Response:
        return pages.render("sign_in.html", status=status, signed_in=False, next=next_path, refusal=refusal)

    async def opened(workspace: str, scopes: Collection[str], key: str) -> str:
        return await asyncio.to_thread(sessions.open, workspace, scopes, key)

    @router.get(SIGN_IN_PATH)
    async def show(next: str | None = None) -> Response:
        return form_page(200, local_path(next))

    @router.post(SIGN_IN_PATH)
    async def submit(request: Request) -> Response:
        fields = await _form(request)
        target = local_path(fields.get("next"))
        key = await keys.find(KeyKind.API, fields.get("token", "").strip())
        if key is None:
            return form_page(401, target, _NOT_VALID)
        return _signed_in(request, sessions, await opened(key.workspace, key.scopes, key.id), target)

    @router.get(SIGN_IN_PATH + "/{code}")
    async def follow(request: Request, code: str) -> Response:
        cookie = await asyncio.to_thread(sessions.redeem, code)
        if cookie is None:
            kind = PROBLEMS["bad_link"]
            return form_page(kind.status, "/", kind.sentence)
        return await asyncio.to_thread(_signed_in, request, sessions, cookie, "/")

    @router.post("/sign-out")
    async def leave(request: Request) -> Response:
        if not same_origin(request.headers):
            raise ProblemError("scope", "Sign out with the button on one of this server's pages.")

        def end() -> str:
            sessions.end(request.cookies.get(sessions.cookie_name))
            return sessions.cookie_name

        response = RedirectResponse(SIGN_IN_PATH, 303)
        response.delete_cookie(await asyncio.to_thread(end))
        return response

    return router


def links_router(auth: Auth, sessions: Sessions, clock: Clock) -> APIRouter:
    """POST /v1/sign-in-links: an administrator's token makes a link for a browser."""
    router = APIRouter(prefix="/v1", tags=["Administration"])

    @router.post(
        "/sign-in-links",
        status_code=201,
        summary="Make a one-time sign-in link",
        responses=problem_responses("unauthorized", "scope"),
    )
    async def make_link(request: Request, principal: Annotated[Principal, Depends(auth.admin)]) -> SignInLink:
        """The link signs one browser in with the scopes of this token, once, within ten minutes."""
        path = await asyncio.to_thread(sessions.make_link, principal.workspace, principal.scopes, principal.key)
        expires_at = format_instant(clock.now() + LINK_LIFE)
        return SignInLink(url=str(request.base_url).rstrip("/") + path, expires_at=expires_at)

    return router
