"""The load: connections that each send a request, wait for its answer, and send the next one.

It costs a few microseconds per request, so that it can keep a server busy from one other core: the requests are bytes
that exist already, and of an answer only its status and its length are looked at.
"""

import asyncio
import gc
import socket
from collections.abc import Sequence
from time import perf_counter
from typing import Final, NamedTuple

import uvloop

__all__ = ["Answered", "LoadFailed", "answer_all", "answer_for"]

_END_OF_HEAD: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length: "


class LoadFailed(Exception):
    """A server did not answer as it must; the sentence tells what came instead."""


class Answered(NamedTuple):
    """So many requests were answered in so many seconds; `waits` are the seconds that each took, in order."""

    requests: int
    seconds: float
    waits: Sequence[float]

    def wait(self, share: float) -> float:
        """The wait in ms that this share of the requests did not exceed (0.99: the 99th percentile)."""
        return self.waits[min(len(self.waits) - 1, int(share * len(self.waits)))] * 1_000


class _Load:
    """What the connections share: the requests in turn, when to stop, and what was measured."""

    def __init__(self, requests: Sequence[bytes], until: float, most: int) -> None:
        self.requests = requests
        self.until = until
        self.left = most
        self.waits: list[float] = []
        self.next = 0
        self.open = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fail(self, why: str) -> None:
        if not self.done.done():
            self.done.set_exception(LoadFailed(why))

    def closed(self) -> None:
        self.open -= 1
        if self.open == 0 and not self.done.done():
            self.done.set_result(None)


class _Connection(asyncio.Protocol):
    """One connection with one request on its way."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._transport: asyncio.Transport
        self._sent_at = 0.0
        self._expected = 0
        self._buffer = b""
        self._ending = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]  # uvloop's own class
        connection: socket.socket = transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._load.open += 1
        self._send(perf_counter())

    def data_received(self, data: bytes) -> None:
        # As a rule an answer comes in one piece and is as long as the one before.
        if self._buffer or len(data) != self._expected:
            self._buffer += data
            self._expected = _length(self._buffer)
            if not self._expected or len(self._buffer) < self._expected:
                return
            data, self._buffer = self._buffer, b""
        if data[9:11] != b"20":
            self._load.fail(f"The server answered {data[:300].decode(errors='replace')!r}.")
            self._transport.abort()
            return
        at = perf_counter()
        self._load.waits.append(at - self._sent_at)
        self._send(at)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._ending:
            self._load.fail(f"The server closed a connection ({exc}).")
        self._load.closed()

    def _send(self, at: float) -> None:
        load = self._load
        if at >= load.until or load.left <= 0:
            self._ending = True
            self._transport.close()
            return
        load.left -= 1
        place = load.next
        load.next = place + 1 if place + 1 < len(load.requests) else 0
        self._sent_at = at
        self._transport.write(load.requests[place])


def _length(data: bytes) -> int:
    """How long the answer that begins here is as a whole; 0 as long as its head is not complete."""
    head, found, _ = data.partition(_END_OF_HEAD)
    if not found:
        return 0
    _, named, rest = head.lower().partition(_LENGTH)
    return len(head) + len(_END_OF_HEAD) + (int(rest.partition(b"\r\n")[0]) if named else 0)


async def _run(ports: Sequence[int], requests: Sequence[bytes], connections: int, until: float, most: int) -> Answered:
    load = _Load(requests, until, most)
    loop = asyncio.get_running_loop()
    gc.collect()
    gc.disable()
    try:
        started = perf_counter()
        for number in range(connections):
            await loop.create_connection(lambda: _Connection(load), "127.0.0.1", ports[number % len(ports)])
        await load.done
        took = perf_counter() - started
    finally:
        gc.enable()
    return Answered(len(load.waits), took, sorted(load.waits))


def answer_for(ports: Sequence[int], requests: Sequence[bytes], connections: int, seconds: float) -> Answered:
    """Load the servers on these ports for so long. Raises `LoadFailed`, `OSError`."""
    most = 1 << 62
    return uvloop.run(_run(ports, requests, connections, perf_counter() + seconds, most))


def answer_all(ports: Sequence[int], requests: Sequence[bytes], connections: int, most: int) -> Answered:
    """Load the servers on these ports with so many requests. Raises `LoadFailed`, `OSError`."""
    return uvloop.run(_run(ports, requests, connections, float("inf"), most))
