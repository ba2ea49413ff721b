"""Bodies, encodings and credentials: one way to be right, and a code for each way to be wrong."""

import base64
import gzip
import json
import random
import tracemalloc
from typing import Any

import pytest

from ingest.domain import parsing
from ingest.domain.admission import Admission
from ingest.domain.encoding import basic_user, decoded
from ingest.domain.limits import MAX_BATCH, MAX_BODY
from ingest.domain.parsing import UNREAD, Body, Envelope, counting, depth_of, is_deeper, json_text, nul_in
from ingest.errors import Refused
from tests.unit.ingest.requests import REQUEST


def parse_event(body: bytes) -> Body:
    return parsing.parse_event(json_text(body))


def parse_batch(body: bytes) -> Body:
    text = json_text(body)
    for _ in counting(text):
        pass
    return parsing.parse_batch(text)


def code_of(parse: object, *arguments: object) -> str:
    with pytest.raises(Refused) as refusal:
        parse(*arguments)  # type: ignore[operator]  # any parser
    return refusal.value.code


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "empty_body"),
        (b" \r\n", "empty_body"),
        (b"\xef\xbb\xbf", "empty_body"),
        (b"{", "invalid_json"),
        (b"{'a':1}", "invalid_json"),
        (b'{"a":undefined}', "invalid_json"),
        (b'{"a":NaN}', "invalid_json"),
        (b'{"a":01}', "invalid_json"),
        (b'{"a":1,}', "invalid_json"),
        (b'{"a":1} x', "invalid_json"),
        (b'{"a":1}{"a":1}', "invalid_json"),
        (b'{"a":1}\n{"a":1}\n', "invalid_json"),
        (b'{"a":1/* x */}', "invalid_json"),
        (b'{"a":"\\ud800"}', "invalid_json"),
        (b'{"\\udfff":1}', "invalid_json"),
        (b'{"a":"\xff"}', "invalid_json"),
        (b'{"a":"\xc0\x80"}', "invalid_json"),
        (b'{"a":"\xed\xa0\x80"}', "invalid_json"),
        (b'{"\xff":1}', "invalid_json"),
        (b'{"a":"x\ny"}', "invalid_json"),
        (b'{"a":"x\x00y"}', "invalid_json"),
        ('{"a":1}'.encode("utf-16"), "invalid_json"),
        ('{"a":1}'.encode("utf-32-le"), "invalid_json"),
        (gzip.compress(b"{}"), "invalid_json"),
        (b"[" * 200_000, "json_depth"),
        (b'{"a":' * 200_000, "json_depth"),
        (b"[]", "expected_object"),
        (b'"x"', "expected_object"),
        (b"null", "expected_object"),
        (b"17", "expected_object"),
    ],
)
def test_a_body_that_is_not_one_json_object_is_refused(body: bytes, code: str) -> None:
    assert code_of(parse_event, body) == code
    assert code_of(parse_batch, body) == code


@pytest.mark.parametrize("number", [b"1e999", b"-1e999", b"1" + b"0" * 308 + b"e10", b"9" * 5_000])
def test_a_number_that_nothing_can_hold_is_refused(number: bytes) -> None:
    assert code_of(parse_event, b'{"a":%s}' % number) == "invalid_json"
    assert code_of(parse_batch, b'{"batch":[],"context":{"a":%s}}' % number) == "invalid_json"
    found = Admission(parse_batch(b'{"batch":[{"a":1},{"a":%s}]}' % number), REQUEST)
    assert code_of(found.admit) == "invalid_json"


@pytest.mark.parametrize("body", [b"{}", b'{"batch":null}', b'{"batch":{}}', b'{"batch":"x"}', b'{"events":[]}'])
def test_a_batch_without_a_list_is_refused(body: bytes) -> None:
    assert code_of(parse_batch, body) == "expected_batch"


@pytest.mark.parametrize("event", [b"1", b"{}", b'{"a":[1,2,{}]}', b"[]", b'"a,b"', b"null", b"0.5", b"[[1,2],[]]"])
@pytest.mark.parametrize("around", [b'{"batch":[%s]}', b'{"context":{"a":[1,2]},"batch":[%s],"sentAt":"x"}'])
def test_a_batch_has_a_greatest_length(event: bytes, around: bytes) -> None:
    assert len(parse_batch(around % b",".join([event] * MAX_BATCH)).raw) == MAX_BATCH
    assert code_of(parse_batch, around % b",".join([event] * (MAX_BATCH + 1))) == "too_many_events"
    assert code_of(parse_batch, around % b",".join([*([b"{}"] * MAX_BATCH), event])) == "too_many_events"


def test_a_batch_of_millions_is_refused_before_there_is_an_object_for_each() -> None:
    for event in (b"0", b"{}", b"[]", b'""'):
        text = b'{"batch":[%s]}' % b",".join([event] * 1_000_000)
        tracemalloc.start()
        assert code_of(parse_batch, text) == "too_many_events"
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < len(text)


def test_each_event_keeps_its_own_bytes() -> None:
    events = [b'{ "a" :  1.50 }', b'{"b":"\\u00e9"}', b'{"c":"\xc3\xa9", "c": 2}', b"7", b'"x"', b"null", b"[ ]"]
    body = parse_batch(b'\xef\xbb\xbf {"sentAt":"now", "batch" : [ ' + b" , ".join(events) + b' ],"x":{}}\n')
    assert [bytes(raw) for raw in body.raw] == events
    assert body.envelope.sent_at == "now"


def test_of_a_repeated_key_the_last_counts() -> None:
    body = parse_batch(b'{"batch":[{"a":1},{"a":2}],"batch":[{"a":3}]}')
    assert [bytes(raw) for raw in body.raw] == [b'{"a":3}']


@pytest.mark.parametrize("key", [b"17", b"{}", b"null", b'"%s"' % (b"x" * 2_000), b"[" * 900 + b"]" * 900])
def test_what_cannot_be_a_write_key_or_a_time_is_none(key: bytes) -> None:
    envelope = parse_batch(b'{"batch":[],"writeKey":%s,"sentAt":%s}' % (key, key)).envelope
    assert (envelope.write_key, envelope.sent_at) == (None, None)


def test_what_all_events_share_goes_along_with_each() -> None:
    text = b'{"context": {"library":{"name":"x"}, "n":1.50},"batch":[{}],"integrations":{"All":true}}'
    envelope = parse_batch(text).envelope
    assert envelope.kept == b'{"context":{"library":{"name":"x"}, "n":1.50},"integrations":{"All":true}}'
    assert envelope.context == {"library": {"name": "x"}, "n": 1.5}
    assert parse_batch(b'{"context":{},"batch":[],"integrations":null}').envelope == Envelope()
    assert parse_batch(b'{"integrations":{"a":1},"batch":[]}').envelope.kept == b'{"integrations":{"a":1}}'


@pytest.mark.parametrize(
    ("shared", "events", "dropped"),
    [
        (b'{"p":"%s"}' % (b"x" * 5_000), 800, False),
        (b'{"p":"%s"}' % (b"x" * 5_000), 900, True),
        (b'{"p":"%s"}' % (b"x" * 4_000), 10_000, False),
        (b'{"p":"%s"}' % (b"x" * 300_000), 1, True),
        (b'{"p":"\\u0000"}', 1, True),
        (b'{"p":' + b"[" * 20 + b"]" * 20 + b"}", 1, True),
        (b'{"traits":[]}', 1, True),
        (b'"text"', 1, True),
    ],
)
def test_what_all_events_share_is_dropped_where_it_would_be_too_much(shared: bytes, events: int, dropped: bool) -> None:
    text = b'{"context":%s,"batch":[%s]}' % (shared, b",".join([b"{}"] * events))
    envelope = parse_batch(text).envelope
    assert (envelope.kept is None, envelope.dropped) == (dropped, dropped)


def test_a_single_event_keeps_the_whole_bodys_bytes() -> None:
    body = parse_event(b'\xef\xbb\xbf\n{ "a": 1, "writeKey": "k" } \n')
    assert (body.raw, body.envelope.write_key) == ((b'{ "a": 1, "writeKey": "k" }',), "k")


def test_an_event_that_is_too_long_is_not_read_but_for_its_key() -> None:
    body = parse_event(b'{"a":[%s],"writeKey":"k"}' % b",".join([b"[]"] * 100_000))
    assert (body.event, body.envelope.write_key) == (UNREAD, "k")


def test_gzip_is_undone_within_bounds() -> None:
    assert decoded(gzip.compress(b"{}"), b"gzip") == b"{}"
    assert decoded(gzip.compress(b"{}"), b" GZIP ") == b"{}"
    assert decoded(b"{}", b"identity") == decoded(b"{}", None) == b"{}"
    assert len(decoded(gzip.compress(b"x" * MAX_BODY), b"gzip")) == MAX_BODY
    assert code_of(decoded, gzip.compress(b"x" * (MAX_BODY + 1)), b"gzip") == "body_too_large"
    assert code_of(decoded, gzip.compress(bytes(200 * 1024 * 1024), 1), b"gzip") == "body_too_large"


@pytest.mark.parametrize(
    ("body", "encoding", "code"),
    [
        (b"{}", b"gzip", "bad_encoding"),
        (b"", b"gzip", "bad_encoding"),
        (gzip.compress(b"{}")[:-1], b"gzip", "bad_encoding"),
        (gzip.compress(b"{}")[:-5] + b"xxxxx", b"gzip", "bad_encoding"),
        (gzip.compress(b"{}") + b"x", b"gzip", "bad_encoding"),
        (gzip.compress(b"{}") + gzip.compress(b"{}"), b"gzip", "bad_encoding"),
        (gzip.compress(gzip.compress(b"{}")), b"gzip", "unsupported_encoding"),
        (b"{}", b"gzip, gzip", "unsupported_encoding"),
        (b"{}", b"br", "unsupported_encoding"),
        (b"{}", b"deflate", "unsupported_encoding"),
        (b"x" * (MAX_BODY + 1), None, "body_too_large"),
    ],
)
def test_a_wrong_encoding_is_refused(body: bytes, encoding: bytes | None, code: str) -> None:
    assert code_of(decoded, body, encoding) == code


def basic(text: bytes) -> bytes:
    return b"Basic " + base64.b64encode(text)


def test_the_write_key_is_the_user_name() -> None:
    for password in (b"", b":", b":anything", b':""'):
        assert basic_user(basic(b"key" + password)) == "key"
    assert basic_user(b"bAsIc " + base64.b64encode(b"key:")) == "key"


def test_other_credentials_leave_the_key_to_the_body() -> None:
    assert basic_user(b"Bearer token") is None
    assert basic_user(b"") is None
    assert basic_user(basic(b":password")) is None


@pytest.mark.parametrize("header", [b"Basic ####", b"Basic a", b"Basic /w==", b"Basic " + b"YWFh" * 300_000])
def test_credentials_that_cannot_be_read_are_refused(header: bytes) -> None:
    assert code_of(basic_user, header) == "unknown_write_key"


def drawn(dice: random.Random, levels: int) -> Any:
    """A value of at most so many levels, its texts full of what means something outside of them."""
    text = "".join(dice.choice('[]{}"\\,:\x00u0é') for _ in range(dice.randrange(6)))
    match dice.randrange(4) if levels else 0:
        case 0:
            return text
        case 1:
            return [drawn(dice, levels - 1) for _ in range(dice.randrange(4))]
        case 2:
            return {text + str(number): drawn(dice, levels - 1) for number in range(dice.randrange(4))}
        case _:
            return [drawn(dice, levels - 1)]


def test_the_text_of_a_value_tells_its_depth_and_whether_it_holds_a_nul() -> None:
    dice = random.Random(4)
    for _ in range(3_000):
        value = drawn(dice, 6)
        depth, indent = depth_of(value), dice.choice((None, 1))
        text = json.dumps(value, ensure_ascii=dice.random() < 0.5, indent=indent).encode()
        assert [is_deeper(text, levels) for levels in range(8)] == [levels < depth for levels in range(8)], text
        assert nul_in(text) == ("\x00" in _all_text(value)), text


def _all_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    parts = [*value, *value.values()] if isinstance(value, dict) else value
    return " ".join(map(_all_text, parts))
