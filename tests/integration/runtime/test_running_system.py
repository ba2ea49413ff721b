"""The whole system in one process, on either shape, with a clock that a test moves."""

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from schemas.times import DAY, format_instant
from services.bootstrap import Replacements
from services.eventlog.port import OffsetOutOfRange
from services.processes.all_in_one import running_system
from services.processes.system import System
from services.runtime.clock import ManualClock, SystemClock
from services.settings import Settings
from services.storage.data_folder import DataFolderInUse
from tests.integration.runtime.conftest import until
from tests.support.fresh_systems import SHAPES, fresh_settings, verified
from tests.support.services import CHECKOUT

START = SystemClock().now() - 201 * DAY
"""The tests' clocks end before today: Apache Kafka refuses records that come from the future."""


@dataclass
class Shape:
    """Settings of a fresh system, and the clock to run it by."""

    settings: Settings
    clock: ManualClock

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Client"]:
        """The system, and a client of it."""
        async with (
            running_system(self.settings, replacements=Replacements(clock=self.clock)) as system,
            httpx.AsyncClient(base_url=system.address, timeout=10, trust_env=False) as http,
        ):
            yield Client(system, http)


@dataclass
class Client:
    """Posts and asks over HTTP."""

    system: System
    http: httpx.AsyncClient

    async def track(self, customer: str, event: str, at: int) -> None:
        """Post one event."""
        body = {"userId": customer, "event": event, "properties": {"revenue": 5}, "timestamp": format_instant(at)}
        answer = await self.http.post("/v1/track", content=json.dumps(body), auth=("wk", ""))
        assert answer.status_code == 200

    async def stage(self, customer: str) -> str | None:
        """The customer's present stage, once there is one."""
        answer = await self.http.get(f"/v1/customers/{customer}", headers={"Authorization": "Bearer pt"})
        if answer.status_code == 404:
            return None
        stages: dict[str, Any] = answer.json()["stages"]
        return str(stages["default"]["stage"]["stage"])

    async def until_stage(self, customer: str, stage: str) -> None:
        """Wait for a stage; the test's own time limit bounds it."""
        while await self.stage(customer) != stage:  # noqa: ASYNC110 - another process or thread makes it true
            await asyncio.sleep(0.05)

    async def until_read(self) -> None:
        """Wait until every worker has read, stored and published everything."""
        await until(
            lambda: all(
                len(worker.partitions) == self.system.settings.partitions
                and all(
                    set(part.lag.values()) == {0} and part.waiting == part.outbox == 0 for part in worker.partitions
                )
                for worker in self.system.health()
            )
        )


@pytest.fixture(params=SHAPES)
async def shape(request: pytest.FixtureRequest, tmp_path: Path) -> Shape:
    """A fresh system of each shape; topics and tables of the cluster are made."""
    return Shape(await fresh_settings(request, tmp_path), ManualClock(START))


@pytest.mark.timeout(90)
async def test_an_event_changes_the_stage_silence_changes_it_again_and_a_restart_keeps_it(shape: Shape) -> None:
    async with shape.running() as client:
        await client.track("ada", "Order Completed", START)
        await client.until_stage("ada", "adoption")
        shape.clock.move(200 * DAY)
        await client.until_stage("ada", "churned")
        await client.until_read()
    async with shape.running() as client:
        assert await client.stage("ada") == "churned"
        await client.track("ada", "Order Completed", shape.clock.now())
        await client.until_read()
    findings = await verified(shape.settings)
    assert findings.violations == []
    assert findings.counts["accepted events"] == 2
    assert findings.counts["customers refolded (stage_engine)"] == 1
    assert findings.counts["standing transitions"] > 4


@pytest.mark.timeout(60)
async def test_readiness_and_metrics_tell_of_every_worker(shape: Shape) -> None:
    async with shape.running() as client:
        await client.until_read()
        await until(lambda: not any(worker.problems for worker in client.system.health()))
        answer = await client.http.get("/readyz")
        assert answer.status_code == 200
        workers = {worker["processor"]: worker["partitions"] for worker in answer.json()["workers"]}
        assert {name: len(partitions) for name, partitions in workers.items()} == {
            "stage_engine": 4,
            "segmenter": 4,
            "notifier": 4,
        }
        metrics = (await client.http.get("/metrics")).text
        assert 'parcours_lag_records{processor="notifier",partition="3",topic="parcours.segment-changes"}' in metrics
        assert "parcours_loop_lag_seconds " in metrics


async def test_a_second_system_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    settings = Settings(port=0, data_dir=tmp_path / "data", definitions_dir=CHECKOUT / "definitions")
    async with running_system(settings):
        with pytest.raises(DataFolderInUse):
            async with running_system(settings):
                pass
    async with running_system(settings) as again:
        assert again.port > 0


async def test_a_state_that_is_ahead_of_its_log_ends_the_system_loudly(tmp_path: Path) -> None:
    settings = Settings(port=0, data_dir=tmp_path / "data", definitions_dir=CHECKOUT / "definitions")
    async with running_system(settings) as system:
        await until(lambda: all(len(worker.health().partitions) == 4 for worker in system.workers))
    with contextlib.closing(sqlite3.connect(tmp_path / "data" / "stage_engine.db")) as connection, connection:
        connection.execute("UPDATE positions SET next_offset = 99 WHERE topic = 'parcours.events' AND partition = 2")

    async def run() -> None:
        async with running_system(settings):
            await asyncio.Event().wait()

    with pytest.raises(OffsetOutOfRange, match=r"parcours\.events/2"):
        await run()
