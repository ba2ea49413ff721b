"""What a start says: no key in what can be pasted, and the first event told once the engine has applied it."""

import shlex
from pathlib import Path

import pytest

from ingest.ports import FirstEvent
from schemas.language import load_definition
from services.runtime.clock import ManualClock
from services.settings import Settings
from services.storage.first_keys import Created
from services.web import first_minute
from services.web.catalog import Catalog
from services.web.first_minute import WAITING, Applied, FirstMinute, Welcome, curl_line
from tests.unit.demo.models import DEFAULT

ADDRESS = "http://127.0.0.1:8080"
CATALOG = Catalog([load_definition(DEFAULT.read_bytes())])
EVENT = FirstEvent("Order Completed", "user:ada", "analytics-python", "2.4.0")


class Reads:
    """Knows what became of the event only after some questions."""

    catalog = CATALOG

    def __init__(self, answer: Applied | None, after: int = 0) -> None:
        self.answer = answer
        self.questions: list[tuple[str, str, int]] = []
        self._after = after

    def applied(self, subject: str, event: str, since: int) -> Applied | None:
        """The answer, late."""
        self.questions.append((subject, event, since))
        return self.answer if len(self.questions) > self._after else None


async def told(reads: Reads, event: FirstEvent = EVENT) -> list[str]:
    """The lines said about a first event."""
    said: list[str] = []
    minute = FirstMinute(reads, ManualClock(1000), said.append)
    minute.on_first_event(event)
    await minute.told()
    return said


async def test_the_first_event_is_told_with_sdk_customer_and_stages_once_it_is_applied() -> None:
    reads = Reads(Applied("default", "stage", "decision", "adoption"), after=2)
    assert await told(reads) == [
        "first event: Order Completed (analytics-python 2.4.0), customer ada, stage Decision -> Adoption"
    ]
    assert reads.questions == [("user:ada", "Order Completed", 1000)] * 3


async def test_a_new_customer_had_no_stage_before_and_a_sender_may_name_no_sdk() -> None:
    said = await told(
        Reads(Applied("default", "stage", None, "awareness")), FirstEvent("Page Viewed", "anon:7f", None, None)
    )
    assert said == ["first event: Page Viewed (no SDK named), customer anon:7f, stage new -> Awareness"]


async def test_an_event_that_no_engine_applies_is_given_up_and_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(first_minute, "_LOOK_EVERY", 0.001)
    monkeypatch.setattr(first_minute, "_LOOK_TIMES", 3)
    said: list[str] = []
    minute = FirstMinute(Reads(None), ManualClock(0), said.append)
    minute.on_first_event(EVENT)
    await minute.told()
    assert "first_event.not_applied" in caplog.text
    assert said == []


async def test_an_event_that_was_sent_before_an_earlier_stop_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_minute, "_LOOK_EVERY", 0.001)
    monkeypatch.setattr(first_minute, "_LOOK_TIMES", 3)
    reads = Reads(Applied("default", "stage", None, "adoption"), after=3)
    (said,) = await told(reads)
    assert said.endswith("customer ada, stage new -> Adoption (sent before)")
    assert [since for _, _, since in reads.questions] == [1000, 1000, 1000, 0]


async def test_the_log_is_told_of_the_first_event_without_its_customer(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    minute = FirstMinute(Reads(Applied("default", "stage", "decision", "adoption")), ManualClock(1000), None)
    minute.on_first_event(EVENT)
    await minute.told()
    (record,) = (record for record in caplog.records if record.name == first_minute.__name__)
    assert record.message == "first_event.applied"
    assert vars(record)["name_of_event"] == "Order Completed"
    assert vars(record)["stage"] == "adoption"
    assert "ada" not in str(vars(record))


def made(folder: Path) -> Created:
    """What a first start makes."""
    (folder / "credentials.env").write_text("PARCOURS_WRITE_KEY=wk_1\nPARCOURS_API_TOKEN=pt_1\n")
    return Created("wk_1", "pt_1", folder / "credentials.env")


def test_the_line_to_paste_reads_the_key_from_the_file_and_shows_none(tmp_path: Path) -> None:
    folder = tmp_path / "it's here"
    folder.mkdir()
    made(folder)
    line = curl_line(Settings(data_dir=folder), ADDRESS)
    assert "wk_1" not in line
    assert shlex.split(line.strip("()"))[:2] == [".", f"{folder}/credentials.env;"]
    assert f"{ADDRESS}/v1/track" in line


def test_the_line_to_paste_takes_a_key_of_the_environment_from_there(tmp_path: Path) -> None:
    made(tmp_path)
    line = curl_line(Settings(data_dir=tmp_path, write_key="secret"), ADDRESS)
    assert line.startswith('curl -u "$PARCOURS_WRITE_KEY:" ')
    assert "credentials.env" not in line
    assert "secret" not in line


def test_a_first_start_prints_address_keys_their_file_link_and_line(tmp_path: Path) -> None:
    lines = Welcome(Settings(data_dir=tmp_path), ADDRESS, made(tmp_path), "/sign-in/abc").lines()
    text = "\n".join(lines)
    for part in (ADDRESS, "wk_1", "pt_1", str(tmp_path / "credentials.env"), f"{ADDRESS}/sign-in/abc", "/docs", "curl"):
        assert part in text
    assert lines[-1] == WAITING == "waiting for the first event"


def test_a_later_start_prints_no_key_and_one_with_given_keys_names_no_file(tmp_path: Path) -> None:
    path = made(tmp_path).path
    later = "\n".join(Welcome(Settings(data_dir=tmp_path), ADDRESS, Created(None, None, path), "/sign-in/abc").lines())
    assert "wk_1" not in later
    assert str(path) in later
    given = Settings(data_dir=tmp_path, write_key="secret", api_token="secret")
    text = "\n".join(Welcome(given, ADDRESS, Created(None, None, path), "/sign-in/abc").lines())
    assert str(path) not in text
    assert "secret" not in text
    assert "from the environment" in text
