"""A system of either shape with a clock that a test moves, and a client that posts, lists and redrives."""

import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from schemas.records import StoredRecord
from services.bootstrap import Replacements
from services.eventlog.port import TopicPartition
from services.processes.system import System, running_system
from services.runtime.clock import ManualClock, SystemClock
from services.settings import Settings
from tests.integration.runtime.conftest import until
from tests.support.fresh_systems import SHAPES, fresh_settings

START = SystemClock().now() - 86_400_000
"""Before today: Apache Kafka refuses records that come from the future."""

DOOR_ALONE = ("ingest",)


@dataclass
class Client:
    """Posts and asks over HTTP, and looks into the log."""

    system: System
    http: httpx.AsyncClient

    async def post(self, path: str, body: Any) -> None:
        """Post what the door is to answer with 200."""
        content = body if isinstance(body, bytes) else json.dumps(body)
        answer = await self.http.post(path, content=content, auth=("wk", ""))
        assert (answer.status_code, answer.text) == (200, '{"success": true}')

    async def ask(self, method: str, path: str, body: Any = None, token: str = "pt") -> httpx.Response:
        """Ask as the holder of a token."""
        return await self.http.request(method, path, json=body, headers={"Authorization": f"Bearer {token}"})

    async def listed(self, query: str = "") -> dict[str, Any]:
        """A page of what was rejected."""
        answer = await self.ask("GET", f"/v1/rejected{query}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def redriven(self, **body: Any) -> dict[str, Any]:
        """Redrive; what became of it."""
        answer = await self.ask("POST", "/v1/rejected/redrive", body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def mode(self, mode: str) -> None:
        """Give the source its mode, whatever it was before."""
        headers = {"Authorization": "Bearer pt", "If-Match": "*"}
        answer = await self.http.put("/v1/sources/default", json={"mode": mode}, headers=headers)
        assert answer.status_code == 200, answer.text

    async def until_read(self) -> None:
        """Wait until every worker has read, stored and published everything."""
        partitions = self.system.settings.partitions
        await until(
            lambda: all(
                len(worker.partitions) == partitions
                and all(
                    set(part.lag.values()) == {0} and part.waiting == part.outbox == 0 for part in worker.partitions
                )
                for worker in self.system.health()
            )
        )

    async def records(self, topic: str) -> Sequence[StoredRecord]:
        """All records of a topic."""
        log = self.system.container.log
        found: list[StoredRecord] = []
        for partition in range(self.system.settings.partitions):
            place = TopicPartition(topic, partition)
            first, end = await log.bounds(place)
            while first < end and (records := await log.read(place, first, 1_000)):
                found += records
                first = records[-1].offset + 1
        return found


@dataclass
class Shape:
    """Settings of a fresh system, and the clock to run it by."""

    settings: Settings
    clock: ManualClock

    @contextlib.asynccontextmanager
    async def running(self, services: Sequence[str] = DOOR_ALONE) -> AsyncIterator[Client]:
        """The services of the system, and a client."""
        async with (
            running_system(self.settings, services, Replacements(clock=self.clock)) as system,
            httpx.AsyncClient(base_url=system.address, timeout=20, trust_env=False) as http,
        ):
            yield Client(system, http)


@pytest.fixture(params=SHAPES)
async def shape(request: pytest.FixtureRequest, tmp_path: Path) -> Shape:
    """A fresh system of each shape; topics and tables of the cluster are made."""
    return Shape(await fresh_settings(request, tmp_path), ManualClock(START))
