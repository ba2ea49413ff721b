"""`parcours verify` over a real system: it holds, and every kind of damage is seen."""

import asyncio
import contextlib
import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from schemas.records import Record
from schemas.times import DAY, format_instant
from schemas.topics import EVENTS, STAGE_CHANGES
from services.cli import build_parser
from services.commands_verify import run_verify
from services.eventlog.embedded import EmbeddedEventLog
from services.eventlog.port import TopicPartition
from services.processes.all_in_one import running_system
from services.runtime.clock import SystemClock
from services.settings import Settings
from tests.integration.runtime.conftest import until

ROOT = Path(__file__).resolve().parents[3]
NAMES = ("Page Viewed", "Signed In", "Order Completed", "Feature Used")
CUSTOMERS = 10
AGES = (40, 10, 30, 3)
CLOCK = SystemClock()


def settings_in(folder: Path) -> Settings:
    """The embedded shape in a folder."""
    return Settings(
        port=0, data_dir=folder, definitions_dir=ROOT / "definitions", write_key="wk", settle=0, settle_history=0
    )


async def live(settings: Settings) -> None:
    """Run a system through which customers' events go, in order and late, and which has stopped."""
    now = CLOCK.now()
    posted = 0

    def read() -> bool:
        return all(
            sum(part.positions[EVENTS] for part in parts) == posted
            and all((*part.lag.values(), part.waiting, part.outbox) == (0,) * (len(part.lag) + 2) for part in parts)
            for parts in [worker.health().partitions for worker in system.workers]
        )

    async with (
        running_system(settings) as system,
        httpx.AsyncClient(base_url=system.address, trust_env=False) as http,
    ):
        for age in AGES:
            batch = [
                {
                    "type": "track",
                    "messageId": f"{customer}-{age}-{number}",
                    "userId": f"customer-{customer}",
                    "event": name,
                    "properties": {"revenue": 5},
                    "timestamp": format_instant(now - age * DAY + number),
                }
                for customer in range(CUSTOMERS)
                for number, name in enumerate(NAMES)
            ]
            answer = await http.post("/v1/batch", content=json.dumps({"batch": batch}), auth=("wk", ""))
            assert answer.status_code == 200
            posted += len(batch)
            await until(read)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a system that has stopped."""
    folder = tmp_path_factory.mktemp("verify") / "data"
    asyncio.run(live(settings_in(folder)))
    return folder


@pytest.fixture
def folder(lived: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(lived, tmp_path / "data")
    return tmp_path / "data"


Verify = Callable[[Path], tuple[int, dict[str, int], dict[str, int]]]


@pytest.fixture
def verify(capsys: pytest.CaptureFixture[str]) -> Verify:
    """Runs the command; exit code, counts, and failures by check."""

    def run(folder: Path) -> tuple[int, dict[str, int], dict[str, int]]:
        code = run_verify(build_parser().parse_args(["verify", "--json"]), settings_in(folder))
        answer = json.loads(capsys.readouterr().out)
        failures = {name: number for name, number in answer["failures"].items() if number}
        assert answer["holds"] == (not failures)
        assert len(answer["violations"]) >= len(failures)
        return code, answer["counts"], failures

    return run


def damage(database: Path, statement: str) -> None:
    """Change a database behind the system's back."""
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        assert connection.execute(statement).rowcount > 0


async def append_again(folder: Path, topic: str, *, renamed: bool) -> None:
    """Append the last record of the first partition that has any once more, as it is or under another event id."""
    log = EmbeddedEventLog(folder / "log.db", CLOCK.now)
    await log.start()
    for partition in range(4):
        if records := await log.read(TopicPartition(topic, partition), 0, 10_000):
            record = next(record for record in reversed(records) if record.key != b"progress")
            headers = record.headers
            if renamed:
                headers = tuple((name, b"never-stored" if name == "ce_id" else value) for name, value in headers)
            again = Record(topic, partition, record.key, record.value, headers, record.timestamp)
            assert await log.writer().append([again]) == [None]
            break
    await log.close()


def test_a_healthy_system_holds_and_says_what_it_counted(folder: Path, verify: Verify) -> None:
    code, counts, failures = verify(folder)
    assert (code, failures) == (0, {})
    assert counts["accepted events"] == CUSTOMERS * len(AGES) * len(NAMES)
    assert counts["customers refolded (stage_engine)"] == CUSTOMERS
    assert counts["customers refolded (segmenter)"] == CUSTOMERS
    assert counts["corrections"] > 0
    assert counts["transitions added"] - counts["transitions retracted"] == counts["standing transitions"]
    assert counts["records still ahead"] == 0


def test_a_lost_event_is_seen(folder: Path, verify: Verify) -> None:
    damage(folder / "stage_engine.db", "DELETE FROM stage_engine_activity WHERE message_id = '4-30-2'")
    code, _, failures = verify(folder)
    assert (code, failures.get("accepted")) == (1, 1)


def test_an_event_whose_position_was_skipped_is_seen(folder: Path, verify: Verify) -> None:
    asyncio.run(append_again(folder, EVENTS, renamed=True))
    assert verify(folder)[1]["records still ahead"] == 1
    damage(
        folder / "stage_engine.db",
        f"UPDATE positions SET next_offset = next_offset + 1 WHERE topic = '{EVENTS}' AND next_offset > 0",
    )
    code, _, failures = verify(folder)
    assert (code, failures) == (1, {"accepted": 1})


def test_a_lost_transition_is_seen(folder: Path, verify: Verify) -> None:
    damage(
        folder / "stage_engine.db",
        "DELETE FROM stage_engine_transitions WHERE superseded_at IS NULL AND transition <> 'initial'",
    )
    code, _, failures = verify(folder)
    assert code == 1
    assert failures["standing"] >= CUSTOMERS
    assert failures["journeys"] == CUSTOMERS


def test_a_state_that_the_events_do_not_fold_to_is_seen(folder: Path, verify: Verify) -> None:
    damage(
        folder / "stage_engine.db",
        "UPDATE stage_engine_subjects SET counted_to = counted_to + 31536000000 WHERE subject = 'user:customer-3'",
    )
    code, _, failures = verify(folder)
    assert (code, failures) == (1, {"journeys": 1})


def test_a_change_that_is_published_twice_is_seen(folder: Path, verify: Verify) -> None:
    asyncio.run(append_again(folder, STAGE_CHANGES, renamed=False))
    code, _, failures = verify(folder)
    assert code == 1
    assert failures.keys() == {"sequences", "changes"}


def test_a_gap_in_the_sequences_is_seen(folder: Path, verify: Verify) -> None:
    damage(folder / "stage_engine.db", "UPDATE relays SET highest = highest + 1, published_through = highest + 1")
    code, _, failures = verify(folder)
    assert code == 1
    assert failures == {"sequences": 4}


def test_the_findings_are_printed_for_people(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage(folder / "stage_engine.db", "DELETE FROM stage_engine_activity WHERE message_id = '4-30-2'")
    assert run_verify(build_parser().parse_args(["verify", "--customers", "2"]), settings_in(folder)) == 1
    said = capsys.readouterr().out.splitlines()
    assert "         160  accepted events" in said
    assert "           2  customers refolded (segmenter)" in said
    assert "     1 WRONG  no accepted event is missing" in said
    assert "          ok  sequences are dense, each exactly once" in said
    assert any(line.startswith("accepted: The event at parcours.events/") for line in said)
