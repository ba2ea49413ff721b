"""The models that describe the native route, and the route, agree on every event; its description is complete."""

import json
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import ValidationError

from ingest.documentation import WRITE_KEY_SCHEME, add_door_documentation
from ingest.domain.cloud_mapping import mapped
from ingest.domain.cloudevents import read_event
from ingest.domain.judging import judge
from ingest.domain.native_admission import NativeAdmission, Parcel
from ingest.domain.recent import Recent
from ingest.errors import Unacceptable
from ingest.native import PATH
from ingest.native_documentation import BEARER_SCHEME, NATIVE_REFUSALS, add_native_documentation
from schemas.cloudevents import CloudEvent, Receipt
from schemas.problems import PROBLEM_CONTENT_TYPE, PROBLEMS
from tests.unit.ingest.requests import REQUEST

PLAUSIBLE = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "Signed In", "subject": "ada"}
VALUES: st.SearchStrategy[Any] = st.sampled_from(
    [None, "", "x", " ", "a\nb", "a\x85", "é", 0, 7, -(2**31), 2**31, True, 1.5, [], {}, ["x"], {"a": 1}]
)
LONG = st.sampled_from(["s" * 1_024, "s" * 1_025])
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "specversion": VALUES | st.sampled_from(["1.0", "0.3", "2.0", 1.0]),
    "source": VALUES | LONG | st.sampled_from(["/parcours/x", "/sources/shop"]),
    "data_base64": VALUES | st.sampled_from(["YQ==", "YQ", "Y===", "Y Q="]),
    **dict.fromkeys(("id", "type", "subject", "time", "datacontenttype", "dataschema", "groupid", "data"), VALUES),
    **dict.fromkeys(("ext1", "sequence", "userId", "a_b", "a-b", "", "é1", "DATA"), VALUES),
}


@st.composite
def events(draw: st.DrawFn) -> Any:
    """An event that would do, with at most three attributes that may not."""
    event: dict[str, Any] = dict(PLAUSIBLE)
    for field in draw(st.lists(st.sampled_from([*FIELDS]), max_size=3, unique=True)):
        event[field] = draw(FIELDS[field])
    for field in draw(st.lists(st.sampled_from([*event]), max_size=1)):
        del event[field]
    return draw(st.sampled_from([event, event, event, event, [event], "event", None]))


def described(raw: bytes) -> bool:
    try:
        CloudEvent.model_validate_json(raw)
    except ValidationError:
        return False
    return True


def taken(raw: bytes) -> bool:
    try:
        read_event(raw)
    except Unacceptable:
        return False
    return True


@pytest.mark.timeout(120)
@settings(deadline=None, derandomize=True, max_examples=1_000)
@given(events())
def test_the_route_takes_what_the_model_describes_and_nothing_else(event: Any) -> None:
    raw = json.dumps(event).encode()
    assert taken(raw) is described(raw)


def test_the_examples_in_the_documentation_are_accepted() -> None:
    for example in CloudEvent.model_json_schema()["examples"]:
        found = mapped(read_event(json.dumps(example).encode()))
        judge(found.fields, found.value, REQUEST)


@settings(deadline=None, derandomize=True)
@given(st.lists(events(), max_size=4))
def test_every_receipt_is_as_the_model_describes_it(sent: list[Any]) -> None:
    items = [json.dumps(event).encode() for event in sent]
    admission = NativeAdmission(Parcel(items, single=False), REQUEST, Recent())
    while admission.admit():
        pass
    receipt = json.loads(json.dumps(admission.receipt()))
    found = Receipt.model_validate(receipt, strict=True)
    assert found.model_dump(exclude_unset=True) == receipt
    assert [each.index for each in found.events] == list(range(len(sent)))
    assert found.accepted + found.duplicates + len(found.rejected) == len(sent)


def test_the_example_of_a_receipt_is_one() -> None:
    for example in Receipt.model_json_schema()["examples"]:
        Receipt.model_validate(example, strict=True)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    app = FastAPI(title="Parcours", version="1")
    add_door_documentation(app)
    add_native_documentation(app)
    first = app.openapi()
    assert app.openapi() == first
    return first


def test_the_document_is_valid_openapi(document: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(document).validate()


def test_the_route_is_described_with_every_mode_and_way_to_send_the_key(document: dict[str, Any]) -> None:
    operation = document["paths"][PATH]["post"]
    assert operation["security"] == [{WRITE_KEY_SCHEME: []}, {BEARER_SCHEME: []}]
    assert set(operation["requestBody"]["content"]) == {
        "application/cloudevents+json", "application/cloudevents-batch+json", "application/json",
    }  # fmt: skip
    assert {each["name"] for each in operation["parameters"]} >= {"ce-id", "ce-source", "Idempotency-Key"}


def test_every_described_refusal_stands_in_the_table_under_its_status(document: dict[str, Any]) -> None:
    answers = document["paths"][PATH]["post"]["responses"]
    assert set(answers) == {"202", *map(str, NATIVE_REFUSALS)}
    for status, answer in answers.items():
        if status == "202":
            continue
        for code, example in answer["content"][PROBLEM_CONTENT_TYPE]["examples"].items():
            assert PROBLEMS[code].status == int(status) == example["value"]["status"]
            assert example["value"]["code"] == code
