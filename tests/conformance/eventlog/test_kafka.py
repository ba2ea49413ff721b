"""What only the Kafka adapter has to do: the rules for a client that forgives little."""

import asyncio
from contextlib import suppress
from unittest.mock import AsyncMock

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import TopicPartition as KafkaPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import KafkaConnectionError, OutOfOrderSequenceNumber
from aiokafka.partitioner import DefaultPartitioner

from localservers.processes import free_port
from schemas.ids import partition_of, record_key
from schemas.topics import EVENTS, ROUTED, STAGE_CHANGES
from services.eventlog import kafka_reader
from services.eventlog.kafka import KafkaEventLog
from services.eventlog.kafka_browser import KafkaBrowser
from services.eventlog.kafka_publisher import KafkaPublisher, last_published
from services.eventlog.kafka_reader import KafkaReader
from services.eventlog.kafka_writer import KafkaWriter
from services.eventlog.port import Fenced, HistoryLost, LogError, LogUnavailable, PublisherState, TopicPartition
from tests.conformance.eventlog.support import (
    PARTITIONS,
    Engine,
    Store,
    event,
    outbox,
    poll_on,
    read_all,
    sequences,
    take,
)

PLACE = TopicPartition(STAGE_CHANGES, 1)
FRESH = PublisherState(0, 0)


def test_our_partitions_are_those_of_kafkas_own_partitioner() -> None:
    partitioner = DefaultPartitioner()
    for partitions in (1, 3, 4, 12, 100):
        numbers = list(range(partitions))
        for length in range(200):
            key = record_key("default", "user:" + "ü" * (length % 7) + "x" * length)
            assert partition_of(key, partitions) == partitioner(key, numbers, numbers)


async def test_a_reader_has_none_of_the_clients_dangerous_defaults(
    kafka_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    log = await kafka_store.open()
    reader = await Engine().join(log)
    assert isinstance(reader, KafkaReader)
    consumer = reader._consumer
    assert consumer._auto_offset_reset == "none"
    assert consumer._enable_auto_commit is False
    assert consumer._isolation_level == "read_committed"
    assert list(consumer._partition_assignment_strategy) == [RangePartitionAssignor]
    assert consumer._group_instance_id is None
    assert (consumer._session_timeout_ms, consumer._heartbeat_interval_ms) == (10_000, 3_000)
    assert kafka_reader.HEARTBEAT_MS == 3_000
    assert isinstance(log, KafkaEventLog)
    assert log.writer()._within == 3.0


async def ready_writer(store: Store) -> KafkaWriter:
    """A writer whose producers have both been used."""
    log = await store.open()
    assert isinstance(log, KafkaEventLog)
    writer = log.writer()
    assert await writer.append([event(number, partition=number) for number in range(PARTITIONS)]) == [None] * 4
    return writer


async def test_a_writer_has_two_idempotent_producers_that_wait_for_all_replicas(kafka_store: Store) -> None:
    writer = await ready_writer(kafka_store)
    producers = [slot.producer for slot in writer._slots]
    assert len(set(map(id, producers))) == 2
    for producer in producers:
        assert producer is not None
        assert producer._sender._acks == -1
        assert producer._txn_manager.has_pid()


async def test_a_producer_that_broke_is_replaced_and_its_partitions_go_on(kafka_store: Store) -> None:
    writer = await ready_writer(kafka_store)
    broken = writer._slots[1].producer
    assert broken is not None
    broken.send_batch = AsyncMock(side_effect=OutOfOrderSequenceNumber())
    answers = await writer.append([event(number, partition=number) for number in range(3)])
    assert [type(answer) for answer in answers] == [type(None), LogUnavailable, type(None)]
    assert await writer.append([event(number, partition=number) for number in range(PARTITIONS)]) == [None] * 4
    async with asyncio.timeout(10):
        assert await writer._slots[1].ready() is not broken


async def test_a_partition_without_an_answer_refuses_at_once_and_the_others_go_on(kafka_store: Store) -> None:
    writer = await ready_writer(kafka_store)
    writer._within = 1.0
    silent = writer._slots[1].producer
    assert silent is not None
    send, answer = silent.send_batch, asyncio.get_running_loop().create_future()
    silent.send_batch = AsyncMock(return_value=answer)
    with pytest.raises(LogUnavailable, match="Nothing is known to be stored"):
        await writer.append([event(1, partition=1)])
    answers = await writer.append([event(2, partition=1), event(3, partition=2)])
    assert isinstance(answers[0], LogUnavailable)
    assert "Nothing was stored" in str(answers[0])
    assert answers[1] is None
    silent.send_batch = send
    answer.set_result(None)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert await writer.append([event(4, partition=1)]) == [None]


async def test_a_late_answer_for_some_partitions_is_told_apart_from_the_others(kafka_store: Store) -> None:
    writer = await ready_writer(kafka_store)
    writer._within = 1.0
    silent = writer._slots[1].producer
    assert silent is not None
    answer = asyncio.get_running_loop().create_future()
    silent.send_batch = AsyncMock(return_value=answer)
    answers = await writer.append([event(1, partition=1), event(2, partition=2)])
    assert [type(given) for given in answers] == [LogUnavailable, type(None)]
    answer.set_result(None)


async def opened(store: Store, state: PublisherState = FRESH) -> KafkaPublisher:
    """An opened publisher of stage_engine/1."""
    publisher = (await store.open()).publisher("stage_engine", 1)
    assert isinstance(publisher, KafkaPublisher)
    await publisher.open(state)
    return publisher


def producer_of(publisher: KafkaPublisher) -> AIOKafkaProducer:
    """Its transactional producer."""
    assert publisher._producer is not None
    return publisher._producer


async def test_a_zombie_inside_a_transaction_leaves_nothing_behind(kafka_store: Store) -> None:
    zombie = await opened(kafka_store)
    await zombie.publish(outbox(1, 2))
    sent, go_on = asyncio.Event(), asyncio.Event()
    producer = producer_of(zombie)
    commit = producer.commit_transaction

    async def hesitate() -> None:
        sent.set()
        await go_on.wait()
        await commit()

    producer.commit_transaction = hesitate
    late = asyncio.create_task(zombie.publish(outbox(3, 6)))
    await sent.wait()
    successor = await opened(kafka_store, PublisherState(9, 0))
    await successor.publish(outbox(3, 9))
    go_on.set()
    with pytest.raises(Fenced):
        await late
    log = await kafka_store.open()
    assert await sequences(log, 9) == list(range(1, 10))


@pytest.mark.parametrize("reached", [True, False], ids=["the broker committed", "the broker never heard of it"])
async def test_after_a_commit_of_unknown_outcome_a_new_publisher_knows_it(kafka_store: Store, reached: bool) -> None:
    publisher = await opened(kafka_store)
    await publisher.publish(outbox(1, 3))
    producer = producer_of(publisher)
    commit = producer.commit_transaction

    async def lose_the_answer() -> None:
        if reached:
            await commit()
        raise KafkaConnectionError

    producer.commit_transaction = lose_the_answer
    with pytest.raises(LogUnavailable):
        await publisher.publish(outbox(4, 6))
    with pytest.raises(LogUnavailable, match="outcome is unknown"):
        await publisher.publish(outbox(4, 6))
    last = 6 if reached else 3
    again = (await kafka_store.open()).publisher("stage_engine", 1)
    assert await again.open(PublisherState(8, 3)) == last
    await again.publish(outbox(last + 1, 8))
    assert await sequences(await kafka_store.open(), 8) == list(range(1, 9))


async def test_a_refused_record_keeps_its_transaction_from_being_committed(kafka_store: Store) -> None:
    publisher = await opened(kafka_store)
    producer = producer_of(publisher)
    refused = asyncio.get_running_loop().create_future()
    refused.set_exception(KafkaConnectionError())
    send = producer.send_batch
    producer.send_batch = AsyncMock(side_effect=[refused, await answered(refused)])
    with pytest.raises(LogUnavailable):
        await publisher.publish(outbox(1, 2))
    producer.send_batch = send
    assert await sequences(await kafka_store.open(), 0) == []
    assert await (await opened(kafka_store)).open(FRESH) == 0


async def answered(_other: object) -> asyncio.Future[None]:
    """An answer without an error."""
    answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    answer.set_result(None)
    return answer


async def test_records_of_an_aborted_transaction_are_never_seen_and_do_not_keep_a_reader_behind(
    kafka_store: Store,
) -> None:
    publisher = await opened(kafka_store)
    producer = producer_of(publisher)
    producer.send_offsets_to_transaction = AsyncMock(side_effect=KafkaConnectionError())
    with pytest.raises(LogUnavailable):
        await publisher.publish(outbox(1, 6))
    log = await kafka_store.open()
    reader = await Engine([STAGE_CHANGES]).join(log)
    async with asyncio.timeout(20):
        while reader.caught_up_at(PLACE) is None or reader.end_offset(PLACE) == 0:
            assert await reader.poll(10, 300) == {}
    assert reader.end_offset(PLACE) == (await log.bounds(PLACE))[1] > 3
    assert await read_all(log, STAGE_CHANGES) == []


async def test_the_last_sequence_is_found_on_the_outputs_when_the_groups_offset_has_expired(
    kafka_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = await opened(kafka_store)
    await publisher.publish(outbox(1, 7))
    await (await kafka_store.open()).writer().append([event(number, topic=ROUTED, partition=1) for number in range(20)])
    monkeypatch.setattr(KafkaBrowser, "group_offset", AsyncMock(return_value=None))
    again = (await kafka_store.open()).publisher("stage_engine", 1)
    assert await again.open(PublisherState(9, 0)) == 7
    other = (await kafka_store.open()).publisher("segmenter", 1)
    assert await other.open(PublisherState(9, 0)) == 0


async def test_an_unchanged_last_sequence_is_stored_again_before_it_expires(kafka_store: Store) -> None:
    publisher = await opened(kafka_store)
    await publisher.publish(outbox(1, 4))
    sent = AsyncMock(wraps=producer_of(publisher).send_offsets_to_transaction)
    producer_of(publisher).send_offsets_to_transaction = sent
    await publisher.renew()
    sent.assert_awaited_once()
    await publisher.publish(outbox(5, 5))
    assert await sequences(await kafka_store.open(), 5) == [1, 2, 3, 4, 5]
    place = TopicPartition(EVENTS, 1)
    assert await publisher._browser.group_offset("relay.stage_engine", place) == 5


@pytest.mark.parametrize(
    ("state", "offset", "tail", "last"),
    [
        (PublisherState(0, 0), None, (None, False), 0),
        (PublisherState(9, 0), None, (None, True), 0),
        (PublisherState(9, 5), 5, (None, True), 5),
        (PublisherState(9, 5), 7, (6, True), 7),
        (PublisherState(9, 5), None, (8, True), 8),
        (PublisherState(9, 5), None, (4, True), 5),
        (PublisherState(9, 5), None, (None, True), 5),
        (PublisherState(9, 5), None, (None, False), "knows nothing of engine/1"),
        (PublisherState(9, 5), 3, (None, True), "the log was rolled back"),
        (PublisherState(9, 5), 10, (None, True), "the database was rolled back"),
        (PublisherState(9, 5), 6, (10, True), "the database was rolled back"),
    ],
)
def test_the_last_sequence_is_the_greatest_of_three_unless_they_cannot_all_be_right(
    state: PublisherState, offset: int | None, tail: tuple[int | None, bool], last: int | str
) -> None:
    if isinstance(last, int):
        assert last_published("engine/1", state, offset, tail) == last
    else:
        with pytest.raises(HistoryLost, match=last):
            last_published("engine/1", state, offset, tail)


async def test_a_header_without_a_value_from_another_program_reads_as_empty(kafka_store: Store) -> None:
    log = await kafka_store.open()
    async with AIOKafkaProducer(bootstrap_servers=kafka_store.address) as producer:
        headers = [("empty", None), ("ce_id", b"m-1")]
        await producer.send_and_wait(kafka_store.prefix + EVENTS, b"{}", partition=2, headers=headers)
    (found,) = (await take(await Engine().join(log), 1))[TopicPartition(EVENTS, 2)]
    assert found.headers == (("empty", b""), ("ce_id", b"m-1"))
    assert found.key is None


async def test_unequal_partitions_of_the_topics_end_the_reader(kafka_store: Store) -> None:
    log = await kafka_store.open()
    reader = await Engine([EVENTS, ROUTED]).join(log, "mixed")
    stranger = AIOKafkaConsumer(
        kafka_store.prefix + EVENTS,
        bootstrap_servers=kafka_store.address,
        group_id=kafka_store.prefix + "mixed",
        enable_auto_commit=False,
        partition_assignment_strategy=[RangePartitionAssignor],
        heartbeat_interval_ms=200,
    )
    await stranger.start()
    try:
        with pytest.raises(LogError, match="other partitions of one topic than of another"):
            await poll_on(reader)
    finally:
        await stranger.stop()


async def test_the_groups_offsets_are_stored_under_the_logs_prefix(kafka_store: Store) -> None:
    log = await kafka_store.open()
    await log.writer().append([event(number, partition=1) for number in range(5)])
    reader = await Engine().join(log, "stage_engine")
    await take(reader, 5)
    await reader.commit({TopicPartition(EVENTS, 1): 5})
    await reader.close()
    assert isinstance(log, KafkaEventLog)
    assert await log._browser.group_offset("stage_engine", TopicPartition(EVENTS, 1)) == 5


async def test_topics_are_made_with_the_lines_of_the_table(kafka_store: Store) -> None:
    await kafka_store.open()
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_store.address)
    await admin.start()
    try:
        resource = ConfigResource(ConfigResourceType.TOPIC, kafka_store.prefix + EVENTS)
        (answer,) = await admin.describe_configs([resource])
        lines = {entry[0]: entry[1] for entry in answer.resources[0][4]}
    finally:
        await admin.close()
    assert lines["retention.ms"] == "2592000000"
    assert lines["cleanup.policy"] == "delete"
    assert lines["message.timestamp.type"] == "CreateTime"
    assert int(lines["max.message.bytes"]) > 1_048_576
    assert lines["min.insync.replicas"] == "1"


async def test_a_reader_seeks_before_it_reads_even_where_the_group_stored_other_offsets(kafka_store: Store) -> None:
    log = await kafka_store.open()
    writer = log.writer()
    await writer.append([event(number, partition=1) for number in range(50)])
    stale = AIOKafkaConsumer(
        bootstrap_servers=kafka_store.address, group_id=kafka_store.prefix + "engine", enable_auto_commit=False
    )
    await stale.start()
    partition = KafkaPartition(kafka_store.prefix + EVENTS, 1)
    stale.assign([partition])
    await stale.commit({partition: 45})
    await stale.stop()

    class Slow(Engine):
        async def assigned(self, partitions: frozenset[int]) -> dict[TopicPartition, int]:
            await asyncio.sleep(0.5)
            return dict(await super().assigned(partitions))

    reader = await Slow(stored={TopicPartition(EVENTS, 1): 20}).join(log)
    found = await take(reader, 30)
    assert [record.offset for record in found[TopicPartition(EVENTS, 1)]] == list(range(20, 50))


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "no-such-host.invalid:9092"])
async def test_an_unreachable_cluster_gives_a_typed_error_within_the_deadline(address: str) -> None:
    log = KafkaEventLog(address.format(port=free_port()), lambda: 0)
    async with asyncio.timeout(15):
        with pytest.raises(LogUnavailable, match="Apache Kafka at"):
            await log.start()
        await log.close()


async def test_what_listens_but_is_no_kafka_gives_a_typed_error_within_the_deadline() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await reader.read(10)
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    log = KafkaEventLog(f"127.0.0.1:{port}", lambda: 0)
    async with server, asyncio.timeout(15):
        with pytest.raises(LogUnavailable):
            await log.start()
        await log.close()
