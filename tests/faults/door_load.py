"""A load on the door that remembers every answer: which ids it was for, its status, and how long it took."""

import asyncio
import base64
import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from localservers.processes import LOOPBACK
from schemas.times import format_instant

__all__ = ["ALLOWED", "Answer", "DoorLoad"]

ALLOWED = frozenset({200, 429, 503})
"""Stored; wait; not now."""

_BATCH = 10
_PAUSE_SECONDS = 0.03
_AWAY_SECONDS = 0.05
_TICK_SECONDS = 0.01
_PATIENCE_SECONDS = 20.0
_UNANSWERED = 0


class Answer(NamedTuple):
    """What came for the events `ids`; status 0: nothing, and the connection stayed open.

    `seconds` passed from when the request was sent completely to when the answer was there, without those in which this
    load itself did not get its turn.
    """

    ids: Sequence[str]
    status: int
    seconds: float
    retry_after: str | None


class DoorLoad:
    """Posts over some connections until told to stop, single events and small batches in turn. No id is sent twice."""

    def __init__(self, port: int, write_key: str, connections: int = 12) -> None:
        """Runs on a thread of its own."""
        self._port = port
        credentials = base64.b64encode(f"{write_key}:".encode()).decode()
        self._head = (
            f"Host: {LOOPBACK}\r\nAuthorization: Basic {credentials}\r\nContent-Type: application/json\r\n"
            "Content-Length: "
        ).encode()
        self._connections = connections
        self._stopping = threading.Event()
        self._failures: list[BaseException] = []
        self._sent = 0
        self._late = 0.0
        self.answers: list[Answer] = []
        self.acknowledged = 0
        self.refused = 0
        self.cut = 0
        self._thread = threading.Thread(target=self._run, name="door-load", daemon=True)

    def start(self) -> None:
        """Begin to post."""
        self._thread.start()

    def finish(self) -> None:
        """Wait for the answers that are due, and stop. Raises what went wrong in any connection."""
        self._stopping.set()
        self._thread.join(_PATIENCE_SECONDS + 10)
        if self._failures:
            raise self._failures[0]
        assert not self._thread.is_alive(), "the load does not end"

    @property
    def sent(self) -> set[str]:
        """The ids of all events that were sent, as a whole or in part."""
        return {_id(number) for number in range(self._sent)}

    @property
    def statuses(self) -> Counter[int]:
        """How often each status came."""
        return Counter(answer.status for answer in self.answers)

    def wait_for_progress(self, requests: int = 40, seconds: float = 90.0) -> None:
        """Wait until so many more requests are acknowledged. Raises `AssertionError` when they are not."""
        goal, deadline = self.acknowledged + requests, time.monotonic() + seconds
        while self.acknowledged < goal:
            assert not self._failures, self._failures
            assert not self.statuses.keys() - ALLOWED, self.statuses
            assert time.monotonic() < deadline, f"nothing is acknowledged any more; answers so far: {self.statuses}"
            time.sleep(0.02)

    def _run(self) -> None:
        try:
            asyncio.run(self._all())
        except BaseException as error:  # told to whoever waits for the end
            self._failures.append(error)

    async def _all(self) -> None:
        ticking = asyncio.create_task(self._tick())
        async with asyncio.TaskGroup() as group:
            for number in range(self._connections):
                group.create_task(self._connection(number))
        ticking.cancel()

    async def _tick(self) -> None:
        """Count the time in which this load did not get its turn: no answer can be noticed in it."""
        while True:
            due = time.perf_counter() + _TICK_SECONDS
            await asyncio.sleep(_TICK_SECONDS)
            self._late += max(0.0, time.perf_counter() - due)

    async def _connection(self, number: int) -> None:
        stream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not self._stopping.is_set():
            if stream is None:
                try:
                    stream = await asyncio.open_connection(LOOPBACK, self._port)
                except OSError:
                    self.refused += 1
                    await asyncio.sleep(_AWAY_SECONDS)
                    continue
            try:
                keep = await self._exchange(*stream, size=1 if number % 2 else _BATCH)
            except (OSError, asyncio.IncompleteReadError):
                self.cut += 1
                keep = False
            if not keep:
                stream[1].close()
                stream = None
            await asyncio.sleep(_PAUSE_SECONDS)
        if stream is not None:
            stream[1].close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, size: int) -> bool:
        """One request and its answer; whether the connection goes on."""
        numbers = range(self._sent, self._sent + size)
        self._sent += size
        writer.write(self._request(numbers))
        await writer.drain()
        begun, late = time.perf_counter(), self._late
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                await reader.readexactly(int(_header(head, "content-length") or 0))
        except TimeoutError:
            self._answered(numbers, _UNANSWERED, _PATIENCE_SECONDS, None)
            return False
        seconds = time.perf_counter() - begun - (self._late - late)
        self._answered(numbers, int(head.split(" ", 2)[1]), seconds, _header(head, "retry-after"))
        return _header(head, "connection") != "close"

    def _answered(self, numbers: range, status: int, seconds: float, retry_after: str | None) -> None:
        self.answers.append(Answer([_id(number) for number in numbers], status, seconds, retry_after))
        self.acknowledged += status == 200

    def _request(self, numbers: range) -> bytes:
        now = format_instant(int(time.time() * 1_000))
        events = ",".join(
            f'{{"type":"track","event":"Order Completed","userId":"u{number % 997}","messageId":"{_id(number)}",'
            f'"timestamp":"{now}","sentAt":"{now}","properties":{{"total":{number}}}}}'
            for number in numbers
        )
        single = len(numbers) == 1
        body = (events if single else f'{{"batch":[{events}]}}').encode()
        path = b"/v1/track" if single else b"/v1/batch"
        return b"POST %s HTTP/1.1\r\n%s%d\r\n\r\n%s" % (path, self._head, len(body), body)


def _id(number: int) -> str:
    return f"load-{number:07d}"


def _header(head: str, name: str) -> str | None:
    _, found, rest = head.partition(f"\r\n{name}:")
    return rest.partition("\r\n")[0].strip() if found else None
