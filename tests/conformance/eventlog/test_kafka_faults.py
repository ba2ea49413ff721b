"""A broker that is killed, and one that hangs."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence

import pytest
from msgspec.structs import replace

from localservers import KafkaServer
from schemas.records import Record, StoredRecord
from schemas.topics import EVENTS, STAGE_CHANGES
from services.eventlog import kafka
from services.eventlog.port import EventLog, LogUnavailable, PublisherState, Reader, SequencedPublisher, TopicPartition
from services.runtime.clock import SystemClock
from tests.conformance.eventlog.support import Engine, Store, event, outbox, poll_on, read_all, sequences, take

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]


@pytest.fixture
async def store(own_kafka_server: KafkaServer, request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """A store on a broker that may be ill-treated."""
    own_kafka_server.start()
    store = Store.kafka(own_kafka_server.bootstrap_servers, f"{request.node.name}-")
    yield store
    if own_kafka_server.pid is not None:
        own_kafka_server.resume()
    await store.close()


async def test_a_broker_that_hangs_gives_typed_errors_in_time_and_afterwards_everything_goes_on(
    store: Store, own_kafka_server: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "APPEND_SECONDS", 3.0)
    log = await store.open()
    writer, publisher = log.writer(), log.publisher("stage_engine", 1)
    engine = Engine()
    reader = await engine.join(log)
    await publisher.open(PublisherState(0, 0))
    await publisher.publish(outbox(1, 2))
    assert await writer.append([event(1, partition=1)]) == [None]
    await take(reader, 1, engine)
    own_kafka_server.pause()
    attempts = (writer.append([event(2, partition=1)]), poll_on(reader), publisher.publish(outbox(3, 4)))
    async with asyncio.timeout(30):
        errors = await asyncio.gather(*attempts, return_exceptions=True)
    assert [type(error) for error in errors] == [LogUnavailable] * 3
    own_kafka_server.resume()
    async with asyncio.timeout(60):
        while True:
            if await appended(writer.append([event(3, partition=1)])) == [None]:
                break
            await asyncio.sleep(0.2)
        again, last = await patiently_opened(log)
        await again.publish(outbox(last + 1, 6))
        assert await sequences(log, 6) == [1, 2, 3, 4, 5, 6]
        values = {record.value for record in await read_all(log, EVENTS)}
        assert {b"1", b"3"} <= values <= {b"1", b"2", b"3"}
        seen: set[bytes | None] = set()
        while b"3" not in seen:
            seen |= {record.value for records in (await patient_poll(reader)).values() for record in records}


async def patiently_opened(log: EventLog) -> tuple[SequencedPublisher, int]:
    """The next publisher of the same name, and how far the earlier one came; a broker that just came back may fail."""
    while True:
        publisher = log.publisher("stage_engine", 1)
        try:
            return publisher, await publisher.open(PublisherState(6, 2))
        except LogUnavailable:
            await publisher.close()
            await asyncio.sleep(0.2)


async def appended(attempt: Awaitable[object]) -> object:
    """The answers of an append, or its error."""
    try:
        return await attempt
    except LogUnavailable as error:
        return error


def fresh(number: int) -> Record:
    """An event of this moment: a restarted broker forgets producers whose records are over a day old, and then takes
    what they send again for new."""
    return replace(event(number), timestamp=SystemClock().now())


async def patient_poll(reader: Reader) -> Mapping[TopicPartition, Sequence[StoredRecord]]:
    """A poll that takes silence for nothing."""
    try:
        return await reader.poll(100, 500)
    except LogUnavailable:
        return {}


async def test_a_broker_that_is_killed_under_load_loses_and_repeats_nothing_that_was_acknowledged(
    store: Store, own_kafka_server: KafkaServer
) -> None:
    log = await store.open()
    writer, publisher = log.writer(), log.publisher("stage_engine", 1)
    await publisher.open(PublisherState(0, 0))
    acknowledged: set[int] = set()
    running, wanted, enough = True, 1_000_000, asyncio.Event()

    async def client(name: int) -> None:
        number = name * 1_000_000
        while running:
            answer = await appended(writer.append([fresh(number)]))
            if answer == [None]:
                acknowledged.add(number)
                if len(acknowledged) >= wanted:
                    enough.set()
            number += 1
            await asyncio.sleep(0.01)

    clients = [asyncio.create_task(client(name)) for name in range(8)]
    await publisher.publish(outbox(1, 50))
    await asyncio.to_thread(own_kafka_server.kill)
    wanted = len(acknowledged) + 50
    enough.clear()
    await asyncio.to_thread(own_kafka_server.start)
    async with asyncio.timeout(60):
        await enough.wait()
        running = False
        await asyncio.gather(*clients)
        again = log.publisher("stage_engine", 1)
        last = await again.open(PublisherState(60, 0))
        assert last == 50
        await again.publish(outbox(last + 1, 60))
    assert await sequences(log, 60) == list(range(1, 61))
    found = Counter(int(record.value or b"") for record in await read_all(log, EVENTS))
    assert acknowledged <= found.keys()
    assert set(found.values()) == {1}
    assert (await log.bounds(TopicPartition(STAGE_CHANGES, 1)))[1] >= 30
