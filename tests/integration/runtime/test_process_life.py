"""`parcours run` as a process: it drains when told to stop, and fails loudly in one sentence."""

import contextlib
import http.client
import json
import os
import signal
import sqlite3
import threading
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.services import CHECKOUT, Service

AUTHORIZATION = {"Authorization": "Basic " + b64encode(b"wk:").decode()}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A process on a fresh data folder; not started yet."""
    settings = {
        "PARCOURS_DATA_DIR": str(tmp_path / "data"),
        "PARCOURS_DEFINITIONS_DIR": str(CHECKOUT / "definitions"),
        "PARCOURS_WRITE_KEY": "wk",
        "PARCOURS_API_TOKEN": "pt",
        "PARCOURS_SETTLE": "0ms",
    }
    made = Service("run", ["run"], settings, tmp_path)
    yield made
    made.discard()


def post(port: int, number: int) -> bool:
    """Post one event; whether it was acknowledged."""
    body = json.dumps({"messageId": f"m-{number}", "userId": f"c-{number % 10}", "event": "Signed In"})
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("POST", "/v1/track", body, AUTHORIZATION)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def rows(folder: Path, database: str, query: str) -> list[tuple[object, ...]]:
    """What a database of a stopped system holds."""
    with contextlib.closing(sqlite3.connect(folder / "data" / database)) as connection:
        return connection.execute(query).fetchall()


@pytest.mark.timeout(120)
def test_a_process_that_is_told_to_stop_finishes_what_it_acknowledged(service: Service, tmp_path: Path) -> None:
    service.start()
    service.wait_ready()
    acknowledged: list[int] = []
    stop = threading.Event()

    def flow() -> None:
        for number in range(100_000):
            if stop.is_set():
                return
            if post(service.port, number):
                acknowledged.append(number)

    flowing = threading.Thread(target=flow)
    flowing.start()
    while len(acknowledged) < 50:
        stop.wait(0.01)
    service.drain()
    stop.set()
    flowing.join()
    stored = {row[0] for row in rows(tmp_path, "stage_engine.db", "SELECT message_id FROM stage_engine_activity")}
    read = rows(tmp_path, "stage_engine.db", "SELECT sum(next_offset) FROM positions WHERE topic = 'parcours.events'")
    kept = rows(tmp_path, "log.db", "SELECT sum(next_offset) FROM streams WHERE topic = 'parcours.events'")
    assert len(acknowledged) <= int(str(kept[0][0]))
    assert len(stored) == read[0][0]
    assert rows(tmp_path, "stage_engine.db", "SELECT count(*) FROM outbox") == [(0,)]


@pytest.mark.timeout(120)
def test_a_process_that_fails_while_it_runs_says_why_in_one_sentence(service: Service, tmp_path: Path) -> None:
    service.start()
    service.wait_ready()
    service.drain()
    with contextlib.closing(sqlite3.connect(tmp_path / "data" / "segmenter.db")) as connection, connection:
        connection.execute("UPDATE relays SET highest = 0, published_through = 0")
    lines_before = len(service.log_path.read_text().splitlines())
    service.start()
    while (code := service.ended_by_itself()) is None:
        threading.Event().wait(0.02)
    assert code == 1
    said = service.log_path.read_text().splitlines()[lines_before:]
    assert said[-1].startswith("parcours: ")
    assert said[-1].endswith("[history_lost]")
    assert not any("Traceback" in line for line in said)


@pytest.mark.timeout(120)
def test_a_second_process_on_the_same_folder_names_the_first(service: Service, tmp_path: Path) -> None:
    service.start()
    service.wait_ready()
    settings = {"PARCOURS_DATA_DIR": str(tmp_path / "data"), "PARCOURS_DEFINITIONS_DIR": str(CHECKOUT / "definitions")}
    second = Service("second", ["run"], settings, tmp_path)
    second.start()
    while (code := second.ended_by_itself()) is None:
        threading.Event().wait(0.02)
    assert code == 2
    (line,) = second.log_path.read_text().splitlines()
    assert f"is already in use by process {service.pid}. Stop that one first" in line
    assert service.get("/readyz")[0] == 200
    os.kill(service.pid, signal.SIGINT)
    while (code := service.ended_by_itself()) is None:
        threading.Event().wait(0.02)
    assert code == 0
