"""The worker: everything once, whatever fails."""

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace

import msgspec
from sqlalchemy import select

from schemas.changes import Progress
from schemas.processing import Batch
from schemas.records import header
from schemas.topics import CONTROL, EVENTS, REJECTED, STAGE_CHANGES
from services.eventlog.port import HistoryLost, LogUnavailable, SequencedRecord, TopicPartition
from services.storage import tables
from services.storage.errors import StorageBroken, StorageUnavailable
from services.storage.positions import take
from tests.integration.runtime.conftest import Bench, until
from tests.support.counting import CountingProcessor


def sequences(bench: Bench) -> list[int]:
    """The sequences on all output topics of partition 0."""
    records = [*bench.log.of(STAGE_CHANGES), *bench.log.of(REJECTED)]
    return sorted(int(header(record.headers, "sequence") or 0) for record in records)


async def test_every_record_is_counted_once_and_published_once(bench: Bench) -> None:
    for number in range(50):
        bench.put(f"c{number % 5}")
    async with bench.working():
        await until(lambda: len(bench.changes()) == 50)
    assert bench.counted() == {f"c{number}": 10 for number in range(5)}
    assert len(set(bench.changes())) == 50
    assert sequences(bench) == list(range(1, len(sequences(bench)) + 1))


async def test_a_restart_goes_on_where_the_database_stands(bench: Bench) -> None:
    bench.put("ada")
    async with bench.working():
        await until(lambda: bench.changes() == ["ada=1"])
    bench.put("ada")
    async with bench.working(CountingProcessor()):
        await until(lambda: len(bench.changes()) == 2)
    assert bench.changes() == ["ada=1", "ada=2"]
    assert (TopicPartition(EVENTS, 0), 1) in bench.log.seeks


async def test_what_was_stored_but_not_published_before_a_crash_is_published_once_afterwards(bench: Bench) -> None:
    def down(_: Sequence[SequencedRecord]) -> None:
        raise LogUnavailable("The broker is down.")

    bench.log.publish_fails = down
    bench.put("ada")
    async with bench.working():
        await until(lambda: bench.counted() == {"ada": 1})
    assert bench.changes() == []
    bench.log.publish_fails = None
    async with bench.working(CountingProcessor()):
        await until(lambda: bench.changes() == ["ada=1"])
    assert bench.counted() == {"ada": 1}


async def test_a_publication_of_unknown_outcome_is_not_repeated(bench: Bench) -> None:
    bench.log.unknown_outcomes = 3
    for number in range(10):
        bench.put(f"c{number}")
    async with bench.working():
        await until(lambda: len(bench.changes()) == 10)
        bench.put("last")
        await until(lambda: "last=1" in bench.changes())
    assert sorted(bench.changes()) == sorted([*(f"c{number}=1" for number in range(10)), "last=1"])
    assert sequences(bench) == list(range(1, len(sequences(bench)) + 1))


async def test_a_published_outbox_is_emptied(bench: Bench) -> None:
    bench.put("ada")
    async with bench.working():
        await until(lambda: bench.changes() == ["ada=1"])
    with bench.database.reading() as transaction:
        assert transaction.connection.execute(select(tables.outbox)).all() == []
        relay = transaction.connection.execute(select(tables.relays)).one()
    assert relay.highest == relay.published_through == len(sequences(bench))


async def test_the_second_owner_stops_the_first(bench: Bench) -> None:
    bench.put("ada")
    async with bench.working() as worker:
        await until(lambda: bench.changes() == ["ada=1"])
        with bench.database.transaction() as transaction:
            stolen = take(transaction, "counter", 0, bench.processor.inputs)
        bench.put("ada")
        await until(lambda: len(bench.processor.taken) == 2)
        await until(lambda: len(bench.changes()) == 2)
        assert worker.health().partitions[0].positions[EVENTS] == 2
    assert bench.counted() == {"ada": 2}
    with bench.database.reading() as transaction:
        rows = transaction.connection.execute(select(tables.positions.c.epoch)).scalars().all()
    assert all(epoch > stolen.epoch for epoch in rows)


async def test_a_worker_that_is_robbed_again_and_again_gives_up(bench: Bench) -> None:
    def rob(_: Batch) -> None:
        raise StorageUnavailable("The connection broke.")

    bench.processor.before = rob
    bench.put("ada")

    async def robber() -> None:
        while True:
            await until(lambda: bool(bench.processor.batches))
            bench.processor.batches.clear()
            with bench.database.transaction() as transaction:
                take(transaction, "counter", 0, bench.processor.inputs)

    thief = asyncio.create_task(robber())
    error = await bench.failing()
    thief.cancel()
    assert getattr(error, "code", None) == "ownership_lost"
    assert bench.counted() == {}


async def test_a_bad_record_is_rejected_with_its_bytes_place_and_reason(bench: Bench) -> None:
    bench.put("ada")
    bad = bench.put("bob", "bad")
    bench.put("cy")
    async with bench.working():
        await until(lambda: len(bench.log.of(REJECTED)) == 1 and len(bench.changes()) == 2)
    assert bench.changes() == ["ada=1", "cy=1"]
    (rejected,) = bench.log.of(REJECTED)
    assert (rejected.key, rejected.value) == (b"default", b"bad")
    found = dict(rejected.headers)
    assert found["ce_type"] == b"parcours.event.rejected"
    assert found["ce_reason"] == b"bad_value"
    assert found["ce_detail"] == b"The value is bad."
    assert found["ce_place"] == str(bad.place).encode()
    assert found["ce_subject"] == b"user:bob"
    assert found["orig_key"] == bad.key
    assert found["orig_timestamp"] == str(bad.timestamp).encode()
    assert {f"orig_{name}": value for name, value in bad.headers}.items() <= found.items()


async def test_a_record_that_meets_a_bug_is_tried_alone_three_times_and_set_aside(bench: Bench) -> None:
    bench.log.lagging.add(TopicPartition(EVENTS, 0))
    for number in range(40):
        bench.put(f"c{number}", "bug" if number == 17 else "+")
    async with bench.working():
        await until(lambda: len(bench.log.of(REJECTED)) == 1 and len(bench.changes()) == 39)
    alone = [batch for batch in bench.processor.batches if [record.value for record in batch.records] == [b"bug"]]
    assert len(alone) == 3
    (rejected,) = bench.log.of(REJECTED)
    assert header(rejected.headers, "ce_reason") == "processing_failed"
    assert header(rejected.headers, "ce_place") == "parcours.events/0@17"
    assert bench.counted() == {f"c{number}": 1 for number in range(40) if number != 17}
    assert sequences(bench) == list(range(1, len(sequences(bench)) + 1))


async def test_a_busy_database_is_waited_for_and_nothing_is_lost(bench: Bench) -> None:
    failures = [StorageUnavailable("The disk is full.")] * 4

    def flaky(_: Batch) -> None:
        if failures:
            raise failures.pop()

    bench.processor.before = flaky
    bench.put("ada")
    bench.put("bob", topic=CONTROL)
    async with bench.working():
        await until(lambda: len(bench.changes()) == 2)
    assert bench.counted() == {"ada": 1, "bob": 1}
    assert len(bench.processor.batches) >= 5
    assert bench.log.of(REJECTED) == []


async def test_a_broken_database_ends_the_worker(bench: Bench) -> None:
    def broken(_: Batch) -> None:
        raise StorageBroken("The file is damaged.")

    bench.processor.before = broken
    bench.put("ada")
    assert isinstance(await bench.failing(), StorageBroken)


async def test_a_log_that_is_ahead_of_the_database_ends_the_worker(bench: Bench) -> None:
    bench.log.sequences["counter", 0] = 7
    error = await bench.failing()
    assert isinstance(error, HistoryLost)
    assert "the database only gave 0" in str(error)


async def test_an_outbox_with_a_gap_ends_the_worker(bench: Bench) -> None:
    bench.put("ada")
    async with bench.working():
        await until(lambda: bench.changes() == ["ada=1"])
    with bench.database.transaction() as transaction:
        transaction.connection.execute(tables.relays.update().values(highest=99))
    assert isinstance(await bench.failing(), HistoryLost)


async def test_a_log_that_does_not_answer_is_polled_again(bench: Bench) -> None:
    bench.log.poll_fails = 3
    bench.put("ada")
    async with bench.working():
        await until(lambda: bench.changes() == ["ada=1"])
    assert bench.log.poll_fails == 0


async def test_two_members_share_the_partitions_and_a_leaving_one_loses_nothing(bench: Bench) -> None:
    bench.log.partitions = 2
    first, second = CountingProcessor(), CountingProcessor()
    async with bench.working(first) as one:
        await until(lambda: len(one.health().partitions) == 2)
        async with bench.working(second) as two:
            await until(lambda: len(one.health().partitions) == 1 and len(two.health().partitions) == 1)
            for number in range(20):
                bench.put(f"c{number}")
            await until(lambda: len(bench.changes()) == 20)
        await until(lambda: len(one.health().partitions) == 2)
        bench.put("after")
        await until(lambda: len(bench.changes()) == 21)
    assert len(bench.counted()) == 21


async def test_a_partition_that_was_paused_and_comes_back_is_read_again(bench: Bench) -> None:
    bench.options = replace(bench.options, batch_records=2)
    held = threading.Event()

    def hold(_: Batch) -> None:
        held.wait(10)

    first, second = CountingProcessor(before=hold), CountingProcessor()
    for number in range(30):
        bench.put(f"c{number}")
    async with bench.working(first) as one:
        await until(lambda: any(reader.paused for reader in bench.log.readers.get("counter", [])))
        async with bench.working(second) as two:
            await until(lambda: one.health().partitions == ())
            held.set()
            await until(lambda: len(two.health().partitions) == 1)
        await until(lambda: len(one.health().partitions) == 1)
        bench.put("after")
        await until(lambda: len(bench.changes()) == 31)


async def test_a_batch_that_the_database_does_not_take_is_stored_in_smaller_ones(bench: Bench) -> None:
    def too_much(batch: Batch) -> None:
        if len(batch.records) > 3:
            raise StorageUnavailable("The statement takes too long.")

    bench.processor.before = too_much
    bench.options = replace(bench.options, first_backoff=0.001, last_backoff=0.002)
    for number in range(20):
        bench.put(f"c{number}")
    async with bench.working():
        await until(lambda: len(bench.changes()) == 20)
    assert bench.log.of(REJECTED) == []


async def test_a_log_that_cannot_be_joined_is_tried_again(bench: Bench) -> None:
    bench.log.join_fails = 2
    bench.put("ada")
    async with bench.working():
        await until(lambda: bench.changes() == ["ada=1"])


async def test_a_partition_with_two_batches_waiting_is_paused_and_goes_on(bench: Bench) -> None:
    bench.options = replace(bench.options, batch_records=5)
    hold = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(_: Batch) -> None:
        asyncio.run_coroutine_threadsafe(hold.wait(), loop).result(10)

    bench.processor.before = slow
    for number in range(100):
        bench.put(f"c{number}")
    async with bench.working() as worker:
        await until(lambda: len(bench.processor.batches) == 1)
        await until(lambda: bool(bench.log.readers["counter"][0].paused))
        assert 5 <= worker.health().partitions[0].waiting < 30
        hold.set()
        await until(lambda: len(bench.changes()) == 100)
    assert max(len(batch.records) for batch in bench.processor.batches) == 5


async def test_what_a_log_keeps_between_records_counts_as_read(bench: Bench) -> None:
    bench.log.marks[TopicPartition(EVENTS, 0)] = 3
    bench.put("ada")
    async with bench.working() as worker:
        await until(lambda: bench.changes() == ["ada=1"])
        await until(lambda: worker.health().partitions[0].positions[EVENTS] == 4)
        assert worker.health().partitions[0].lag == {EVENTS: 0, CONTROL: 0}


async def test_progress_tells_offsets_and_clock_after_every_change(bench: Bench) -> None:
    bench.put("ada")
    async with bench.working():
        await until(lambda: bench.changes() == ["ada=1"])
        change = next(record for record in bench.log.of(STAGE_CHANGES) if record.key != b"progress")
        await until(lambda: len(bench.log.of(STAGE_CHANGES)) > change.offset + 1)
    following = bench.log.of(STAGE_CHANGES)[change.offset + 1]
    assert header(following.headers, "ce_type") == "parcours.stage.progress"
    progress = msgspec.json.decode(following.value or b"", type=Progress)
    assert (progress.processor, progress.partition) == ("counter", 0)
    assert progress.offsets == {EVENTS: 1, CONTROL: 0}
