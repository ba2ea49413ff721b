"""The clock of a partition, and what is due by it."""

import asyncio
from dataclasses import replace

import msgspec

from schemas.changes import Progress
from schemas.processing import Wake
from schemas.records import Record, cloud_event_headers, header
from schemas.times import HOUR, format_instant
from schemas.topics import EVENTS, MESSAGES, STAGE_CHANGES
from services.eventlog.port import TopicPartition
from services.runtime.worker import Worker
from tests.integration.runtime.conftest import SETTLE, START, Bench, until
from tests.support.counting import CountingProcessor


def clock_of(worker: Worker) -> int:
    """The stored clock of partition 0; 0 before it is set or known."""
    partitions = worker.health().partitions
    return partitions[0].clock if partitions else 0


async def test_a_partition_read_to_its_end_follows_the_wall_time_by_settle(bench: Bench) -> None:
    async with bench.working() as worker:
        await until(lambda: clock_of(worker) == START - SETTLE)
        bench.clock.move(HOUR)
        await until(lambda: clock_of(worker) == START + HOUR - SETTLE)


async def test_the_clock_is_stored_and_never_goes_back(bench: Bench) -> None:
    async with bench.working() as worker:
        await until(lambda: clock_of(worker) == START - SETTLE)
    bench.clock.move(-HOUR)
    bench.put("ada")
    async with bench.working(CountingProcessor()) as worker:
        await until(lambda: bench.changes() == ["ada=1"])
        assert clock_of(worker) == START - SETTLE


async def test_while_it_lags_the_clock_follows_what_was_received(bench: Bench) -> None:
    bench.log.lagging.add(TopicPartition(EVENTS, 0))
    bench.put("ada", received=START - 3 * HOUR)
    bench.put("bob", received=START - 2 * HOUR)
    async with bench.working() as worker:
        await until(lambda: len(bench.changes()) == 2)
        assert clock_of(worker) == START - 3 * HOUR - SETTLE
        bench.put("cy", received=START - HOUR)
        await until(lambda: len(bench.changes()) == 3)
        assert clock_of(worker) == START - HOUR - SETTLE


async def test_a_topic_with_progress_bounds_the_clock_by_its_writers_own(bench: Bench) -> None:
    processor = downstream()
    async with bench.working(processor) as worker:
        bench.put("ada")
        await until(lambda: len(processor.batches) == 1)
        assert clock_of(worker) == 0
        put_progress(bench, START - HOUR)
        await until(lambda: clock_of(worker) == START - HOUR)
        bench.clock.move(5 * HOUR)
        put_progress(bench, START + HOUR)
        await until(lambda: clock_of(worker) == START + HOUR)
    async with bench.working(downstream()) as worker:
        await until(lambda: clock_of(worker) == START + HOUR)


def downstream() -> CountingProcessor:
    """A processor that reads stage changes and has no progress of its own to tell."""
    inputs = (EVENTS, STAGE_CHANGES)
    return CountingProcessor("reader", inputs, progress_topic=None, progress_type=None, outputs=MESSAGES)


def put_progress(bench: Bench, clock: int) -> None:
    """A progress record of another processor."""
    value = msgspec.json.encode(Progress("engine", 0, {EVENTS: 1}, format_instant(clock)))
    headers = cloud_event_headers("p", "parcours.stage.progress", "/processors/engine", clock, "partition:0")
    bench.log.put(Record(STAGE_CHANGES, 0, b"progress", value, headers, bench.clock.now()))


async def test_due_instants_run_once_the_clock_has_passed_them(bench: Bench) -> None:
    bench.put("ada", f"due:{START + HOUR}")
    async with bench.working() as worker:
        await until(lambda: clock_of(worker) == START - SETTLE)
        assert bench.processor.wakes == []
        bench.clock.set(START + HOUR + SETTLE - 1)
        await until(lambda: clock_of(worker) == START + HOUR - 1)
        assert bench.processor.wakes == []
        bench.clock.move(1)
        await until(lambda: bench.changes() == [f"due={START + HOUR}"])


async def test_many_due_instants_run_in_slices_and_records_go_in_between(bench: Bench) -> None:
    for number in range(1_200):
        bench.put("ada", f"due:{START + number}")
    async with bench.working() as worker:
        await until(lambda: clock_of(worker) == START - SETTLE)
        bench.clock.move(HOUR)
        await until(lambda: len(bench.changes()) == 1_200)
    assert bench.changes() == [f"due={START + number}" for number in range(1_200)]
    assert [wake.limit for wake in bench.processor.wakes] == [500, 500, 500]


async def test_silence_does_not_count_while_records_wait(bench: Bench) -> None:
    bench.put("ada", f"due:{START + HOUR}")
    async with bench.working() as worker:
        await until(lambda: clock_of(worker) == START - SETTLE)
    bench.clock.move(10 * HOUR)
    bench.log.lagging.add(TopicPartition(EVENTS, 0))
    bench.put("bob", received=START + HOUR // 2)
    processor = CountingProcessor()
    async with bench.working(processor) as worker:
        await until(lambda: bench.changes() == ["bob=1"])
        await asyncio.sleep(0.1)
        assert processor.wakes == []
        bench.log.lagging.clear()
        await until(lambda: bench.changes() == ["bob=1", f"due={START + HOUR}"])


async def test_a_failing_due_instant_does_not_keep_records_waiting(bench: Bench) -> None:
    def bug(_: Wake) -> None:
        raise LookupError("This timer meets a bug.")

    bench.processor.before_wake = bug
    bench.put("ada", f"due:{START - HOUR}")
    async with bench.working() as worker:
        await until(lambda: len(bench.processor.wakes) == 3)
        bench.put("bob")
        await until(lambda: bench.changes() == ["bob=1"])
        assert len(bench.processor.wakes) == 3
        assert worker.health().partitions[0].timer_lag > 0


async def test_a_quiet_partition_tells_its_progress_only_when_the_clock_moved_far(bench: Bench) -> None:
    bench.options = replace(bench.options, quiet_after=0.0)
    async with bench.working() as worker:
        await until(lambda: clock_of(worker) == START - SETTLE and worker.health().partitions[0].outbox == 0)
        told = len(bench.log.of(STAGE_CHANGES))
        bench.clock.move(9_999)
        await asyncio.sleep(0.2)
        assert len(bench.log.of(STAGE_CHANGES)) == told
        bench.clock.move(1)
        await until(lambda: len(bench.log.of(STAGE_CHANGES)) == told + 1)
    latest = bench.log.of(STAGE_CHANGES)[-1]
    assert header(latest.headers, "ce_type") == "parcours.stage.progress"
