"""What cannot be is refused in one sentence with a way out and exit code 2, before anything runs."""

import logging
import os
import resource
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.cli import main
from services.storage.data_folder import DataFolder, DataFolderUnwritable
from services.storage.database import SCHEMA_VERSION
from tests.support.servers import KafkaAddress, PostgresAddress

NOBODY_LISTENS = "127.0.0.1:9"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """A folder of its own, no settings from outside, and the test run's own logging afterwards."""
    for name in list(os.environ):
        ours = name.startswith("PARCOURS_") and not name.startswith("PARCOURS_TEST_")
        if ours or name in ("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS"):
            monkeypatch.delenv(name)
    root = Path(__file__).resolve().parents[3]
    monkeypatch.setenv("PARCOURS_DEFINITIONS_DIR", str(root / "definitions"))
    monkeypatch.setenv("PARCOURS_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("PARCOURS_PORT", "0")
    monkeypatch.chdir(tmp_path)
    handlers, level = tuple(logging.getLogger().handlers), logging.getLogger().level
    yield monkeypatch
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a refused command says: one line (returned without the program's name), exit code 2, no trace."""
    assert main(list(arguments)) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert "Traceback" not in line
    assert line.startswith("parcours: ")
    return line.removeprefix("parcours: ")


def test_a_taken_port_names_its_holder_and_another_port(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        environment.setenv("PARCOURS_PORT", str(port))
        said = refused(capsys, "run")
    assert said.startswith(f"Port {port} is already taken by process {os.getpid()} (")
    assert said.endswith(f"Choose another one, for example PORT={port + 1}. [port_taken]")


def test_an_address_of_another_machine_cannot_be_listened_on(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("PARCOURS_HOST", "192.0.2.1")
    assert "Choose others with HOST= and PORT=. [cannot_listen]" in refused(capsys, "run")


def test_a_data_folder_that_cannot_be_made_is_named(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    environment.setenv("PARCOURS_DATA_DIR", str(tmp_path / "file"))
    assert f"{tmp_path}/file is a file. Remove it, or choose another folder with DATA_DIR=." in refused(capsys, "run")
    environment.setenv("PARCOURS_DATA_DIR", str(tmp_path / "file" / "below"))
    assert "cannot be made: not a directory." in refused(capsys, "run")


def test_a_data_folder_that_cannot_be_written_to_is_named(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setattr("os.access", lambda *_: False)
    said = refused(capsys, "run")
    assert "data is not writable. Give this user the right and the room to write there" in said
    assert said.endswith("[data_folder_unwritable]")


def test_a_lock_that_cannot_be_taken_is_said_with_a_way_out(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "data" / "lock").mkdir(parents=True)
    said = refused(capsys, "run")
    assert "data is not writable: is a directory. Give this user the right and the room to write there" in said
    assert said.endswith("[data_folder_unwritable]")


def test_a_start_without_room_for_a_byte_is_refused_with_a_way_out(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(DataFolderUnwritable, match=r"is not writable: .* the right and the room to write there"):
            DataFolder(tmp_path / "data").lock()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_data_folder_in_use_names_the_process(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    other = DataFolder(tmp_path / "data")
    other.lock()
    said = refused(capsys, "run")
    assert f"data is already in use by process {os.getpid()}. Stop that one first" in said
    other.unlock()


def test_data_of_a_newer_version_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["migrate"]) == 0
    with sqlite3.connect(tmp_path / "data" / "notifier.db") as connection:
        connection.execute("UPDATE schema_version SET version = ?", (SCHEMA_VERSION + 1,))
    connection.close()
    capsys.readouterr()
    said = refused(capsys, "run")
    assert "notifier.db was written by a newer version of Parcours" in said
    assert said.endswith("[storage_newer]")


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("PARCOURS_PORT", "many", "PARCOURS_PORT must be a whole number from 0 to 65535, not 'many'."),
        ("PARCOURS_SETTLE", "5", "PARCOURS_SETTLE: A duration is a whole number and one of ms, s, m, h, d, w"),
        ("PARCOURS_LOG_LEVEL", "loud", "PARCOURS_LOG_LEVEL must be one of"),
        ("PARCOURS_SMTP_URL", "http://mail", "PARCOURS_SMTP_URL must look like smtp://"),
        ("DATABASE_URL", "postgresql://host/name", "belong together: set both, or neither."),
        ("DATABASE_URL", "parcours", "DATABASE_URL must be an address like postgresql://"),
        (
            "KAFKA_BOOTSTRAP_SERVERS",
            "127.0.0.1:abc",
            "must be addresses like host1:9092,host2:9092, not '127.0.0.1:abc'",
        ),
        ("KAFKA_BOOTSTRAP_SERVERS", ",", "KAFKA_BOOTSTRAP_SERVERS must be addresses like"),
        ("KAFKA_BOOTSTRAP_SERVERS", "http://host:9092", "KAFKA_BOOTSTRAP_SERVERS must be addresses like"),
        ("KAFKA_BOOTSTRAP_SERVERS", "host:70000", "KAFKA_BOOTSTRAP_SERVERS must be addresses like"),
    ],
)
def test_a_wrong_setting_is_named(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str, sentence: str
) -> None:
    environment.setenv(name, value)
    assert sentence in refused(capsys, "run")


@pytest.mark.parametrize("service", ["ingest", "stage-engine", "segmenter", "notifier"])
def test_a_service_on_its_own_needs_the_servers(capsys: pytest.CaptureFixture[str], service: str) -> None:
    assert "set KAFKA_BOOTSTRAP_SERVERS and DATABASE_URL. [needs_cluster]" in refused(capsys, service)


def test_definitions_that_do_not_validate_are_named_line_by_line(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for kind in ("lifecycles", "segments"):
        (tmp_path / kind).mkdir()
    wrong = "lifecycle: x\nversion: 1\nsubject: user\ntracks:\n  stage:\n    initial: nowhere\n    stages: {a: {}}\n"
    (tmp_path / "lifecycles" / "x.yaml").write_text(wrong)
    (tmp_path / "lifecycles" / "y.yaml").write_text("lifecycle: [\n")
    environment.setenv("PARCOURS_DEFINITIONS_DIR", str(tmp_path))
    assert main(["run"]) == 2
    first, second = sorted(capsys.readouterr().err.splitlines())
    assert first.startswith(f"parcours: {tmp_path}/lifecycles/x.yaml:6:14: The track `stage` has no stage `nowhere`.")
    assert second.startswith(f"parcours: {tmp_path}/lifecycles/y.yaml:2:")
    assert "Traceback" not in first + second


def test_a_missing_definitions_folder_is_named(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    environment.setenv("PARCOURS_DEFINITIONS_DIR", str(tmp_path / "nowhere"))
    assert "There is no such folder. Set PARCOURS_DEFINITIONS_DIR" in refused(capsys, "run")


def test_verify_of_nothing_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert "There is no data in" in refused(capsys, "verify")


@pytest.mark.parametrize("command", ["run", "ingest", "migrate"])
def test_an_unreachable_database_is_named_without_its_password(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    environment.setenv("DATABASE_URL", f"postgresql://someone:hidden@{NOBODY_LISTENS}/name")
    environment.setenv("KAFKA_BOOTSTRAP_SERVERS", NOBODY_LISTENS)
    said = refused(capsys, command)
    assert "hidden" not in said
    assert f"postgresql://someone:***@{NOBODY_LISTENS}/name cannot be reached: " in said
    assert said.endswith("Check that it runs, and check DATABASE_URL. [storage_unreachable]")


def test_a_database_of_another_kind_is_refused(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("DATABASE_URL", "mysql://someone:hidden@host/name")
    environment.setenv("KAFKA_BOOTSTRAP_SERVERS", NOBODY_LISTENS)
    said = refused(capsys, "run")
    assert "DATABASE_URL must be an address like postgresql://user:password@host:5432/name. [" in said
    assert "hidden" not in said


def test_a_wrong_database_is_refused(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], postgres_server: PostgresAddress
) -> None:
    environment.setenv("DATABASE_URL", postgres_server.url.rpartition("/")[0] + "/no_such_database")
    environment.setenv("KAFKA_BOOTSTRAP_SERVERS", NOBODY_LISTENS)
    assert 'database "no_such_database" does not exist. Create the database' in refused(capsys, "run")


def test_an_unreachable_broker_is_named(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], postgres_server: PostgresAddress
) -> None:
    environment.setenv("DATABASE_URL", postgres_server.url)
    environment.setenv("KAFKA_BOOTSTRAP_SERVERS", NOBODY_LISTENS)
    said = refused(capsys, "ingest")
    assert NOBODY_LISTENS in said
    assert "Check that it runs, and check KAFKA_BOOTSTRAP_SERVERS." in said
    assert said.endswith("[log_unavailable]")


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_cluster_without_topics_and_tables_points_to_migrate(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    kafka: KafkaAddress = request.getfixturevalue("kafka_server")
    environment.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap_servers)
    environment.setenv("PARCOURS_TOPIC_PREFIX", request.getfixturevalue("kafka_prefix"))
    environment.setenv("DATABASE_URL", request.getfixturevalue("fresh_database")())
    assert "Create them with `parcours migrate`. [storage_missing]" in refused(capsys, "stage-engine")
    assert main(["migrate"]) == 0
    created = capsys.readouterr().out.splitlines()
    assert "created topic parcours.events" in created
    assert "created table stage_engine_activity" in created
    assert main(["migrate"]) == 0
    assert capsys.readouterr().out == "Nothing to create: all topics and tables are there.\n"
    environment.setenv("PARCOURS_EVENTS_RETENTION", "7d")
    assert "retention.ms" in refused(capsys, "migrate")
    environment.delenv("PARCOURS_EVENTS_RETENTION")
    environment.setenv("PARCOURS_PARTITIONS", "5")
    assert "partitions" in refused(capsys, "segmenter")
