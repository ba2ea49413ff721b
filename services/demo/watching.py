"""Waits until a server has made of all events what there is to make of them, and asks it for the result."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import httpx

from schemas.times import parse_instant
from services.errors import ServiceError
from services.runtime.clock import Clock

__all__ = ["Result", "ServerSilent", "StageRow", "Watcher"]

_EVERY = 0.2
_CALM = 2
_STILL = 40
_TIMEOUT = 10.0


class ServerSilent(ServiceError):
    """The server does not answer. Check that it runs, and that the address is right."""

    code = "server_silent"


class StageRow(NamedTuple):
    """A stage of the primary track, and how many customers are in it."""

    label: str
    kind: str
    customers: int


class Result(NamedTuple):
    """What a server holds: its primary track's stages in order, and how many messages were sent."""

    stages: tuple[StageRow, ...]
    messages: int


class Watcher:
    """Asks one server, with an API token."""

    def __init__(self, url: str, token: str, clock: Clock) -> None:
        """`url` without a trailing slash; without a token only `ready` can be asked."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT, trust_env=False)
        self._clock = clock

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _request(self, method: str, path: str, **parameters: Any) -> httpx.Response:
        try:
            return self._client.request(method, path, params=parameters or None)
        except httpx.TransportError as error:
            raise ServerSilent(
                f"{self._client.base_url} does not answer. Start it with `make run`, or check the address."
            ) from error

    def _ask(self, method: str, path: str, **parameters: Any) -> Any:
        answer = self._request(method, path, **parameters)
        if answer.status_code >= 400:
            problem = answer.json() if "json" in answer.headers.get("content-type", "") else {}
            detail = problem.get("detail") or f"it answered {answer.status_code}"
            raise ServerSilent(f"{self._client.base_url} refused {path}: {detail}")
        return answer.json()

    def ready(self) -> bool:
        """Whether the server makes progress; False also while it does not answer yet."""
        try:
            return self._request("GET", "/readyz").status_code == 200
        except ServerSilent:
            return False

    def wait_until_ready(self, patience: float) -> None:
        """Wait until the server makes progress, `patience` seconds at most: one that has just started joins its groups.

        Raises `ServerSilent`, at once when nobody answers there.
        """
        deadline = self._clock.monotonic() + patience
        while self._request("GET", "/readyz").status_code != 200:
            if self._clock.monotonic() > deadline:
                raise ServerSilent(f"{self._client.base_url} is not ready after {patience:.0f} s. See its log.")
            time.sleep(_EVERY)

    def _workers(self) -> list[dict[str, Any]]:
        """What /readyz tells of every worker; also while one of them is not ready, which may pass."""
        answer = self._request("GET", "/readyz")
        if answer.status_code not in (200, 503):
            raise ServerSilent(f"{self._client.base_url} refused /readyz: it answered {answer.status_code}")
        workers: list[dict[str, Any]] = answer.json()["workers"]
        return workers

    def sign_in_link(self) -> str:
        """A new link that signs a browser in, once. Raises `ServerSilent`."""
        return str(self._ask("POST", "/v1/sign-in-links")["url"])

    def behind(self, after: int) -> int:
        """How many records and partitions still have work to do, judged by clocks that have passed `after` (ms).

        0 means settled: nothing to read, publish or send, and no instant due up to then. Raises `ServerSilent`.
        """
        work = 0
        for worker in self._workers():
            for partition in worker["partitions"]:
                lag = partition["lag"]
                waits = partition["due"] or parse_instant(partition["clock"]) < after
                work += (1 if lag is None else lag) + partition["unpublished"] + bool(waits)
        sending = self._ask("GET", "/v1/messages", outcome="sending", limit=1)
        return work + len(sending["messages"])

    def settle(self, after: int, patience: float, progressed: Callable[[int], None]) -> None:
        """Wait until `behind` is 0 twice in a row, `patience` seconds at most. Raises `ServerSilent`.

        A server whose engines are processes of their own cannot tell: there the counts must stand still for a while,
        beginning at `after`.
        """
        deadline = self._clock.monotonic() + patience
        tells = bool(self._workers())
        wanted, calm = (_CALM, 0) if tells else (_STILL, 0)
        before: Result | None = None
        while calm < wanted:
            time.sleep(_EVERY)
            if tells:
                work = self.behind(after)
            else:
                found = self.result()
                work = int(found != before or self._clock.now() < after)
                before = found
            progressed(work)
            calm = calm + 1 if work == 0 else 0
            if self._clock.monotonic() > deadline:
                raise ServerSilent(f"The server is still not done with the events after {patience:.0f} s. See its log.")

    def result(self) -> Result:
        """Customers per stage of the lifecycle `default`, and the number of messages. Raises `ServerSilent`."""
        tracks = self._ask("GET", "/v1/lifecycles/default/stages")["tracks"]
        primary = next(track for track in tracks if track["primary"])
        stages = tuple(
            StageRow(stage["label"].get("en", stage["stage"]), stage["kind"] or "", stage["count"])
            for stage in primary["stages"]
        )
        return Result(stages, self._sent())

    def _sent(self) -> int:
        number = 0
        further: dict[str, str] = {}
        while True:
            page = self._ask("GET", "/v1/messages", outcome="sent", limit=200, **further)
            number += len(page["messages"])
            if page["next"] is None:
                return number
            further = {"cursor": page["next"]}
