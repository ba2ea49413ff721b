"""The golden traces come out exactly, and they notice when a predicate stops saying when it changes."""

from collections.abc import Callable
from typing import Any

import pytest

from behavior import compile_definition, counting, fold, measuring, standing
from behavior.conditions import Found, Node, leaf
from behavior.state import NEVER, State, TrackState
from schemas.times import parse_instant
from tests.support.models import MODELS, as_trace, definition, definition_file, golden_traces, trace_events

TRACES = golden_traces()


def test_there_are_thirteen_traces() -> None:
    assert len(TRACES) == 13
    assert {trace["model"] for trace in TRACES} == set(MODELS)


@pytest.mark.parametrize("short_cuts", [True, False], ids=["short cuts", "no short cuts"])
@pytest.mark.parametrize("trace", TRACES, ids=[trace["name"] for trace in TRACES])
def test_every_trace_comes_out_field_by_field(trace: dict[str, Any], short_cuts: bool) -> None:
    compiled = definition(trace["model"])
    state, made = fold(compiled, trace_events(trace), parse_instant(trace["as_of"]), short_cuts=short_cuts)
    assert as_trace(made) == trace["expected"]
    assert {track.name: state.track(compiled, track.name).stage for track in compiled.tracks} == trace["final"]


def _deaf(kind: str) -> Callable[..., Node]:
    """A `leaf` whose predicates of one kind never say when their answer changes by itself."""

    def make(name: str, check: Callable[[State, TrackState, int], Found], *rest: Any, **named: Any) -> Node:
        def forgetful(state: State, here: TrackState, at: int) -> Found:
            holds, _, watch = check(state, here, at)
            return holds, NEVER, watch

        return leaf(name, forgetful if name == kind else check, *rest, **named)

    return make


@pytest.mark.parametrize(
    "kind",
    ["count", "did_not", "inactive", "overdue", "ratio", "trend", "score", "date", "stage_age", "in_stage"],
)
def test_a_predicate_that_forgets_its_next_change_breaks_a_trace(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (counting, measuring, standing):
        monkeypatch.setattr(module, "leaf", _deaf(kind))
    compiled = {name: compile_definition(definition_file(name)) for name in MODELS}
    outcomes = [
        as_trace(fold(compiled[trace["model"]], trace_events(trace), parse_instant(trace["as_of"]))[1])
        == trace["expected"]
        for trace in TRACES
    ]
    assert not all(outcomes)
