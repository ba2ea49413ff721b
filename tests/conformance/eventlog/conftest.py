"""The two adapters, side by side."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.eventlog import kafka, kafka_reader
from services.eventlog.port import EventLog
from tests.conformance.eventlog.support import Store


@pytest.fixture(autouse=True)
def quick_heartbeats_and_patient_writers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Members hear of a rebalance at their next heartbeat; the tests need not wait the usual seconds for it.

    On the other hand a busy machine may need longer than a user should wait for an append.
    """
    monkeypatch.setattr(kafka_reader, "HEARTBEAT_MS", 200)
    monkeypatch.setattr(kafka, "APPEND_SECONDS", 15.0)


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Where the logs of one test lie, for each adapter."""
    if request.param == "embedded":
        store = Store.embedded(tmp_path)
    else:
        server = request.getfixturevalue("kafka_server")
        store = Store.kafka(server.bootstrap_servers, request.getfixturevalue("kafka_prefix"))
    yield store
    await store.close()


@pytest.fixture
async def log(store: Store) -> EventLog:
    """A started log with its topics."""
    return await store.open()


@pytest.fixture
async def kafka_store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """A store on Apache Kafka, for what only that adapter has to do."""
    server = request.getfixturevalue("kafka_server")
    store = Store.kafka(server.bootstrap_servers, request.getfixturevalue("kafka_prefix"))
    yield store
    await store.close()


@pytest.fixture
async def embedded_store(tmp_path: Path) -> AsyncIterator[Store]:
    """A store in a file, for what only that adapter has to do."""
    store = Store.embedded(tmp_path)
    yield store
    await store.close()
