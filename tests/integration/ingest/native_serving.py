"""The native route on a real socket, in front of a real event log, with a database for its answers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from ingest.handlers import Door, Policy
from ingest.http import DoorApp
from ingest.idempotency import Begun, Idempotency
from ingest.native import PATH, NativeApp, NativeDoor
from schemas.cloudevents import Receipt
from schemas.records import EventEnvelope, read_envelope
from schemas.topics import EVENTS
from services.storage.database import Database
from services.storage.errors import StorageUnavailable
from services.storage.replays import StoredReplays, replays_metadata
from tests.integration.ingest.serving import PARTITIONS, Served, serving

__all__ = ["BATCH", "EVENT", "BrokenReplays", "NativeServed", "envelopes", "native_serving", "other", "problem_of"]
__all__ += ["receipt_of", "statuses"]

BATCH = "application/cloudevents-batch+json"

EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "42",
    "source": "https://shop.example/orders",
    "type": "Order Completed",
    "subject": "ada",
    "time": "2026-11-03T09:00:00.000Z",
    "data": {"revenue": 42},
}


class BrokenReplays:
    """A database that does not answer, from the step named on."""

    def __init__(self, replays: StoredReplays) -> None:
        self._replays = replays
        self.broken = ""

    def _check(self, step: str) -> None:
        if self.broken == step:
            raise StorageUnavailable("gone")

    async def begin(self, workspace: str, key: str, content: str) -> Begun:
        self._check("begin")
        return await self._replays.begin(workspace, key, content)

    async def finish(self, workspace: str, key: str, answer: bytes) -> None:
        self._check("finish")
        await self._replays.finish(workspace, key, answer)

    async def give_up(self, workspace: str, key: str) -> None:
        self._check("give_up")
        await self._replays.give_up(workspace, key)


class NativeServed:
    """A running door with the native route."""

    def __init__(self, served: Served, database: Database) -> None:
        self.served = served
        self.database = database
        self.replays = BrokenReplays(StoredReplays(database, lambda: served.now))
        self.native = NativeDoor(served.door)
        self._drawn = 0
        self.build()

    def build(self, policy: Policy | None = None) -> None:
        """Serve with another policy, as a process that has just started: its window is empty."""
        served = self.served
        if policy is not None:
            served.door = Door(served.switch, served.keys, lambda: served.now, PARTITIONS, served.first.append, policy)
        self.native = NativeDoor(served.door)
        route = NativeApp(self.native, Idempotency(self.replays), self._draw)
        self.app = DoorApp(FastAPI(redirect_slashes=False), served.door, {PATH.encode(): route})

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)

    def _draw(self) -> str:
        self._drawn += 1
        return f"request-{self._drawn}"

    def client(self, **options: Any) -> httpx.AsyncClient:
        """An HTTP client with the good write key."""
        return self.served.client(**options)

    async def post(
        self, event: Any, content_type: str = "application/cloudevents+json", **headers: str
    ) -> httpx.Response:
        """Send an event, or a list of them, as JSON; `_` in the name of a header stands for a hyphen."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.client() as client:
            return await client.post(PATH, json=event, headers={"Content-Type": content_type, **named})


@asynccontextmanager
async def native_serving(folder: Path, database: Database | None = None) -> AsyncIterator[NativeServed]:
    """A door with the native route on a free port. Without a database it gets a SQLite file of its own."""
    own = database or Database(folder / "ingest.db")
    own.create(replays_metadata)
    made: list[NativeServed] = []

    def prepare(served: Served) -> None:
        made.append(NativeServed(served, own))
        served.app = made[0]  # type: ignore[assignment]  # any ASGI application is served alike

    async with serving(folder, prepare):
        yield made[0]
    if database is None:
        own.close()


def problem_of(answer: httpx.Response) -> tuple[int, str, list[str]]:
    """Status, code and pointers of a refusal, which must be a problem that a page of any origin can read."""
    found = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert found["status"] == answer.status_code
    assert found["request_id"].startswith("request-")
    assert ("retry-after" in answer.headers) == (answer.status_code in (429, 503))
    return answer.status_code, found["code"], [fault["pointer"] for fault in found["errors"]]


def receipt_of(answer: httpx.Response) -> dict[str, Any]:
    """The receipt, which must have the shape and the headers that are documented."""
    assert (answer.status_code, answer.headers["content-type"]) == (202, "application/json"), answer.text
    assert answer.headers["access-control-allow-origin"] == "*"
    found: dict[str, Any] = answer.json()
    Receipt.model_validate(found)
    assert found["accepted"] + found["duplicates"] + len(found["rejected"]) == len(found["events"])
    return found


def statuses(receipt: dict[str, Any]) -> list[tuple[str, str | None]]:
    """Status and code of each event of a receipt."""
    return [(each["status"], each.get("code")) for each in receipt["events"]]


async def envelopes(native: NativeServed) -> list[EventEnvelope]:
    """The envelopes of all accepted events."""
    return [read_envelope(record) for record in await native.served.records(EVENTS)]


def other(**changes: Any) -> dict[str, Any]:
    """`EVENT` with other attributes."""
    return {**EVENT, **changes}
