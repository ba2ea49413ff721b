"""The models that describe the door and the parser that is the door agree on every event."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ingest.domain.judging import CALLS, Accepted
from schemas.events import INBOUND, Batch
from tests.unit.ingest.requests import REQUEST, verdict

LONG = st.sampled_from(["x" * 128, "x" * 129, "x" * 255, "x" * 256, "x" * 512, "x" * 513, "é" * 256, "é" * 257])
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=4)
IDS = st.sampled_from(["ada", "7", "user:ada", "", " ", "a\nb", "a\x85"]) | TEXT | LONG
NAMES = (
    st.sampled_from(["Signed In", "$identify", "$group", "$alias", "$stage:default", "$pageview", "", " "])
    | TEXT
    | LONG
)
TIMES = st.sampled_from(
    ["2026-11-03T10:00:00.000Z", "2026-11-03T10:00:00", "2026-02-30T10:00:00.000Z", "0001-01-01T00:00:00Z", "", "now"]
)
VALUES: st.SearchStrategy[Any] = st.sampled_from([None, True, False, 0, 7, -1, 10**30, 1.5, 1.0, [], {}, [1], {"a": 1}])
OBJECTS = st.sampled_from(
    [{}, {"a": [1, {"b": None}]}, {str(n): n for n in range(1_000)}, {str(n): n for n in range(1_001)}]
)
CONTEXTS = st.fixed_dictionaries({}, optional={"groupId": IDS | VALUES, "traits": OBJECTS | VALUES, "ip": VALUES})
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "messageId": IDS | VALUES,
    "anonymousId": IDS | VALUES,
    "event": NAMES | VALUES,
    "groupId": IDS | VALUES,
    "previousId": IDS | VALUES,
    "timestamp": TIMES | VALUES,
    "originalTimestamp": TIMES | VALUES,
    "sentAt": TIMES | VALUES,
    "properties": OBJECTS | VALUES,
    "traits": OBJECTS | VALUES,
    "context": CONTEXTS | VALUES,
    "integrations": VALUES,
    "somethingElse": VALUES,
}
PLAUSIBLE = {"userId": "ada", "event": "Signed In", "groupId": "acme", "previousId": "7f"}


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    """An event that would do, with at most three fields that may not."""
    event: dict[str, Any] = dict(PLAUSIBLE)
    for field in draw(st.lists(st.sampled_from([*FIELDS, "userId"]), max_size=3, unique=True)):
        event[field] = draw(FIELDS.get(field, IDS | VALUES))
    for field in draw(st.lists(st.sampled_from([*event]), max_size=1)):
        del event[field]
    return event


def described(call: str, raw: bytes) -> bool:
    try:
        INBOUND[call].model_validate_json(raw)
    except ValidationError:
        return False
    return True


def test_every_call_is_described() -> None:
    assert set(INBOUND) == set(CALLS)


@pytest.mark.timeout(120)
@settings(deadline=None, derandomize=True, max_examples=600)
@given(st.sampled_from(sorted(CALLS)), st.booleans(), events())
def test_the_door_accepts_what_the_model_describes_and_nothing_else(
    call: str, typed: bool, event: dict[str, Any]
) -> None:
    if typed:
        event["type"] = call
    # A field that another one goes before is not looked at.
    if event.get("timestamp") is not None:
        event.pop("originalTimestamp", None)
    if call == "group" and isinstance(event.get("context"), dict):
        event["context"].pop("groupId", None)
    raw = msgspec.json.encode(event)
    found = verdict(raw, REQUEST._replace(call=call, received_at=4_000_000_000_000))
    assert isinstance(found, Accepted) is described(call, raw), found


@pytest.mark.parametrize("call", INBOUND)
def test_the_examples_in_the_documentation_are_accepted(call: str) -> None:
    schema = INBOUND[call].model_json_schema()
    for example in schema["examples"]:
        assert isinstance(verdict(example, REQUEST._replace(call=call)), Accepted)


def test_the_example_of_a_batch_is_accepted() -> None:
    for example in Batch.model_json_schema()["examples"]:
        Batch.model_validate(example)
        for event in example["batch"]:
            assert isinstance(verdict(event), Accepted)
