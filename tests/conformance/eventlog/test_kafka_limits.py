"""What the writer does when a partition cannot keep up, and when a topic's limit was lowered by hand."""

import asyncio
from collections.abc import Sequence
from unittest.mock import AsyncMock

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from schemas.records import Record
from schemas.topics import EVENTS
from services.eventlog import kafka_writer
from services.eventlog.kafka import KafkaEventLog
from services.eventlog.kafka_writer import KafkaWriter
from services.eventlog.port import EventLog, LogBusy, LogError, LogUnavailable, RecordTooLarge
from tests.conformance.eventlog.support import NOW, PARTITIONS, Store, event, read_all

LOWERED = 100_000


async def ready_writer(log: EventLog) -> KafkaWriter:
    """A writer whose producers have both been used, so that it knows the limits of the topic."""
    assert isinstance(log, KafkaEventLog)
    writer = log.writer()
    assert await writer.append([event(number, partition=number) for number in range(PARTITIONS)]) == [None] * 4
    return writer


async def lower(store: Store, log: EventLog, most_bytes: int = LOWERED) -> None:
    """Change the limit of the events' topic as an operator would, until every record above it is refused."""
    admin = AIOKafkaAdminClient(bootstrap_servers=store.address)
    await admin.start()
    lines = {
        "cleanup.policy": "delete",
        "retention.ms": "-1",
        "message.timestamp.type": "CreateTime",
        "max.message.bytes": str(most_bytes),
    }
    name = store.prefix + EVENTS
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, lines)])
    async with asyncio.timeout(20):
        while True:
            (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
            if {entry[0]: entry[1] for entry in answer.resources[0][4]}["max.message.bytes"] == str(most_bytes):
                break
            await asyncio.sleep(0.05)
    await admin.close()


def large(number: int, size: int, partition: int = 1) -> Record:
    """An event whose value has so many bytes and begins with its number."""
    return Record(EVENTS, partition, b"key", f"{number} ".encode().ljust(size, b"x"), (), NOW)


async def numbers(log: EventLog) -> list[int]:
    """The numbers of all events on the topic but those of `ready_writer`, sorted."""
    found = [int((record.value or b"").split()[0]) for record in await read_all(log, EVENTS)]
    return sorted(number for number in found if number >= PARTITIONS)


def kinds(answers: Sequence[LogError | None]) -> list[type]:
    """The class of each answer."""
    return [type(answer) for answer in answers]


def hold(producer: AIOKafkaProducer | None) -> "asyncio.Future[None]":
    """Let the producer take batches and answer them only when the future is done."""
    assert producer is not None
    answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    producer.send_batch = AsyncMock(return_value=answer)
    return answer


async def test_an_event_above_a_lowered_limit_is_refused_alone_and_its_partition_goes_on(kafka_store: Store) -> None:
    log = await kafka_store.open()
    writer = await ready_writer(log)
    before = writer._slots[1].producer
    await lower(kafka_store, log)
    answers = await writer.append([large(10, LOWERED + 10_000)])
    assert kinds(answers) == [RecordTooLarge]
    assert await writer.append([large(number, 200) for number in range(11, 31)]) == [None] * 20
    async with asyncio.timeout(10):
        assert await writer._slots[1].ready() is not before
    assert await numbers(log) == list(range(11, 31))


async def test_neighbors_in_the_batch_of_an_event_that_is_too_large_are_stored_once_and_in_order(
    kafka_store: Store,
) -> None:
    log = await kafka_store.open()
    writer = await ready_writer(log)
    await lower(kafka_store, log)
    records = [large(number, 150_000 if number == 15 else 30_000) for number in range(10, 21)]
    answers = await writer.append(records)
    assert kinds(answers) == [type(None)] * 5 + [RecordTooLarge] + [type(None)] * 5
    assert await numbers(log) == [*range(10, 15), *range(16, 21)]
    stored = [int((record.value or b"").split()[0]) for record in await read_all(log, EVENTS, (1,))]
    assert stored[1:] == [*range(10, 15), *range(16, 21)]


async def test_after_one_refusal_the_lowered_limit_is_known_and_no_producer_is_lost_to_it(kafka_store: Store) -> None:
    log = await kafka_store.open()
    writer = await ready_writer(log)
    await lower(kafka_store, log)
    assert kinds(await writer.append([large(10, LOWERED + 1_000)])) == [RecordTooLarge]
    async with asyncio.timeout(10):
        producers = [await slot.ready() for slot in writer._slots]
    records = [large(number, LOWERED + 1_000 if number % 2 else 20_000) for number in range(20, 60)]
    answers = await writer.append(records)
    assert kinds(answers) == [type(None), RecordTooLarge] * 20
    assert [slot.producer for slot in writer._slots] == producers
    assert await numbers(log) == list(range(20, 60, 2))


async def test_when_the_limit_cannot_be_learned_each_record_of_a_refused_batch_is_sent_alone(
    kafka_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await kafka_store.open()
    writer = await ready_writer(log)
    await lower(kafka_store, log)
    monkeypatch.setattr(writer._topics, "learn_anew", AsyncMock(side_effect=LogUnavailable))
    answers = await writer.append([large(number, 150_000 if number == 12 else 30_000) for number in range(10, 15)])
    assert kinds(answers) == [type(None), type(None), RecordTooLarge, type(None), type(None)]
    assert await numbers(log) == [10, 11, 13, 14]


async def test_a_partition_for_which_too_much_waits_refuses_an_append_whole_and_the_others_go_on(
    kafka_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_writer, "WAITING_BYTES", 200_000)
    log = await kafka_store.open()
    writer = await ready_writer(log)
    release = hold(writer._slots[1].producer)
    taken = [asyncio.create_task(writer.append([large(number, 60_000)])) for number in range(10, 14)]
    await asyncio.sleep(0)
    with pytest.raises(LogBusy) as refused:
        await writer.append([large(20, 100, partition=2), large(21, 100)])
    assert refused.value.code == "log_busy"
    assert not writer.submit([large(23, 100, partition=2), large(24, 100)], lambda _answers: None)
    assert await writer.append([large(22, 100, partition=2)]) == [None]
    release.set_result(None)
    assert await asyncio.gather(*taken) == [[None]] * 4
    assert await numbers(log) == [22]


async def test_room_comes_back_when_what_waited_is_answered_or_given_up(
    kafka_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_writer, "WAITING_BYTES", 100_000)
    log = await kafka_store.open()
    writer = await ready_writer(log)
    producer = writer._slots[1].producer
    assert producer is not None
    send = producer.send_batch
    release = hold(producer)
    writer._within = 0.5
    taken = [asyncio.create_task(writer.append([large(number, 60_000)])) for number in range(10, 12)]
    await asyncio.sleep(0)
    with pytest.raises(LogBusy):
        await writer.append([large(20, 100)])
    for attempt in taken:
        with pytest.raises(LogUnavailable):
            raise (await attempt)[0] or AssertionError
    producer.send_batch = send
    release.set_result(None)
    writer._within = 15.0
    await asyncio.sleep(0.01)
    assert await writer.append([large(30, 100)]) == [None]
    assert {lane.size for lane in writer._lanes.values()} == {0}
