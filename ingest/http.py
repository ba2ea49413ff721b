"""The hot routes of the tracking API: a plain ASGI dispatcher in front of the application that serves the rest."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Final

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from ingest.domain.encoding import basic_user
from ingest.errors import Refused
from ingest.handlers import Door
from ingest.lane import Lane
from ingest.ports import Source
from ingest.reading import Gone, checked_headers, deadline_in, inflated, read_body
from ingest.requests import METRICS, ROUTES, checked_content_type, inbound_of

__all__ = ["ROUTES", "SUCCESS", "DoorApp", "discard", "refusal_answer"]

log = logging.getLogger(__name__)

LINGER_SECONDS: Final = 4.0
LINGER_BYTES: Final = 16 * 1024 * 1024

_JSON: Final = (b"content-type", b"application/json")
_CORS: Final = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"Retry-After"),
)
_SUCCESS_BODY: Final = b'{"success": true}'
SUCCESS: Final = ([_JSON, (b"content-length", b"%d" % len(_SUCCESS_BODY)), *_CORS], _SUCCESS_BODY)
"""Headers and body of the one answer to all that went well."""

_SUCCESS_START: Final = {"type": "http.response.start", "status": 200, "headers": SUCCESS[0]}
_SUCCESS: Final = {"type": "http.response.body", "body": _SUCCESS_BODY}
_PREFLIGHT: Final = [
    *_CORS,
    (b"access-control-allow-methods", b"POST, OPTIONS"),
    (
        b"access-control-allow-headers",
        b"authorization, content-type, content-encoding, anonymousid, sentat, x-retry-count, idempotency-key, *",
    ),
    (b"access-control-max-age", b"86400"),
]
_PREFLIGHT_START: Final = {"type": "http.response.start", "status": 204, "headers": _PREFLIGHT}
_NO_BODY: Final = {"type": "http.response.body", "body": b""}


class DoorApp:
    """Serves the tracking routes itself and hands everything else to `app`.

    The answer is 200 ``{"success": true}`` once every event is durable, or ``{"success": false, "code", "message"}``;
    both with CORS headers, because a browser takes an error without them for a broken network and sends again.
    """

    def __init__(self, app: ASGIApp, door: Door, routes: Mapping[bytes, ASGIApp] = MappingProxyType({})) -> None:
        """`door` handles the requests of this process; `routes` are more raw paths that are served before `app`."""
        self._app = app
        self._door = door
        self._routes = routes
        self.lane: Lane | None = Lane(door)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        if scope["type"] == "http":
            path = scope.get("raw_path") or scope["path"].encode()
            kind = ROUTES.get(path)
            if kind is not None:
                await self._serve(kind, scope, receive, send)
                return
            if (route := self._routes.get(path)) is not None:
                await route(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _serve(self, kind: str, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "OPTIONS":
            await send(_PREFLIGHT_START)
            await send(_NO_BODY)
            return
        began = self._door.counts.now()
        unread = True
        status = 200
        try:
            if scope["method"] != "POST":
                raise Refused("method_not_allowed")
            if kind != METRICS:
                headers = checked_headers(scope)
                checked_content_type(headers)
                peer = scope["client"]
                address = self._door.policy.addresses(peer[0] if peer else "", headers.get(b"x-forwarded-for"))
                self._door.charge(None, address, 1)
                inbound = inbound_of(kind, scope["query_string"], headers, address)
                source = await self._named(headers, address)
                with self._door.in_flight.held() as held:
                    body = await read_body(receive, headers, held, self._door.policy.max_body)
                    unread = False
                    began, deadline = self._door.counts.now(), deadline_in()
                    content = await inflated(body, headers.get(b"content-encoding"), held, self._door.policy.max_body)
                    # As much again for what is made of it.
                    held.grow(len(content))
                    await self._door.accept(content, source, inbound, deadline, held)
        except Refused as refusal:
            status = refusal.status
            self._door.counts.refused[refusal.code] += 1
            await _refuse(refusal, send, receive if unread else None)
        except Gone:
            return
        except Exception:
            log.exception("ingest.failed")
            status = 500
            await _refuse(Refused("internal_error"), send, receive if unread else None)
        else:
            await send(_SUCCESS_START)
            await send(_SUCCESS)
        self._door.counts.answered(kind, status, began)

    async def _named(self, headers: Mapping[bytes, bytes], address: str) -> Source | None:
        """The source that Basic credentials name, before anything is read; None: the key stands elsewhere."""
        given = headers.get(b"authorization")
        write_key = basic_user(given) if given is not None else None
        return await self._door.source(write_key, address=address) if write_key is not None else None


def refusal_answer(refusal: Refused, *, closing: bool) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Headers and body that tell a refusal as SDKs and browsers understand it; `closing`: the connection ends."""
    body = msgspec.json.encode({"success": False, "code": refusal.code, "message": refusal.detail})
    headers = [_JSON, (b"content-length", b"%d" % len(body)), *_CORS]
    if closing:
        headers.append((b"connection", b"close"))
    if refusal.status in (429, 503):
        headers.append((b"retry-after", b"%d" % refusal.retry_after))
    if refusal.status == 405:
        headers.append((b"allow", b"POST, OPTIONS"))
    return headers, body


async def _refuse(refusal: Refused, send: Send, unread: Receive | None) -> None:
    """Answer a refusal. `unread` gives what is left of a body that nobody reads; the connection then ends."""
    headers, body = refusal_answer(refusal, closing=unread is not None)
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": unread is not None})
    if unread is not None:
        if refusal.code != "request_timeout":
            await discard(unread)
        await send(_NO_BODY)


async def discard(receive: Receive) -> None:
    """Take in for a moment what the client still sends: closed while it writes, it would never read its answer, take
    the network for broken and send everything again."""
    left = LINGER_BYTES
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            more = True
            while more and left > 0:
                message = await receive()
                more = message.get("more_body", False)
                left -= len(message.get("body", b""))
