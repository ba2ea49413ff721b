"""What the SDKs for Go, Java and browsers put on the wire, byte for byte, against the door on a real socket."""

import base64
import gzip
import json
import logging
from collections.abc import Sequence
from typing import Final

import pytest

from schemas.records import header, read_envelope
from schemas.times import parse_instant
from schemas.topics import EVENTS, REJECTED, ROUTED
from tests.integration.ingest.serving import Served
from tests.support.sdk_calls import arrived

BASIC: Final = "Authorization: Basic " + base64.b64encode(b"good:").decode()
ARRIVAL: Final = "2024-02-29T09:30:01.000Z"
BOTH: Final = ["context", "integrations"]
HAPPENED: Final = parse_instant("2024-02-29T09:30:00.123Z")

SEGMENT_GO: Final = (
    (
        b'{"type":"identify","messageId":"g1","userId":"ada","timestamp":"2024-02-29T15:00:00.123456789+05:30",'
        b'"traits":{"email":"ada@example.com","score":1e+21,"seats":3}}'
    ),
    (
        b'{"type":"track","messageId":"g2","userId":"ada","event":"Order Completed",'
        b'"timestamp":"2024-02-29T15:00:00.1234+05:30","properties":{"markup":"\\u003cb\\u003e","revenue":42.5}}'
    ),
    (
        b'{"type":"page","messageId":"g3","anonymousId":"7f","name":"Start",'
        b'"timestamp":"2024-02-29T15:00:00.12345678+05:30"}'
    ),
    (b'{"type":"group","messageId":"g4","userId":"ada","groupId":"acme","timestamp":"2024-02-29T15:00:00.123+05:30"}'),
    (b'{"type":"alias","messageId":"g5","previousId":"7f","userId":"ada","timestamp":"2024-02-29T04:30:00.123-05:00"}'),
)
SEGMENT_GO_BODY: Final = (
    b'{"messageId":"of-the-envelope","sentAt":"2024-02-29T15:00:00.9+05:30","batch":['
    + b",".join(SEGMENT_GO)
    + b'],"context":{"library":{"name":"analytics-go","version":"3.0.0"}}}'
)
SEGMENT_GO_LINES: Final = (
    "User-Agent: analytics-go (version: 3.0.0)",
    BASIC,
    "Content-Type: application/json",
    "Accept-Encoding: gzip",
)

SEGMENT_JAVA: Final = (
    (
        b'{"type":"identify","messageId":"j1","timestamp":"2024-02-29T09:30:00.123Z","userId":"ada","integrations":{},'
        b'"traits":{"name":"Ada \\u0026 Co"}}'
    ),
    (
        b'{"type":"track","messageId":"j2","timestamp":"2024-02-29T09:30:00.123Z","context":{"groupId":"acme"},'
        b'"anonymousId":"7f","userId":"ada","integrations":{"Mail":false},"event":"Order Completed",'
        b'"properties":{"revenue":42.0,"items":[1,2]}}'
    ),
)
SEGMENT_JAVA_BODY: Final = (
    b'{"batch":['
    + b",".join(SEGMENT_JAVA)
    + b'],"sentAt":"2024-02-29T09:30:00.900Z","context":{"library":{"name":"analytics-java","version":"3.5.4"},'
    b'"instanceId":"bd22203b-84bf-42be-8a2d-2852ee8c2b63"},"sequence":1,"writeKey":"good"}'
)
SEGMENT_JAVA_LINES: Final = (
    "User-Agent: analytics-java/3.5.4",
    "Content-Type: application/json; charset=UTF-8",
    "Accept-Encoding: gzip",
)

RUDDER_GO: Final = tuple(
    b'{"type":"track","messageId":"r%d","anonymousId":"%d0000000-aaaa-4bbb-8ccc-dddddddddddd","userId":"ada",'
    b'"event":"Feature Used","originalTimestamp":"2024-02-29T15:00:00.123456789+05:30",'
    b'"sentAt":"2024-02-29T15:00:00.9+05:30","context":{"library":{"name":"analytics-go","version":"4.2.1"}},'
    b'"properties":{"n":%d},"channel":"server"}' % (number, number, number)
    for number in range(6)
)
RUDDER_GO_LINES: Final = (
    "User-Agent: analytics-go (version: 4.2.1)",
    BASIC,
    "Content-Encoding: gzip",
    "Content-Type: application/json",
    *("Rs-Nodecount: 1", "Rs-Targetnode: 0", "Rs-Useragent: serverSDK"),
    "Accept-Encoding: gzip",
)

RUDDER_JAVA: Final = tuple(
    b'{"type":"track","messageId":"v%d","channel":"server","timestamp":"2024-02-29T09:30:00.123Z","context":{"library":'
    b'{"name":"analytics-java","version":"3.1.2"}},"userId":"ada","integrations":{},"event":"Order Completed",'
    b'"properties":{"revenue":42.5}}' % number
    for number in range(3)
)
RUDDER_JAVA_BODY: Final = (
    b'{"batch":['
    + b",".join(RUDDER_JAVA)
    + b'],"sentAt":"2024-02-29T09:30:00.900Z","context":{"library":{"name":"analytics-java","version":"3.1.2"}},'
    b'"sequence":1}'
)
RUDDER_JAVA_LINES: Final = (
    "Content-Encoding: gzip",
    BASIC,
    "User-Agent: analytics-java/3.1.2",
    "Content-Type: application/json",
    "Accept-Encoding: gzip",
)

RUDDER_BROWSER: Final = (
    b'{"channel":"web","type":"track","event":"Signed In","userId":"ada","anonymousId":"7f","messageId":"b1",'
    b'"originalTimestamp":"2024-02-29T09:30:00.123Z","sentAt":"2024-02-29T09:30:00.900Z","properties":{"n":1},'
    b'"context":{"traits":{"plan":"pro"},"sessionId":1709199000123},"integrations":{"All":true}}'
)


def request_bytes(path: str, lines: Sequence[str], body: bytes) -> bytes:
    """A request with these header lines and a length."""
    head = [f"POST {path} HTTP/1.1", "Host: door.test", *lines, f"Content-Length: {len(body)}", "Connection: close"]
    return "\r\n".join([*head, "", ""]).encode() + body


def chunked_bytes(path: str, lines: Sequence[str], body: bytes, size: int) -> list[bytes]:
    """A request without a length: its head, and its body in pieces of `size`."""
    head = [f"POST {path} HTTP/1.1", "Host: door.test", *lines, "Transfer-Encoding: chunked", "Connection: close"]
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    chunks = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (*pieces, b"")]
    return ["\r\n".join([*head, "", ""]).encode(), *chunks]


def batch(events: Sequence[bytes], rest: bytes = b"") -> bytes:
    """The events between the brackets of a batch; `rest` is what stands beside it."""
    return b'{"batch":[' + b",".join(events) + b"]" + rest + b"}"


def assert_success(answer: bytes) -> None:
    """Exactly what every SDK takes for a success: 200, JSON, and this body."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), answer
    assert b"content-type: application/json" in head.lower()
    assert body == b'{"success": true}'


async def assert_unchanged(served: Served, events: Sequence[bytes]) -> None:
    """Each event stands on the topic once, as the bytes that were sent, at the time that it states."""
    found = arrived(await served.records(EVENTS))
    assert {message_id: record.value for message_id, record in found.items()} == {
        json.loads(event)["messageId"]: event for event in events
    }
    assert {read_envelope(record).occurred_at for record in found.values()} == {HAPPENED}
    assert {header(record.headers, "ce_flags") for record in found.values()} == {None}
    assert await served.records(REJECTED) == []


@pytest.fixture(autouse=True)
def arrival(served: Served) -> None:
    """Everything arrives a second after it happened."""
    served.now = parse_instant(ARRIVAL)


async def test_segment_go_with_nanoseconds_and_the_local_offset(served: Served) -> None:
    assert_success(await served.raw(request_bytes("/v1/batch", SEGMENT_GO_LINES, SEGMENT_GO_BODY)))
    await assert_unchanged(served, SEGMENT_GO)


@pytest.mark.parametrize("path", ["/v1/import/", "/v1/import"])
async def test_segment_java_with_the_key_in_the_body_alone(served: Served, path: str) -> None:
    assert_success(await served.raw(request_bytes(path, SEGMENT_JAVA_LINES, SEGMENT_JAVA_BODY)))
    await assert_unchanged(served, SEGMENT_JAVA)
    (copy,) = await served.records(ROUTED)
    assert (header(copy.headers, "ce_subject"), copy.value) == ("account:acme", SEGMENT_JAVA[1])


@pytest.mark.parametrize(
    ("path", "lines", "body", "shared"),
    [
        ("/v1/batch", SEGMENT_GO_LINES, SEGMENT_GO_BODY, ["context"]),
        ("/v1/import/", SEGMENT_JAVA_LINES, SEGMENT_JAVA_BODY, ["context"]),
        ("/v1/batch", [BASIC], RUDDER_JAVA_BODY, ["context"]),
        ("/v1/batch", [BASIC], batch(RUDDER_GO), []),
        ("/v1/batch", [BASIC], batch(SEGMENT_JAVA, b', "context" : {"n":1.50},"integrations":{"All":false}'), BOTH),
        ("/v1/batch", [BASIC], batch(SEGMENT_JAVA, b',"context":null,"integrations":{}'), []),
    ],
    ids=["segment-go", "segment-java", "rudder-java", "rudder-go", "both", "empty"],
)
async def test_what_stands_around_a_batch_for_all_its_events_goes_along_with_each(
    served: Served, path: str, lines: Sequence[str], body: bytes, shared: list[str]
) -> None:
    assert_success(await served.raw(request_bytes(path, lines, body)))
    around = json.loads(body)
    records = [*await served.records(EVENTS), *await served.records(ROUTED)]
    assert len(records) >= len(around["batch"])
    for record in records:
        kept = header(record.headers, "parcours_envelope")
        assert (json.loads(kept) if kept is not None else {}) == {name: around[name] for name in shared}


@pytest.mark.parametrize("size", [1, 7, 4_096])
async def test_rudder_java_with_gzip_in_chunks_and_no_length(served: Served, size: int) -> None:
    body = gzip.compress(RUDDER_JAVA_BODY)
    assert_success(await served.raw(*chunked_bytes("/v1/batch", RUDDER_JAVA_LINES, body, size)))
    await assert_unchanged(served, RUDDER_JAVA)


async def test_rudder_go_makes_one_customer_of_a_new_anonymous_id_for_every_event(served: Served) -> None:
    body = gzip.compress(batch(RUDDER_GO))
    assert_success(await served.raw(request_bytes("/v1/batch", RUDDER_GO_LINES, body)))
    await assert_unchanged(served, RUDDER_GO)
    records = await served.records(EVENTS)
    assert {header(record.headers, "ce_subject") for record in records} == {"user:ada"}
    assert len({(record.partition, record.key) for record in records}) == 1


async def test_the_same_request_again_repeats_the_same_ids_and_bytes(served: Served) -> None:
    for _ in range(2):
        assert_success(await served.raw(request_bytes("/v1/import/", SEGMENT_JAVA_LINES, SEGMENT_JAVA_BODY)))
    records = await served.records(EVENTS)
    assert len(records) == 4
    found = arrived(records, repeated=True)
    assert {message_id: record.value for message_id, record in found.items()} == {
        "j1": SEGMENT_JAVA[0],
        "j2": SEGMENT_JAVA[1],
    }


async def test_gos_zero_time_is_kept_apart_and_its_neighbors_are_taken(served: Served) -> None:
    zero = b'{"type":"track","messageId":"z1","timestamp":"0001-01-01T00:00:00Z","userId":"ada","event":"Signed In"}'
    body = batch([SEGMENT_GO[0], zero, SEGMENT_GO[1]])
    assert_success(await served.raw(request_bytes("/v1/batch", [BASIC], body)))
    assert set(arrived(await served.records(EVENTS))) == {"g1", "g2"}
    (apart,) = await served.records(REJECTED)
    assert (header(apart.headers, "ce_reason"), apart.value) == ("invalid_timestamp", zero)


@pytest.mark.parametrize(
    "written",
    [
        "2024-02-29t09:30:00.123z",
        "2024-02-29T09:30:00.123Z",
        "2024-02-29T09:30:00.123+00:00",
        "2024-02-29T09:30:00.123456+00:00",
        "2024-02-29T09:30:00.123456789Z",
        "2024-02-29T09:30:00.123",
        "2024-02-29T23:29:00.1230+13:59",
    ],
)
async def test_a_time_is_read_however_an_sdk_writes_it(served: Served, written: str) -> None:
    event = b'{"type":"track","messageId":"t1","userId":"ada","event":"Signed In","timestamp":"%s"}' % written.encode()
    assert_success(await served.raw(request_bytes("/v1/batch", [BASIC], batch([event]))))
    await assert_unchanged(served, [event])


@pytest.mark.parametrize("path", ["/v1/track", "/v1/t"])
async def test_rudder_browser_with_its_own_headers(served: Served, path: str) -> None:
    lines = [BASIC, "Content-Type: application/json;charset=UTF-8", "AnonymousId: N2Y=", "Origin: http://shop.test"]
    lines += ["SentAt: 2024-02-29T09:30:00.900Z"]
    assert_success(await served.raw(request_bytes(path, lines, RUDDER_BROWSER)))
    await assert_unchanged(served, [RUDDER_BROWSER])


async def test_a_beacon_brings_its_key_in_the_address_and_its_cookies_stay_out_of_the_log(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    lines = ["Content-Type: text/plain;charset=UTF-8", "Origin: http://shop.test", "Sec-Fetch-Mode: no-cors"]
    lines += ["Cookie: rl_trait=c2VjcmV0LW9mLWFkYQ"]
    bad = b'{"type":"shout","messageId":"b2","userId":"ada"}'
    body = batch([RUDDER_BROWSER, bad], b',"sentAt":"2024-02-29T09:30:00.900Z"')
    with caplog.at_level(logging.DEBUG):
        assert_success(await served.raw(request_bytes("/beacon/v1/batch?writeKey=good", lines, body)))
        refused = await served.raw(request_bytes("/beacon/v1/batch?writeKey=not-this-one", lines, body))
    assert refused.startswith(b"HTTP/1.1 401 ")
    assert set(arrived(await served.records(EVENTS))) == {"b1"}
    # The access log is off; it speaks here only because this fixture listens to loggers without a handler, too.
    said = " ".join(str(record.__dict__) for record in caplog.records if record.name != "uvicorn.access")
    assert "ingest.unknown_write_key" in said
    assert "c2VjcmV0LW9mLWFkYQ" not in said
    assert "not-this-one" not in said


@pytest.mark.parametrize(
    "line",
    [
        "Authorization: Bearer an-oauth-token",
        "Authorization: Basic " + base64.b64encode(b'good:""').decode(),
        "Authorization: Basic " + base64.b64encode(b"good").decode(),
        "Authorization: basic " + base64.b64encode(b"good:anything").decode(),
        "Authorization: Basic " + base64.b64encode(b":").decode(),
    ],
)
async def test_every_way_to_say_the_key_is_understood(served: Served, line: str) -> None:
    body = batch([SEGMENT_JAVA[0]], b',"writeKey":"good"')
    assert_success(await served.raw(request_bytes("/v1/batch", [line], body)))
    await assert_unchanged(served, [SEGMENT_JAVA[0]])


async def test_a_batch_of_the_largest_size_that_an_sdk_sends_is_taken_whole(served: Served) -> None:
    filler = b"x" * 31_000
    events = [
        b'{"type":"track","messageId":"L%d","timestamp":"2024-02-29T09:30:00.123Z","userId":"ada","event":"Big",'
        b'"properties":{"filler":"%s"}}' % (number, filler)
        for number in range(132)
    ]
    body = batch(events)
    assert 4_000_000 < len(body) < 4 * 1_024 * 1_024
    lines = [BASIC, "Content-Encoding: gzip"]
    assert_success(await served.raw(request_bytes("/v1/batch", lines, gzip.compress(body))))
    await assert_unchanged(served, events)
