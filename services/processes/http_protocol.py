"""HTTP on one connection: what is too much or malformed is refused while it comes, small events take the fast lane.

The parser is uvicorn's (llhttp); it refuses whatever two servers could read differently. Here is what it does not do:
limits on what has not yet arrived in full, deadlines, and answers that programs and browsers understand.
"""

import asyncio
import logging
from contextlib import suppress
from typing import Any, Final, NoReturn
from urllib.parse import unquote

import httptools
from starlette.types import Scope
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from ingest.errors import Refused
from ingest.http import SUCCESS, refusal_answer
from ingest.lane import MAX_QUICK, Lane
from ingest.reading import MAX_HEADER_BYTES, MAX_HEADERS, MAX_TARGET
from ingest.requests import ROUTES

__all__ = ["CONNECTIONS", "DoorProtocol"]

log = logging.getLogger(__name__)

CONNECTIONS: Final = 4_000
HEAD_SECONDS: Final = 10.0
WRITE_SECONDS: Final = 20.0
"""Whoever takes no byte of what is written for so long does not read: the connection ends, at most as long again later.
"""

LINGER_SECONDS: Final = 1.0
LINGER_BYTES: Final = 1024 * 1024
FED_AT_ONCE: Final = 64 * 1024
DECIDED_AT_ONCE: Final = 100
CROWDED: Final = 16
"""So many heads in one piece are many requests. Whatever waits for its turn takes memory, so they are parsed in small
slices, and none while others wait."""

SLICE_OF_CROWD: Final = 512
_END_OF_HEAD: Final = b"\r\n\r\n"
_NO_UPGRADE: Final = "Other protocols are not spoken here. Send the request as HTTP/1.1, without Upgrade."
_NO_HEAD: Final = "The headers did not arrive in time. Send the request again."
_HOST: Final = "Send the header Host, and only once."
_CROWDED: Final = "Too many connections are open. Send the request again later."

_Headers = list[tuple[bytes, bytes]]


class _Stop(Exception):
    """Nothing more is read from this connection. It is raised through the parser, and ends there."""


class DoorProtocol(HttpToolsProtocol):
    """One connection. The lane of the application, if it has one, decides small requests without a task."""

    cycle: RequestResponseCycle | None  # type: ignore[assignment]  # there is none before the first request
    _success: tuple[_Headers, bytes] = ([], b"")

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Made by the server for each connection."""
        super().__init__(config, server_state, app_state, _loop)
        self.url = b""
        self.headers = []
        self._lane: Lane | None = getattr(config.loaded_app, "lane", None)
        self._quick: str | None = None
        self._body = b""
        self._deciding = False
        self._in_head = False
        self._in_body = False
        self._head_bytes = 0
        self._hosts = 0
        self._stalled = 0
        self._moved = False
        self._active = True
        self._rest = bytearray()
        self._feeding = False
        self._decided = 0
        self._deaf = False
        self._draining = False
        self._why: Refused | None = None
        self._last_word: Refused | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._unsent = 0
        self._watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """A client connected."""
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self._close_if_idle)
        self._watch = self.loop.call_later(WRITE_SECONDS, self._abort_if_unread)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._deaf = True
        self._unset_keepalive_if_required()
        self._unset_timer()
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    def resume_writing(self) -> None:
        """The client took most of what was written."""
        self._unsent = 0
        super().resume_writing()

    def shutdown(self) -> None:
        """No more requests: answer those under way, then close."""
        self._draining = True
        if not self._deciding and self._last_word is None:
            super().shutdown()

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._deaf:
            self._stalled += len(data)
            if self._stalled > LINGER_BYTES:
                self.transport.close()
            return
        self._active = True
        if self._rest or self.pipeline or len(data) > FED_AT_ONCE or data.count(_END_OF_HEAD) > CROWDED:
            self._rest += data
            self._feed_some()
        else:
            self._feed(data)

    def _feed_some(self) -> None:
        """Parse a slice of what came, and the next one when others had their turn, and no request waits for its own."""
        if self._deaf:
            self._rest.clear()
            return
        self._feeding = True
        self.flow.pause_reading()
        decided, rest, left = self._decided, self._rest, FED_AT_ONCE
        while rest and left > 0 and not self.pipeline and self._decided - decided < DECIDED_AT_ONCE:
            size = SLICE_OF_CROWD if rest.count(_END_OF_HEAD, 0, FED_AT_ONCE) > CROWDED else FED_AT_ONCE
            data = bytes(rest[:size])
            del rest[:size]
            left -= size
            self._feed(data)
        self._feeding = False
        if not self.pipeline:
            self._go_on()

    def _go_on(self) -> None:
        """Parse what is left, or else read more."""
        if not self._rest:
            self.flow.resume_reading()
        elif not self._feeding:
            self._feeding = True
            self.loop.call_soon(self._feed_some)

    def _feed(self, data: bytes) -> None:
        self._moved = False
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(Refused("bad_request", _NO_UPGRADE))
            return
        except httptools.HttpParserError:
            self._refuse(self._why or Refused("bad_request"))
            return
        if self._quick is not None:
            self._leave_lane(complete=False)
        if self._in_head or not self._moved:
            self._look_at_rest(data)

    def _look_at_rest(self, data: bytes) -> None:
        """Mind what only the parser holds, and without a limit: part of a header, a trailer or a chunk's extension."""
        after_line = data.rfind(b"\n") + 1
        if self._in_head:
            self._stalled = (0 if after_line else self._stalled) + len(data) - after_line
        else:
            self._stalled = 0 if self._moved else self._stalled + len(data)
        if self._stalled > MAX_HEADER_BYTES:
            self._refuse(Refused("headers_too_large"))
        elif self._in_head and self._timer is None:
            self._timer = self.loop.call_later(HEAD_SECONDS, self._refuse, Refused("request_timeout", _NO_HEAD))

    def on_message_begin(self) -> None:
        """A request begins."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._in_head = self._moved = True
        self._head_bytes = self._stalled = self._hosts = 0

    def on_url(self, url: bytes) -> None:
        """The next part of the address."""
        self._moved = True
        self.url += url
        if len(self.url) > MAX_TARGET:
            self._stop(Refused("uri_too_long"))

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or, after the body, a trailer: those count, and are forgotten."""
        self._head_bytes += len(name) + len(value)
        headers = self.headers
        if self._head_bytes > MAX_HEADER_BYTES or len(headers) >= MAX_HEADERS:
            self._stop(Refused("headers_too_large"))
        if self._in_head:
            name = name.lower()
            headers.append((name, value))
            if name == b"host":
                self._hosts += 1
            elif name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True
            elif name == b"transfer-encoding" and value.lower() != b"chunked":
                # The parser lets other codings stand before it, and would leave them undone.
                self._stop(Refused("bad_request"))

    def on_headers_complete(self) -> None:
        """All headers are there: the lane takes the request, or the application."""
        self._in_head = False
        self._unset_timer()
        parser = self.parser
        method = parser.get_method()
        if parser.should_upgrade():
            self._stop(Refused("method_not_allowed") if method == b"CONNECT" else Refused("bad_request", _NO_UPGRADE))
        if self._hosts != 1 and (self._hosts or parser.get_http_version() != "1.0"):
            self._stop(Refused("bad_request", _HOST))
        if len(self.connections) > CONNECTIONS:
            self._stop(Refused("unavailable", _CROWDED))
        if (
            method == b"POST"
            and (kind := ROUTES.get(self.url)) is not None
            and self._lane is not None
            and not self._under_way
            and not self.flow.write_paused
            and not self.expect_100_continue
            and not self._draining
            and parser.should_keep_alive()
            and parser.get_http_version() == "1.1"
        ):
            self._quick = kind
            self._body = b""
        else:
            self._start_cycle()
        self._in_body = True

    def on_body(self, body: bytes) -> None:
        """The next part of the body."""
        self._moved = True
        if self._quick is None:
            super().on_body(body)
        elif len(self._body) + len(body) <= MAX_QUICK:
            self._body = self._body + body if self._body else body
        else:
            self._leave_lane(complete=False)
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is there as a whole."""
        self._moved = True
        self._in_body = False
        if self._quick is None or self._lane is None:
            super().on_message_complete()
            return
        kind, self._quick = self._quick, None
        self._deciding = True
        self._decided += 1
        peer = self.client[0] if self.client else ""
        if not self._lane.take(kind, self.headers, self._body, peer, self._answer):
            self._deciding = False
            self._leave_lane(complete=True)
        self._body = b""

    def on_response_complete(self) -> None:
        """An answer is written: the next request has its turn."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._last_word is not None:
            self._end(self._last_word)
            return
        if not self.pipeline:
            self._go_on()

    @property
    def _under_way(self) -> bool:
        """Whether a request is not answered yet."""
        return self._deciding or (self.cycle is not None and not self.cycle.response_complete)

    def _start_cycle(self) -> RequestResponseCycle:
        """Give the request to the application, after those that came before it."""
        parsed = httptools.parse_url(self.url)
        if b"#" in self.url:
            self._stop(Refused("bad_request"))
        if parsed.path is None:
            self._stop(Refused("bad_request"))
        before = self._under_way
        cycle = self.cycle = RequestResponseCycle(
            scope=self._scope(parsed.path, parsed.query or b""),  # type: ignore[arg-type]  # starlette's type of it
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=self.parser.should_keep_alive() and not self._draining,
            on_response=self.on_response_complete,
        )
        if before:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))
        else:
            self._start_asgi_task(cycle, self.app)
        return cycle

    def _scope(self, raw_path: bytes, query: bytes) -> Scope:
        path = raw_path.decode("ascii")
        return {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": self.parser.get_http_version(),
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": self.root_path,
            "headers": self.headers,
            "state": self.app_state.copy(),
            "method": self.parser.get_method().decode("ascii"),
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": query,
        }

    def _leave_lane(self, *, complete: bool) -> None:
        """The application takes over a request that the lane does not decide."""
        self._quick = None
        cycle = self._start_cycle()
        cycle.body += self._body
        cycle.more_body = not complete
        cycle.message_event.set()
        self._body = b""

    def _answer(self, refusal: Refused | None) -> None:
        """Write the lane's answer."""
        self._deciding = False
        if self.transport.is_closing():
            return
        closing = self._draining and not self.pipeline
        self.transport.write(self._bytes(refusal, closing=closing))
        if closing:
            self.transport.close()
        self.on_response_complete()

    def _bytes(self, refusal: Refused | None, *, closing: bool) -> bytes:
        """An answer as it goes over the wire."""
        if refusal is None and not closing:
            headers, found = type(self)._success
            if headers is not self.server_state.default_headers:
                found = self._composed(200, *SUCCESS)
                type(self)._success = (self.server_state.default_headers, found)
            return found
        if refusal is None:
            return self._composed(200, [*SUCCESS[0], (b"connection", b"close")], SUCCESS[1])
        return self._composed(refusal.status, *refusal_answer(refusal, closing=closing))

    def _composed(self, status: int, headers: _Headers, body: bytes) -> bytes:
        lines = [b"%s: %s\r\n" % pair for pair in (*self.server_state.default_headers, *headers)]
        return b"".join((STATUS_LINE[status], *lines, b"\r\n", body))

    def _stop(self, why: Refused) -> NoReturn:
        """Leave the parser at once; to be called by its callbacks."""
        self._why = why
        raise _Stop

    def _refuse(self, refusal: Refused) -> None:
        """Read no further; answer the refusal after the answers to what came before it, and close."""
        if self._deaf:
            return
        self._rest.clear()
        if self._lane is not None:
            self._lane.door.counts.refused[refusal.code] += 1
        self._deaf = True
        self._stalled = 0
        self._unset_timer()
        own: RequestResponseCycle | None = None
        if self._in_body and self._quick is None:
            own = self.cycle
        if own is not None and self.pipeline and self.pipeline[0][0] is own:
            self.pipeline.popleft()
            self._last_word = refusal
        elif own is not None and not own.response_complete:
            own.disconnected = True
            own.message_event.set()
            self._end(None if own.response_started else refusal)
        elif self._under_way:
            self._last_word = refusal
        else:
            self._end(refusal)

    def _end(self, refusal: Refused | None) -> None:
        """Say the last word; take in for a moment what the client still sends, so that it reads this."""
        self._last_word = None
        if self.transport.is_closing():
            return
        if refusal is not None:
            self.transport.write(self._bytes(refusal, closing=True))
        # The client may be gone by now, and the loop not know it yet.
        with suppress(OSError):
            if self.transport.can_write_eof():
                self.transport.write_eof()
        self.flow.resume_reading()
        self._timer = self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _close_if_idle(self) -> None:
        """Close a connection on which nothing happened since this was last asked."""
        if self._active or self._under_way:
            self._active = False
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self._close_if_idle)
        else:
            self.transport.close()

    def _abort_if_unread(self) -> None:
        """End a connection that took nothing of what waits to be written since this was last asked.

        Nothing is added while it waits, but for one answer of the lane. A transport that closes waits for it, too.
        """
        waits = self.flow.write_paused or self.transport.is_closing()
        unsent = self.transport.get_write_buffer_size() if waits else 0
        if unsent and 0 < self._unsent <= unsent:
            self.transport.abort()
            return
        self._unsent = unsent
        self._watch = self.loop.call_later(WRITE_SECONDS, self._abort_if_unread)

    def _unset_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
