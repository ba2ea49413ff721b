"""`parcours lifecycle simulate` and `check`: the traces through the command line, and what is refused."""

import argparse
import gzip
import io
import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest

from services.commands_lifecycle import add_lifecycle_commands
from services.errors import ServiceError, sentence_of
from services.settings import load_settings
from tests.support.models import DATA, MODELS, golden_traces

DEFAULT = str(DATA / "models" / "default.yaml")
ORDER: dict[str, Any] = {
    "type": "track",
    "event": "Order Completed",
    "timestamp": "2025-01-01T00:00:00Z",
    "messageId": "m1",
}


SHIPPED = Path(__file__).resolve().parents[3] / "definitions"


def run(*arguments: str, definitions: Path = SHIPPED) -> int:
    parser = argparse.ArgumentParser()
    add_lifecycle_commands(parser.add_subparsers(required=True))
    parsed = parser.parse_args(["lifecycle", *arguments])
    code: int = parsed.command(parsed, load_settings({"PARCOURS_DEFINITIONS_DIR": str(definitions)}))
    return code


def printed(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def written(path: Path, events: list[dict[str, Any]]) -> str:
    text = "".join(json.dumps(event) + "\n" for event in events)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return str(path)


@pytest.mark.parametrize("suffix", [".ndjson", ".ndjson.gz"])
@pytest.mark.parametrize("trace", golden_traces(), ids=[trace["name"] for trace in golden_traces()])
def test_every_golden_trace_comes_out_of_simulate(
    trace: dict[str, Any], suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events = list(trace["events"]) + trace["events"][:3]
    random.Random(5).shuffle(events)
    file = written(tmp_path / f"events{suffix}", events)
    assert run("simulate", str(DATA / "models" / f"{trace['model']}.yaml"), file, "--as-of", trace["as_of"]) == 0
    rows = printed(capsys)
    assert [{key: row[key] for key in trace["expected"][0]} for row in rows] == trace["expected"]
    assert {row["track"]: row["to"] for row in rows} == trace["final"]


def test_many_customers_are_folded_apart_and_named_as_in_the_api(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events = [
        {**ORDER, "userId": "u-1"},
        {**ORDER, "userId": 7, "messageId": "m2"},
        {**ORDER, "anonymousId": "a", "messageId": "m3", "timestamp": "2025-01-01"},
        {**ORDER, "userId": "user:x", "anonymousId": "a", "messageId": "m4"},
    ]
    assert run("simulate", DEFAULT, written(tmp_path / "e.ndjson", events)) == 0
    rows = printed(capsys)
    assert [row["customer"] for row in rows[::3]] == ["u-1", "7", "anon:a", "user:user:x"]
    assert len(rows) == 12


def test_events_of_an_account_are_those_that_name_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    event: dict[str, Any] = {
        "type": "track",
        "event": "Trial Started",
        "timestamp": "2025-01-01T00:00:00Z",
        "userId": "u",
    }
    events = [
        {**event, "messageId": "1", "context": {"groupId": "acme"}},
        {"type": "group", "groupId": "acme", "timestamp": "2024-12-31T00:00:00Z", "messageId": "2", "userId": "u"},
        {**event, "messageId": "3"},
    ]
    model = str(DATA / "models" / "saas_trial.yaml")
    assert run("simulate", model, written(tmp_path / "e.ndjson", events)) == 0
    out = capsys.readouterr()
    rows = [json.loads(line) for line in out.out.splitlines()]
    assert [(row["customer"], row["to"], row["cause"]) for row in rows] == [
        ("account:acme", "lead", "2"),
        ("account:acme", "trialing", "1"),
    ]
    assert out.err == "parcours: 1 lines name no account and were left out.\n"
    assert run("simulate", model, written(tmp_path / "f.ndjson", events[2:])) == 0
    assert [row["customer"] for row in printed(capsys)] == ["u", "u"]


def test_an_event_may_have_any_name_that_the_catalog_beside_the_definitions_knows_for_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events = written(tmp_path / "e.ndjson", [{**ORDER, "userId": "u", "event": "purchase"}])
    assert run("simulate", DEFAULT, events) == 0
    assert [row["to"] for row in printed(capsys)] == ["awareness", "outside", "adoption"]
    assert run("simulate", DEFAULT, events, definitions=tmp_path) == 0
    assert [row["to"] for row in printed(capsys)] == ["awareness", "outside"]


def test_events_can_come_from_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    body = json.dumps(ORDER).encode() + b"\n\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(body)))
    assert run("simulate", DEFAULT, "-", "--as-of", "2025-01-08T00:00:00Z") == 0
    assert [row["to"] for row in printed(capsys)] == ["awareness", "outside", "adoption", "at_risk"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"{", "e.ndjson:1: This is no event"),
        (b"\n[]", "e.ndjson:2: This is no event"),
        (b"\xff", "e.ndjson:1: This is no event"),
        (b'{"type": "track", "event": "X"}', "e.ndjson:1: This is no event"),
        (b'{"type": "track", "event": "X", "timestamp": "yesterday"}', "e.ndjson:1: The time is not RFC 3339"),
        (b'{"type": "track", "event": "X", "timestamp": "2025-02-30"}', "e.ndjson:1: The time names a day"),
        (b'{"type": "track", "timestamp": "2025-02-03"}', "e.ndjson:1: A track call names its event"),
        (b'{"type": "track", "event": "$stage:x", "timestamp": "2025-02-03"}', "e.ndjson:1: A track call names"),
        (b'{"type": "trick", "event": "X", "timestamp": "2025-02-03"}', "e.ndjson:1: The type is none of track"),
        (b'{"type": "page", "userId": " ", "timestamp": "2025-02-03"}', "e.ndjson:1: The id is empty"),
        (b'{"type": "page", "userId": {}, "timestamp": "2025-02-03"}', "e.ndjson:1: This is no event"),
        (b'{"type": "page", "traits": ' + b"[" * 100_000, "e.ndjson:1: "),
        (b" " * 1_100_000, "e.ndjson:1: The line is longer than 1 MiB"),
    ],
)
def test_a_line_that_is_no_event_is_refused_with_its_number(content: bytes, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "e.ndjson"
    path.write_bytes(content)
    with pytest.raises(ServiceError) as refused:
        run("simulate", DEFAULT, str(path))
    assert sentence in sentence_of(refused.value)
    assert "\n" not in str(refused.value)


def test_files_that_are_not_there_or_cut_off_are_refused_in_a_sentence(tmp_path: Path) -> None:
    cut = tmp_path / "cut.ndjson.gz"
    cut.write_bytes(gzip.compress(json.dumps(ORDER).encode() * 99)[:-9])
    plain = tmp_path / "plain.gz"
    plain.write_bytes(b"{}")
    for path, sentence in [
        (str(cut), "is not a complete gzip file"),
        (str(plain), "is not a complete gzip file"),
        (str(tmp_path), "is a folder"),
        (str(tmp_path / "none"), "There is no file"),
    ]:
        with pytest.raises(ServiceError, match=sentence):
            run("simulate", DEFAULT, path)
    with pytest.raises(ServiceError, match="There is no file"):
        run("simulate", str(tmp_path / "none.yaml"), str(plain))
    with pytest.raises(ServiceError, match="--as-of"):
        run("simulate", DEFAULT, str(plain), "--as-of", "soon")


def test_check_prints_every_mistake_with_its_place_and_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("lifecycle: x\nversion: 1\nsubject: user\ntracks: {t: {initial: a, stages: {b: {}}}}\n")
    assert run("check", *(str(DATA / "models" / f"{name}.yaml") for name in MODELS)) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(MODELS)
    assert run("check", str(bad)) == 2
    assert capsys.readouterr().err == (
        f"parcours: {bad}:4:23: The track `t` has no stage `a`. It has: b. [invalid_definition]\n"
    )
    assert run("simulate", str(bad), "-") == 2


def test_a_circle_without_end_is_refused_in_a_sentence(tmp_path: Path) -> None:
    model = tmp_path / "circle.yaml"
    model.write_text(
        "lifecycle: x\nversion: 1\nsubject: user\ntracks: {t: {initial: a, stages: {a: {}, b: {}}, transitions: "
        "[{id: there, from: a, to: b, after: 1ms}, {id: back, from: b, to: a, after: 1ms}]}}\n"
    )
    events = written(tmp_path / "e.ndjson", [ORDER])
    with pytest.raises(ServiceError, match="in a circle without end"):
        run("simulate", str(model), events, "--as-of", "2025-06-01")
