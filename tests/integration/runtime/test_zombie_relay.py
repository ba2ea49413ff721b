"""A relay that was frozen while a successor worked: it gives way, and does not take the successor's work for damage."""

import asyncio

import pytest

from schemas.topics import STAGE_CHANGES
from services.runtime.relay import Relay
from services.runtime.transact import PartitionTransactor, Work
from services.storage import outbox
from services.storage.positions import OwnershipLost
from tests.integration.runtime.conftest import SETTLE, Bench, until


async def test_a_relay_whose_records_a_successor_published_and_deleted_gives_way(bench: Bench) -> None:
    runtime = bench.runtime()
    transactor = PartitionTransactor(bench.processor, bench.database, 0, SETTLE)
    owned = transactor.take()
    relay = Relay(runtime, bench.processor, 0, owned)
    running = asyncio.create_task(relay.run())
    await relay.room()
    committed = transactor.run(owned, Work({}, records=[bench.put("ada")]), bench.clock.now())
    successor = PartitionTransactor(bench.processor, bench.database, 0, SETTLE)
    transactor.release()
    successor.take()
    with bench.database.transaction() as transaction:
        outbox.mark_published(transaction, bench.processor.name, 0, committed.ownership.highest)
    relay.added(committed.ownership.highest)
    await until(running.done)
    with pytest.raises(OwnershipLost):
        await running
    assert bench.log.of(STAGE_CHANGES, 0) == []
    runtime.batches.close()
    runtime.relays.close()
