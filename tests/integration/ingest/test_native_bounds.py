"""What no CloudEvent may do to the door: stall its loop, grow its memory, break it."""

import json

import pytest

from ingest.native import PATH
from tests.integration.ingest.guard import WATCHED, Watched, guarded
from tests.integration.ingest.native_serving import BATCH, EVENT, NativeServed, other, problem_of

FULL = 4 * 1024 * 1024 - 64
PER_EVENT = 400
"""However short an event is, it ends as a record and a receipt: a quarter of what these take."""

SINGLE = "application/cloudevents+json"
HEADERS = {f"ce-{name}": str(value) for name, value in EVENT.items() if name != "data"}


def filled(start: bytes, item: bytes, end: bytes) -> bytes:
    return start + item * ((FULL - len(start) - len(end)) // len(item)) + end


def events_of(item: bytes) -> bytes:
    """As many events of nearly the greatest size as a request may hold, each with another id."""
    head = b'{"specversion":"1.0","id":"%d","source":"/a","type":"T","subject":"ada","data":{"p":['
    data = item * (240_000 // len(item)) + item[:-1]
    return b"[" + b",".join(head % number + data + b"]}}" for number in range(16)) + b"]"


HOSTILE = [
    pytest.param(BATCH, filled(b"[", b"[],", b"[]]"), 413, id="lists as events"),
    pytest.param(BATCH, filled(b"[", b"0,", b"0]"), 413, id="numbers as events"),
    pytest.param(BATCH, filled(b"[", b"{},", b"{}]"), 413, id="objects as events"),
    pytest.param(BATCH, events_of(b"{},"), 202, id="sixteen events of objects"),
    pytest.param(BATCH, events_of(b'{"a":{}},'), 202, id="sixteen events of objects in objects"),
    pytest.param(BATCH, events_of(b'"\\\\",'), 202, id="sixteen events of escapes"),
    pytest.param(BATCH, b"[" + b"{}," * 9_999 + b"{}]", 202, id="ten thousand empty events"),
    pytest.param(BATCH, filled(b'[{"a":[', b"[],", b"[]]}]"), 202, id="lists in an event"),
    pytest.param(BATCH, filled(b'{"a":[', b"[],", b"[]]}"), 400, id="an object for a list"),
    pytest.param(SINGLE, filled(b"[", b"[],", b"[]]"), 400, id="a list for an object"),
    pytest.param(SINGLE, filled(b'{"a":[', b"[],", b"[]]}"), 202, id="lists in the only event"),
    pytest.param(SINGLE, filled(b'{"a":"', b"\\u0061", b'"}'), 202, id="escapes in the only event"),
    pytest.param(SINGLE, json.dumps({**EVENT, "x" * 200_000: 1}).encode(), 202, id="a long name"),
    pytest.param(
        SINGLE, json.dumps({**EVENT, **{f"x{n}": n for n in range(15_000)}}).encode(), 202, id="many attributes"
    ),
    pytest.param(SINGLE, b"{" + b'"id":"1",' * 25_000 + b'"id":"2"}', 400, id="one attribute again and again"),
    pytest.param("application/json", b"[" * FULL, 400, id="brackets"),
    pytest.param("application/json", b'{"a":' * 50_000, 400, id="braces"),
    pytest.param(
        BATCH,
        json.dumps([other(id=str(n), subject=f"u{n}", data={"note": "x" * 900}) for n in range(2_000)]).encode(),
        202,
        id="two thousand events",
    ),
]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("watched", WATCHED)
@pytest.mark.parametrize(("content_type", "body", "status"), HOSTILE)
async def test_a_body_costs_no_more_than_it_should(
    native: NativeServed,
    caplog: pytest.LogCaptureFixture,
    watched: Watched,
    content_type: str,
    body: bytes,
    status: int,
) -> None:
    events = body.count(b"},") if status == 202 else 0
    async with native.client() as client, guarded(native.served, caplog, watched, len(body) + events * PER_EVENT):
        answer = await client.post(PATH, content=body, headers={"content-type": content_type})
    assert answer.status_code == status, answer.text[:300]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("watched", WATCHED)
@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "image/png"])
async def test_data_in_binary_mode_costs_no_more_than_it_should(
    native: NativeServed, caplog: pytest.LogCaptureFixture, watched: Watched, content_type: str
) -> None:
    body = filled(b"[", b"[],", b"[]]")
    async with native.client() as client, guarded(native.served, caplog, watched, len(body)):
        answer = await client.post(PATH, content=body, headers={**HEADERS, "content-type": content_type})
    assert problem_of(answer) == (413, "body_too_large", [])
