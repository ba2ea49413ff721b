"""Whatever a sender calls an event, a definition that asks for it means it."""

from typing import Any

import msgspec
import pytest

from behavior import Event, Names, StaleState, State, compile_definition, fold
from schemas.times import parse_instant
from tests.support.models import as_trace, definition, definition_file, golden_traces, trace_events

TRACES = golden_traces()


def other(name: str) -> str:
    """What another sender calls an event."""
    return name.lower().replace(" ", "_")


def names_of(trace: dict[str, Any]) -> Names:
    return Names({other(event["event"]): event["event"] for event in trace["events"] if event["event"][0] != "$"})


def renamed(event: Event) -> Event:
    return event if event.name.startswith("$") else msgspec.structs.replace(event, name=other(event.name))


@pytest.mark.parametrize("trace", TRACES, ids=[trace["name"] for trace in TRACES])
def test_a_trace_comes_out_the_same_under_other_names(trace: dict[str, Any]) -> None:
    compiled = compile_definition(definition_file(trace["model"]), names_of(trace))
    events, until = trace_events(trace), parse_instant(trace["as_of"])
    assert as_trace(fold(compiled, events, until)[1]) == trace["expected"]
    assert as_trace(fold(compiled, [renamed(event) for event in events], until)[1]) == trace["expected"]
    mixed = [renamed(event) if number % 2 else event for number, event in enumerate(events)]
    assert as_trace(fold(compiled, mixed, until)[1]) == trace["expected"]


def test_without_other_names_nothing_changes() -> None:
    plain = definition("default")
    for names in (None, Names(), Names({"Lamp Lit": "Lamp Switched On"})):
        compiled = compile_definition(definition_file("default"), names)
        assert compiled.stamp == plain.stamp == plain.hash
        assert set(compiled.plans) == set(plain.plans)


def test_a_definition_may_ask_by_any_of_the_names() -> None:
    names = Names({"Logged In": "Signed In", "login": "Signed In"})
    assert names.all_of(["login", "Order Completed"]) == {"Signed In", "Logged In", "login", "Order Completed"}
    assert names.spread({"Logged In": 2}) == {"Signed In": 2, "Logged In": 2, "login": 2}
    assert names.spread({"Signed In": 2, "login": 5})["login"] == 5


def test_a_state_that_was_folded_without_a_name_is_folded_anew() -> None:
    file, name = definition_file("default"), "Logged In"
    before, after = compile_definition(file), compile_definition(file, Names({name: "Signed In"}))
    assert (before.hash, before.stamp) == (after.hash, after.hash)
    state, _ = fold(before, [Event(1, "m1", name)], 2)
    with pytest.raises(StaleState):
        State.load(after, state.dump())
    assert after.touches(name)
    assert not before.touches(name)
