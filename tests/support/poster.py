"""A client of the door that costs next to nothing per event: raw JSON lines in batches, over kept connections.

It sends again whatever was not acknowledged, as a careful SDK does, and remembers what was.
"""

import base64
import http.client
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from localservers.processes import LOOPBACK

__all__ = ["Door", "NotAcknowledged", "batched", "deliver"]

_TIMEOUT_SECONDS = 10.0
_PAUSE_SECONDS = 0.02
_RETRIABLE = frozenset({0, 408, 429, 500, 502, 503, 504})


class NotAcknowledged(AssertionError):
    """A batch was refused for good, or was not acknowledged in time."""


class Answer(NamedTuple):
    """An answer of the door; status 0: none."""

    status: int
    body: bytes


class Door:
    """One kept connection to the tracking API. Not for two threads at once."""

    def __init__(self, port: int, write_key: str) -> None:
        """Connects when first used."""
        self._port = port
        credentials = base64.b64encode(f"{write_key}:".encode()).decode()
        self._headers = {"Authorization": f"Basic {credentials}", "Content-Type": "application/json"}
        self._connection: http.client.HTTPConnection | None = None

    def post(self, body: bytes, path: str = "/v1/batch", retry: int = 0) -> Answer:
        """One attempt; status 0 when the connection failed or no answer came."""
        if self._connection is None:
            self._connection = http.client.HTTPConnection(LOOPBACK, self._port, timeout=_TIMEOUT_SECONDS)
        headers = {**self._headers, "X-Retry-Count": str(retry)} if retry else self._headers
        try:
            self._connection.request("POST", path, body, headers)
            response = self._connection.getresponse()
            return Answer(response.status, response.read())
        except (OSError, http.client.HTTPException):
            self.close()
            return Answer(0, b"")

    def deliver(self, body: bytes, seconds: float = 60.0) -> int:
        """Send until acknowledged; return the attempts. Raises `NotAcknowledged` for a refusal, or when time is up."""
        deadline = time.monotonic() + seconds
        attempt = 0
        while True:
            answer = self.post(body, retry=attempt)
            attempt += 1
            if answer.status == 200:
                return attempt
            if answer.status not in _RETRIABLE:
                raise NotAcknowledged(f"The door answered {answer.status} {answer.body[:300]!r}.")
            if time.monotonic() > deadline:
                raise NotAcknowledged(f"Not acknowledged within {seconds:.0f} s; the last answer was {answer}.")
            time.sleep(_PAUSE_SECONDS)

    def close(self) -> None:
        """End the connection; a later use opens a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def batched(lines: Iterable[bytes], size: int = 500) -> Iterator[bytes]:
    """Bodies for /v1/batch out of JSON lines, unchanged."""
    rest = iter(lines)
    while chunk := list(islice(rest, size)):
        yield b'{"batch":[' + b",".join(line.rstrip() for line in chunk) + b"]}"


def deliver(port: int, write_key: str, bodies: Sequence[bytes], connections: int = 2) -> float:
    """Post all bodies, in order of their beginning, over some connections; return the seconds it took."""
    started = time.monotonic()
    waiting = iter(bodies)
    lock = threading.Lock()
    failures: list[BaseException] = []

    def work() -> None:
        door = Door(port, write_key)
        try:
            while not failures:
                with lock:
                    body = next(waiting, None)
                if body is None:
                    return
                door.deliver(body)
        except BaseException as error:  # told to the caller, who waits for all threads
            failures.append(error)
        finally:
            door.close()

    threads = [threading.Thread(target=work, name=f"poster-{number}") for number in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return time.monotonic() - started
