"""Reading a request: its headers within limits, its body within bounds of size, time and memory, and decompressed."""

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, NamedTuple

from starlette.types import Receive, Scope

from ingest.domain.encoding import checked_encoding, inflate
from ingest.domain.limits import MAX_BODY
from ingest.errors import Refused

__all__ = ["ANSWER_SECONDS", "MAX_CONTENT_TYPE", "Deadline", "Gone", "Held", "InFlight"]
__all__ += ["MAX_HEADERS", "MAX_HEADER_BYTES", "MAX_TARGET"]
__all__ += ["checked_headers", "deadline_in", "inflated", "named_headers", "read_body"]

ANSWER_SECONDS: Final = 2.5
"""By when a request is decided once its body is complete: its sender sees the answer within 3 s."""

BODY_SECONDS: Final = 20.0
MAX_IN_FLIGHT: Final = 64 * 1024 * 1024
MAX_TARGET: Final = 8 * 1024
MAX_HEADERS: Final = 100
MAX_HEADER_BYTES: Final = 16 * 1024
MAX_CONTENT_TYPE: Final = 1_024

_ONCE: Final = frozenset((b"authorization", b"content-encoding", b"content-length"))
_YIELD_BYTES: Final = 256 * 1024


class Gone(Exception):
    """The client went away before its body was read. Nobody is left to be answered."""

    code = "client_gone"


class Deadline(NamedTuple):
    """By when a request is answered. `at` is by the clock of the event loop, in seconds."""

    at: float | None

    def left(self) -> asyncio.Timeout:
        """A block that raises `TimeoutError` when the time is up, however much of it went by before."""
        return asyncio.timeout_at(self.at)


def deadline_in(seconds: float | None = None) -> Deadline:
    """The deadline of a request whose body is complete now."""
    return Deadline(asyncio.timeout(ANSWER_SECONDS if seconds is None else seconds).when())


class InFlight:
    """The bytes of all requests that a process is busy with: what came, and what was made of it."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.bytes = 0

    def room(self) -> int:
        """How many more may come."""
        return MAX_IN_FLIGHT - self.bytes

    def held(self) -> "Held":
        """What one request holds; a context manager that gives it back."""
        return Held(self)


class Held:
    """The bytes that one request holds until it is answered."""

    __slots__ = ("_all", "_bytes")

    def __init__(self, everything: InFlight) -> None:
        """Made by `InFlight.held`."""
        self._all = everything
        self._bytes = 0

    def grow(self, size: int) -> None:
        """Hold `size` more. Raises `Refused` ``too_many_requests`` when all requests together hold too much."""
        self._bytes += size
        self._all.bytes += size
        if self._all.bytes > MAX_IN_FLIGHT:
            raise Refused("too_many_requests")

    def __enter__(self) -> "Held":
        """Begin."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Give back all of it."""
        self._all.bytes -= self._bytes
        self._bytes = 0


def checked_headers(scope: Scope) -> dict[bytes, bytes]:
    """The headers by lower-case name; of a repeated one the last.

    Raises `Refused` for an address or headers that are too long, and for one repeated that may stand only once.
    """
    pairs = scope["headers"]
    if len(scope["path"]) + len(scope["query_string"]) > MAX_TARGET:
        raise Refused("uri_too_long")
    if len(pairs) > MAX_HEADERS or sum(len(name) + len(value) for name, value in pairs) > MAX_HEADER_BYTES:
        raise Refused("headers_too_large")
    headers = named_headers(pairs)
    if headers is None:
        raise Refused("duplicate_header")
    return headers


def named_headers(pairs: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes] | None:
    """Headers by name, of a repeated one the last; None if one is repeated that may stand only once."""
    headers: dict[bytes, bytes] = dict(pairs)
    if len(headers) != len(pairs):
        names = [name for name, _ in pairs]
        if any(names.count(name) > 1 for name in _ONCE):
            return None
    return headers


async def read_body(receive: Receive, headers: Mapping[bytes, bytes], held: Held, limit: int = MAX_BODY) -> bytes:
    """The body as sent, of at most `limit` bytes; `held` grows with it.

    Raises `Refused` ``body_too_large`` (before it is all read), ``request_timeout``, ``too_many_requests``; `Gone`.
    """
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or len(length) > 10 or int(length) > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Gone
                chunk = message.get("body", b"")
                size += len(chunk)
                held.grow(len(chunk))
                if size > limit:
                    raise _too_large(limit)
                chunks.append(chunk)
                if not message.get("more_body", False):
                    return chunk if len(chunks) == 1 else b"".join(chunks)
    except TimeoutError as error:
        raise Refused("request_timeout") from error


async def inflated(body: bytes, encoding: bytes | None, held: Held, limit: int = MAX_BODY) -> bytes:
    """The body behind its Content-Encoding, of at most `limit` bytes; `held` grows while it does.

    Other requests get their turn between the pieces. Raises `Refused` as `inflate` does, and ``too_many_requests``.
    """
    if not checked_encoding(encoding):
        if len(body) > limit:
            raise _too_large(limit)
        return body
    pieces: list[bytes] = []
    unyielded = 0
    for piece in inflate(body, limit):
        held.grow(len(piece))
        pieces.append(piece)
        unyielded += len(piece)
        if unyielded >= _YIELD_BYTES:
            unyielded = 0
            await asyncio.sleep(0)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _too_large(limit: int) -> Refused:
    return Refused("body_too_large", f"A body may hold {limit:,} bytes once decoded. Send smaller batches.")
