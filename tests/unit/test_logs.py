"""Lines of the log: for people, or one JSON object each; libraries stay quiet."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from schemas.times import parse_instant
from services.processes.logs import configure_logging


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """The test run's own logging afterwards."""
    root = logging.getLogger()
    handlers, level = tuple(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def written(form: str, monkeypatch: pytest.MonkeyPatch, level: str = "INFO", **fields: object) -> list[str]:
    """What the log says of one event and of one failure."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    configure_logging(level, form)
    log = logging.getLogger("services.anything")
    log.info("stage.entered", extra=fields)
    try:
        raise LookupError("ada@example.com")
    except LookupError:
        log.exception("http.failed")
    return stream.getvalue().splitlines()


def test_a_line_of_text_has_time_level_name_and_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = written("text", monkeypatch, stage="adoption", note="a b\nc")
    time, rest = first.split(" ", 1)
    assert parse_instant(time) > 0
    assert rest == "INFO    stage.entered stage=adoption note='a b\\nc'"
    assert second.endswith("ERROR   http.failed kind=LookupError")


def test_a_json_line_is_one_object_with_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = written("json", monkeypatch, stage="adoption", note="a b\nc", partitions=[1, 2], where={"a"})
    first, second = (dict[str, Any](json.loads(line)) for line in lines)
    assert parse_instant(first.pop("time")) > 0
    assert first == {
        "level": "INFO",
        "event": "stage.entered",
        "stage": "adoption",
        "note": "a b\nc",
        "partitions": [1, 2],
        "where": "{'a'}",
    }
    assert (second["event"], second["kind"]) == ("http.failed", "LookupError")
    assert "trace" not in second


def test_a_trace_follows_only_at_debug(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "ada@example.com" not in "".join(written("text", monkeypatch) + written("json", monkeypatch))
    assert any("Traceback" in line for line in written("text", monkeypatch, "DEBUG"))
    assert "Traceback" in json.loads(written("json", monkeypatch, "DEBUG")[1])["trace"]
