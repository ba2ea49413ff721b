"""Fixtures for real servers: Apache Kafka and PostgreSQL, one of each per run, whatever the number of workers.

`kafka_server` and `postgres_server` use KAFKA_BOOTSTRAP_SERVERS and DATABASE_URL when these are set, and start servers
from packages otherwise. A server that cannot be had skips its tests with the reason; with CI=true it fails them.
`fresh_database` and `kafka_prefix` keep the tests that share a server apart. Tests that kill or pause a server take
`own_kafka_server` or `own_postgres_server`, which belong to one test module.
"""

import fcntl
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeVar
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from localservers import KafkaServer, LocalServerFailed, PostgresServer

__all__ = ["KafkaAddress", "PostgresAddress", "fresh_database", "kafka_prefix", "kafka_server", "own_kafka_server"]
__all__ += [
    "own",
    "own_postgres_server",
    "postgres_server",
    "pytest_collection_finish",
    "pytest_collection_modifyitems",
]
__all__ += ["pytest_configure", "pytest_unconfigure"]

_FOLDER = "PARCOURS_TEST_SERVERS"
_FIXTURES = {
    "kafka": {"kafka_server", "kafka_prefix", "own_kafka_server", "secured_kafka"},
    "postgres": {"postgres_server", "fresh_database", "own_postgres_server", "secured_postgres"},
}
_EXTERNAL = {"kafka": "KAFKA_BOOTSTRAP_SERVERS", "postgres": "DATABASE_URL"}
_AnyServer = KafkaServer | PostgresServer
_S = TypeVar("_S", KafkaServer, PostgresServer)


@dataclass(frozen=True)
class KafkaAddress:
    """Where clients reach Apache Kafka: ``host:port``, or several with commas."""

    bootstrap_servers: str


@dataclass(frozen=True)
class PostgresAddress:
    """Where clients reach PostgreSQL; the database of this URL is only for making others."""

    url: str


def pytest_configure(config: pytest.Config) -> None:
    """Give the run one folder in which its workers agree on the servers; only the first process of a run makes it."""
    if not hasattr(config, "workerinput"):
        folder = Path(tempfile.mkdtemp(prefix="parcours-tests-"))
        (folder / "owner").write_text(str(os.getpid()))
        os.environ[_FOLDER] = str(folder)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop what the run started."""
    if hasattr(config, "workerinput"):
        return
    folder = Path(os.environ.pop(_FOLDER))
    for kind in _EXTERNAL:
        if (folder / kind).exists():
            _server(kind, Path((folder / kind).read_text())).discard()
    shutil.rmtree(folder, ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need a server, so that `-m "not kafka"` leaves them out.

    A test that starts a broker of its own may take long on a busy machine.
    """
    for item in items:
        if {"own_kafka_server", "secured_kafka"} & {*getattr(item, "fixturenames", ())} and not item.get_closest_marker(
            "timeout"
        ):
            item.add_marker(pytest.mark.timeout(240))
        for kind, fixtures in _FIXTURES.items():
            if fixtures.intersection(getattr(item, "fixturenames", ())):
                item.add_marker(kind)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start the servers that the chosen tests need before the first test, whose time limit is not meant for that."""
    if session.config.option.collectonly:
        return
    for kind, variable in _EXTERNAL.items():
        if not os.environ.get(variable) and any(item.get_closest_marker(kind) for item in session.items):
            _started(kind)


@pytest.fixture(scope="session")
def kafka_server() -> KafkaAddress:
    """The Apache Kafka of this run. Never kill or pause it: others use it at the same time."""
    if external := os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        return KafkaAddress(external)
    return KafkaAddress(KafkaServer(_folder_or_skip("kafka")).bootstrap_servers)


@pytest.fixture(scope="session")
def postgres_server() -> PostgresAddress:
    """The PostgreSQL of this run. Never kill or pause it: others use it at the same time."""
    if external := os.environ.get("DATABASE_URL"):
        return PostgresAddress(external)
    return PostgresAddress(PostgresServer(_folder_or_skip("postgres")).url)


@pytest.fixture
def kafka_prefix(kafka_server: KafkaAddress) -> str:
    """A prefix for the topics, groups and transactions of one test (for `KafkaEventLog`)."""
    return f"t{uuid.uuid4().hex[:12]}-"


@pytest.fixture
def fresh_database(postgres_server: PostgresAddress) -> Iterator[Callable[[], str]]:
    """Makes empty databases: each call returns the URL of a new one. They are dropped after the test."""
    made: list[str] = []

    def make() -> str:
        name = f"t_{uuid.uuid4().hex[:16]}"
        with psycopg.connect(postgres_server.url, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        made.append(name)
        return urlsplit(postgres_server.url)._replace(path=f"/{name}").geturl()

    yield make
    if made:
        with psycopg.connect(postgres_server.url, autocommit=True) as connection:
            for name in made:
                connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def own_kafka_server() -> Iterator[KafkaServer]:
    """An Apache Kafka that belongs to this module, to kill, pause and start again. The test sees to it that it runs."""
    with own(KafkaServer(for_tests=True)) as server:
        yield server


@pytest.fixture(scope="module")
def own_postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL that belongs to this module, to kill, pause and start again. The test sees to it that it runs."""
    with own(PostgresServer()) as server:
        yield server


@contextmanager
def own(server: _S) -> Iterator[_S]:
    """The server, started and discarded at the end; without it the test is skipped, or fails with CI=true."""
    try:
        try:
            server.start()
        except LocalServerFailed as error:
            _skip_or_fail(str(error))
        yield server
    finally:
        server.discard()


def _server(kind: str, folder: Path | None = None) -> _AnyServer:
    return KafkaServer(folder, for_tests=True) if kind == "kafka" else PostgresServer(folder, synced=False)


def _started(kind: str) -> Path | str:
    """The folder of the run's server of that kind, started by whoever asks first, or why it cannot be had."""
    run = Path(os.environ[_FOLDER])
    place, failure = run / kind, run / f"{kind}.failure"
    with (run / f"{kind}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if failure.exists():
            return failure.read_text()
        if not place.exists():
            server = _server(kind)
            place.write_text(str(server.folder))
            try:
                server.start(int((run / "owner").read_text()))
            except LocalServerFailed as error:
                failure.write_text(str(error))
                return str(error)
        return Path(place.read_text())


def _folder_or_skip(kind: str) -> Path:
    found = _started(kind)
    if isinstance(found, str):
        _skip_or_fail(found)
    return found


def _skip_or_fail(reason: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
