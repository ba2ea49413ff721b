"""What browser SDKs ask for before they send: the settings of Segment's library, and the source of RudderStack's."""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from ingest.domain.encoding import basic_user
from ingest.errors import Refused
from ingest.ports import Source
from schemas.events import Refusal

__all__ = ["browser_settings_router"]

SourceOf = Callable[[str | None], Awaitable[Source]]
"""The source of a write key. Raises `Refused`: ``unknown_write_key``, ``unavailable``."""

_HOST: Final = re.compile(r"[A-Za-z0-9.:\[\]-]{1,255}")
_RETRY_AFTER: Final = "2"
_CORS: Final = {"access-control-allow-origin": "*", "access-control-expose-headers": "Retry-After"}
_PREFLIGHT: Final = {
    **_CORS,
    "access-control-allow-methods": "GET, HEAD, OPTIONS",
    "access-control-allow-headers": "authorization, content-type, *",
    "access-control-max-age": "86400",
}
# The address in the answer is what this very client asked under: no cache may hand it to another one.
_CACHED: Final = {"cache-control": "private, max-age=60", "vary": "Authorization, Host, X-Forwarded-Proto"}


def browser_settings_router(source_of: SourceOf) -> APIRouter:
    """Routes that tell a page's SDK how to send here, and to load nothing from elsewhere.

    Both are open to every origin, as the tracking routes are; `source_of` looks write keys up.
    """
    router = APIRouter(tags=["Tracking"])
    segment, rudder = "/v1/projects/{write_key}/settings", ("/sourceConfig", "/sourceConfig/")

    @router.get(segment, summary="The settings of Segment's browser SDK", responses=_answers(_segment(_EXAMPLE, "KEY")))
    async def settings(write_key: str, request: Request) -> Response:
        """What `AnalyticsBrowser.load({writeKey, cdnURL})` reads first: events go to the host that answers it."""
        return await _answer(source_of, write_key, lambda _: _segment(_own_address(request), write_key))

    async def source_config(request: Request, writeKey: str = "") -> Response:  # noqa: N803 - a parameter of theirs
        """What RudderStack's browser SDK reads first with this host as `configUrl`; the key as in tracking calls."""
        given = request.headers.get("authorization")
        try:
            write_key = (basic_user(given.encode("latin-1")) if given is not None else None) or writeKey
        except Refused:
            write_key = ""
        return await _answer(source_of, write_key, lambda source: _rudder(source, write_key))

    example = _answers(_rudder(Source("default", "default"), "KEY"))
    router.get(rudder[0], summary="The source of RudderStack's browser SDK", responses=example)(source_config)
    router.get(rudder[1], include_in_schema=False)(source_config)

    for path in (segment, *rudder):
        router.options(path, include_in_schema=False)(_preflight)
    router.head(segment, include_in_schema=False)(settings)
    for path in rudder:
        router.head(path, include_in_schema=False)(source_config)
    return router


async def _preflight() -> Response:
    return Response(status_code=204, headers=_PREFLIGHT)


async def _answer(source_of: SourceOf, write_key: str, document: Callable[[Source], Mapping[str, Any]]) -> Response:
    """The document for a known key; else a refusal of the same shape as those of the tracking routes."""
    try:
        return JSONResponse(document(await source_of(write_key)), headers={**_CORS, **_CACHED})
    except Refused as refusal:
        body = Refusal(code=refusal.code, message=refusal.detail).model_dump()
        headers = {**_CORS, "retry-after": _RETRY_AFTER} if refusal.status == 503 else _CORS
        return JSONResponse(body, refusal.status, headers=headers)


def _own_address(request: Request) -> tuple[str, str]:
    """Scheme and host under which the client reached this server. Raises `Refused` ``bad_request`` for a strange host.

    A proxy says in `X-Forwarded-Proto` that the client speaks TLS with it. Whoever else says so misleads only himself,
    as the answer is kept by nobody but him.
    """
    host = request.headers.get("host", "")
    if not _HOST.fullmatch(host):
        raise Refused("bad_request")
    stated = request.headers.get("x-forwarded-proto", "").strip().lower()
    return stated if stated in ("http", "https") else request.url.scheme, host


_EXAMPLE: Final = ("https", "parcours.example.com")


def _segment(address: tuple[str, str], write_key: str) -> dict[str, Any]:
    scheme, host = address
    return {
        "integrations": {"Segment.io": {"apiKey": write_key, "apiHost": f"{host}/v1", "protocol": scheme}},
        "plan": {},
        "edgeFunction": {},
        "enabledMiddleware": {},
        "middlewareSettings": {},
        "metrics": {"sampleRate": 0},
        "analyticsNextEnabled": True,
        "legacyVideoPluginsEnabled": False,
        "remotePlugins": [],
    }


def _rudder(source: Source, write_key: str) -> dict[str, Any]:
    quiet = {"errors": {"enabled": False}, "metrics": {"enabled": False}}
    return {
        "source": {
            "id": source.name,
            "name": source.name,
            "writeKey": write_key,
            "enabled": True,
            "workspaceId": source.workspace,
            "config": {"statsCollection": quiet},
            "destinations": [],
            "connections": [],
        }
    }


def _answers(example: Mapping[str, Any]) -> dict[int | str, dict[str, Any]]:
    """The `responses=` of a route for OpenAPI."""
    answers: dict[int | str, dict[str, Any]] = {
        200: {"content": {"application/json": {"schema": {"type": "object"}, "example": example}}}
    }
    for code in ("bad_request", "unknown_write_key", "unavailable"):
        refusal = Refused(code)
        shown = Refusal(code=code, message=refusal.detail).model_dump()
        answers[refusal.status] = {
            "model": Refusal,
            "description": code,
            "content": {"application/json": {"example": shown}},
        }
    return answers
