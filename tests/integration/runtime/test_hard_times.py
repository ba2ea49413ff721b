"""The worker while its database is full, frozen, killed or slow: it waits, says so, and loses nothing."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from localservers import PostgresServer
from schemas.processing import Batch
from schemas.topics import REJECTED
from services.eventlog.port import LogUnavailable, SequencedRecord
from services.runtime.health import PartitionHealth, WorkerHealth
from services.storage import tables
from services.storage.database import Database
from services.storage.errors import StorageUnavailable
from tests.integration.runtime.conftest import Bench, until
from tests.support.counting import metadata


def made(database: Database) -> Bench:
    """A bench on a database that is not one of the usual two."""
    for each in (tables.metadata, metadata):
        database.create(each)
    return Bench(database)


async def test_a_full_database_is_waited_for_and_work_goes_on_when_there_is_room(tmp_path: Path) -> None:
    database = Database(tmp_path / "state.db", max_bytes=400_000)
    bench = made(database)
    async with bench.working() as worker:
        for number in range(3_000):
            bench.put(f"customer-{number}-with-a-long-name-that-takes-some-room")
        await until(lambda: bool(worker.health().partitions) and worker.health().partitions[0].trouble is not None)
        assert worker.health().partitions[0].trouble == "storage_unavailable"
        stored = bench.counted()
        assert len(stored) < 3_000
        with database.transaction() as transaction:
            transaction.driver.execute("PRAGMA max_page_count=100000")
        await until(lambda: len(bench.changes()) == 3_000)
        assert worker.health().partitions[0].trouble is None
    assert set(bench.counted().values()) == {1}
    assert bench.log.of(REJECTED) == []
    database.close()


@pytest.mark.faults
@pytest.mark.postgres
@pytest.mark.timeout(120)
async def test_a_killed_and_a_frozen_postgresql_are_waited_for_and_nothing_is_lost_or_doubled(
    own_postgres_server: PostgresServer,
) -> None:
    database = Database(own_postgres_server.url)
    bench = made(database)
    async with bench.working() as worker:
        await until(lambda: bool(worker.health().partitions))
        for disturb in (own_postgres_server.kill, own_postgres_server.pause):
            for number in range(200):
                bench.put(f"c{number % 20}")
                if number == 100:
                    await asyncio.to_thread(disturb)
                await asyncio.sleep(0.001)
            restore: Callable[[], None] = (
                own_postgres_server.start if disturb == own_postgres_server.kill else own_postgres_server.resume
            )
            await asyncio.to_thread(restore)
        await until(lambda: len(bench.changes()) == 400)
    assert bench.counted() == {f"c{number}": 20 for number in range(20)}
    assert len(set(bench.changes())) == 400
    database.close()


async def test_a_worker_whose_database_stays_away_can_still_be_stopped(bench: Bench) -> None:
    def away(_: Batch) -> None:
        raise StorageUnavailable("It is away.")

    bench.processor.before = away
    bench.options = replace(bench.options, first_backoff=30.0, last_backoff=30.0, drain_seconds=0.2)
    bench.put("ada")
    async with bench.working() as worker:
        await until(lambda: bool(bench.processor.batches))
        await until(lambda: worker.health().partitions[0].trouble == "storage_unavailable")
    assert bench.counted() == {}


async def test_unpublished_records_hold_a_partition_back_until_the_log_takes_them(bench: Bench) -> None:
    def down(_: Sequence[SequencedRecord]) -> None:
        raise LogUnavailable("The broker is down.")

    bench.options = replace(bench.options, outbox_limit=10, batch_records=5)
    async with bench.working() as worker:
        await until(lambda: bool(worker.health().partitions))
        bench.log.publish_fails = down
        for number in range(100):
            bench.put(f"c{number}")
        await until(lambda: worker.health().partitions[0].held > 0.05)
        assert 10 <= len(bench.counted()) < 25
        bench.log.publish_fails = None
        await until(lambda: len(bench.changes()) == 100)
        await until(lambda: worker.health().partitions[0].held == 0)


def partition(**changed: object) -> PartitionHealth:
    """A partition that is well, but for what is changed."""
    well: dict[str, object] = {
        "partition": 3,
        "positions": {},
        "lag": {},
        "clock": 0,
        "clock_lag": 0,
        "next_wake": None,
        "timer_lag": 0,
        "outbox": 0,
        "waiting": 0,
        "commit_age": 0.0,
        "stuck": 0.0,
        "trouble": None,
        "held": 0.0,
    }
    return PartitionHealth(**{**well, **changed})  # type: ignore[arg-type]  # each value is of its field's type


@pytest.mark.parametrize(
    ("health", "problems"),
    [
        (WorkerHealth("x", True, 100.0, 0.1, (partition(),)), ()),
        (WorkerHealth("x", False, 5.0, 0.1, ()), ("x: no partitions are assigned yet",)),
        (WorkerHealth("x", False, 60.0, 0.1, ()), ()),
        (WorkerHealth("x", True, 60.0, 20.0, ()), ("x: the event log does not answer",)),
        (WorkerHealth("x", True, 60.0, None, ()), ("x: the event log does not answer",)),
        (
            WorkerHealth("x", True, 60.0, 0.1, (partition(stuck=2.0, trouble="storage_unavailable"),)),
            ("x, partition 3: no progress (storage_unavailable)",),
        ),
        (WorkerHealth("x", True, 60.0, 0.1, (partition(stuck=2.0),)), ()),
        (
            WorkerHealth("x", True, 60.0, 0.1, (partition(stuck=31.0),)),
            ("x, partition 3: no progress (a transaction takes too long)",),
        ),
        (WorkerHealth("x", True, 60.0, 0.1, (partition(held=29.0),)), ()),
        (
            WorkerHealth("x", True, 60.0, 0.1, (partition(held=31.0),)),
            ("x, partition 3: nothing can be published",),
        ),
    ],
)
def test_healthy_means_progress(health: WorkerHealth, problems: tuple[str, ...]) -> None:
    assert health.problems == problems
