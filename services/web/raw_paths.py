"""Ids in paths are opaque: routes match the path as it was sent, and only then is each part decoded, once."""

from typing import Any, Final
from urllib.parse import unquote, unquote_to_bytes

from starlette.convertors import Convertor, register_url_convertor
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from schemas.problems import problem
from services.web.problems import problem_response

__all__ = ["RawPaths"]

_LONGEST: Final = 8_192
_TRACKED: Final = b"/v1/"
_CORS: Final = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"Retry-After"),
)


class _EncodedSegment(Convertor[str]):
    """One part of a path, still percent-encoded when it is matched: `%2F` does not end it."""

    regex = "[^/]+"

    def convert(self, value: str) -> str:
        return unquote(value)

    def to_string(self, value: Any) -> str:
        return str(value)


register_url_convertor("str", _EncodedSegment())


class RawPaths:
    """ASGI wrapper that gives `app` the path as it was sent, so `/customers/a%2Fb` is the customer ``a/b``.

    Paths that are no UTF-8 once decoded lead nowhere (404); longer ones than 8 KB are refused (414). Where the tracking
    routes are, a path that leads nowhere says so to pages of any origin: their SDKs take an answer that they cannot
    read for a broken network, and send again and again.
    """

    def __init__(self, app: ASGIApp) -> None:
        """`app` must have been built after this module was imported."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on under its raw path."""
        if scope["type"] == "http" and "raw_path" in scope:
            raw = scope["raw_path"].partition(b"?")[0]
            scope = {**scope}
            if raw.startswith(_TRACKED):
                send = _readable(scope, send)
            refusal = _refusal(raw, scope.get("query_string", b""))
            if refusal:
                await problem_response(problem(refusal))(scope, receive, send)
                return
            scope["path"] = raw.decode("ascii")
        await self._app(scope, receive, send)


def _refusal(raw: bytes, query: bytes) -> str | None:
    if len(raw) + len(query) > _LONGEST:
        return "uri_too_long"
    try:
        raw.decode("ascii")
        unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        return "not_found"
    return None


def _readable(scope: Scope, send: Send) -> Send:
    """Add CORS headers to the answer that there is nothing, or not with this method, unless a route gives it."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] in (404, 405) and "endpoint" not in scope:
            message = {**message, "headers": [*message["headers"], *_CORS]}
        await send(message)

    return sending
