"""All golden traces come out exactly, posted over HTTP to the running system: as a history at once, and as lived."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from schemas.times import DAY, parse_instant
from tests.support.inside import Inside, inside
from tests.support.services import CHECKOUT

TRACES: list[dict[str, Any]] = json.loads((CHECKOUT / "tests" / "data" / "golden" / "golden-traces.json").read_text())
NUMBER_OF_TRACES = 13
ACCOUNTS = "saas_trial"
SEGMENTS = "segments"
VERY_LATE = {("B", "m0017"): parse_instant("2025-06-10T00:00:00.000Z")}
"""Trace B: the sign-in of day 50 arrives on day 160."""

COLUMNS = {
    "effective_at": "effective_at",
    "track": "track",
    "ordinal": "ordinal",
    "step": "step",
    "from": "from_stage",
    "to": "to_stage",
    "transition": "transition",
    "reason": "reason",
    "cause": "cause",
}

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def definitions(tmp_path: Path) -> Path:
    """All four models at work at once."""
    folder = tmp_path / "definitions"
    shutil.copytree(CHECKOUT / "definitions", folder)
    for example in (folder / "examples").glob("*.yaml"):
        shutil.copy(example, folder / "lifecycles")
    return folder


def _customer(trace: dict[str, Any]) -> str:
    return f"golden-{trace['name']}"


def _subject(trace: dict[str, Any]) -> str:
    kind = "account" if trace["model"] == ACCOUNTS else "user"
    return f"{kind}:{_customer(trace)}"


def _posted(trace: dict[str, Any]) -> list[tuple[int, bytes]]:
    """The events of a trace with the instants (ms) of their arrival; an account's come from one of its users."""
    found = []
    for event in trace["events"]:
        named = {**event, "userId": _customer(trace)}
        if trace["model"] == ACCOUNTS:
            named |= {"userId": f"user-of-{_customer(trace)}", "context": {"groupId": _customer(trace)}}
        arrival = VERY_LATE.get((trace["name"], event["messageId"]), parse_instant(event["timestamp"]))
        found.append((arrival, json.dumps(named).encode()))
    return found


def _came_out(system: Inside, trace: dict[str, Any]) -> list[dict[str, Any]]:
    """The standing transitions up to the trace's instant, each with the fields that the trace gives."""
    engine, prefix = ("segmenter", "segmenter_") if trace["model"] == SEGMENTS else ("stage_engine", "stage_engine_")
    rows = system.state.rows(
        engine,
        f"SELECT {', '.join(COLUMNS.values())} FROM {prefix}transitions WHERE subject = '{_subject(trace)}'"
        f" AND lifecycle = '{trace['model']}' AND superseded_at IS NULL"
        f" AND effective_at <= {parse_instant(trace['as_of'])}",
    )
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


def _wanted(trace: dict[str, Any]) -> list[dict[str, Any]]:
    return [{**each, "effective_at": parse_instant(each["effective_at"])} for each in trace["expected"]]


def _in_order(transitions: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(transitions, key=lambda each: (each["effective_at"], each["track"], each["ordinal"]))


def _check(system: Inside) -> int:
    """Compare every trace; returns how many were compared."""
    compared = 0
    for trace in TRACES:
        came_out, wanted = _in_order(_came_out(system, trace)), _in_order(_wanted(trace))
        assert came_out == wanted, f"trace {trace['name']}: {trace['note']}"
        assert {each["track"]: each["to"] for each in came_out} == trace["final"], f"trace {trace['name']}"
        compared += 1
    return compared


async def test_all_13_golden_traces_come_out_exactly_when_posted_as_history(tmp_path: Path, definitions: Path) -> None:
    latest = max(parse_instant(trace["as_of"]) for trace in TRACES)
    async with inside(tmp_path / "data", latest + DAY, definitions) as system:
        for trace in TRACES:
            assert await system.post([event for _, event in _posted(trace)]) == 200
        await system.rest()
        await system.silence()
        assert _check(system) == NUMBER_OF_TRACES


@pytest.mark.slow
async def test_all_13_golden_traces_come_out_exactly_when_lived_day_by_day(tmp_path: Path, definitions: Path) -> None:
    days: dict[int, list[tuple[int, bytes]]] = {}
    for trace in TRACES:
        for arrival, event in _posted(trace):
            days.setdefault(arrival // DAY, []).append((arrival, event))
        days.setdefault(parse_instant(trace["as_of"]) // DAY, [])
    async with inside(tmp_path / "data", min(days) * DAY, definitions) as system:
        for day in sorted(days):
            system.clock.set((day + 1) * DAY)
            if events := [event for _, event in sorted(days[day], key=lambda each: each[0])]:
                assert await system.post(events) == 200
            await system.rest()
        await system.silence()
        assert _check(system) == NUMBER_OF_TRACES
        # The late sign-in of trace B came after its customer had been found lost: that was taken back.
        superseded = system.state.rows(
            "stage_engine",
            "SELECT to_stage FROM stage_engine_transitions WHERE subject = 'user:golden-B' AND lifecycle = 'default'"
            " AND superseded_at IS NOT NULL AND track = 'stage' ORDER BY effective_at",
        )
        assert [row[0] for row in superseded][:4] == ["at_risk", "churned", "won_back", "advocacy"]
