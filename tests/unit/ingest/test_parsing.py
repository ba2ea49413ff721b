"""Bodies, encodings and credentials: one way to be right, and a code for each way to be wrong."""

import base64
import gzip

import pytest

from ingest.domain.encoding import basic_user, decoded
from ingest.domain.limits import MAX_BATCH, MAX_BODY
from ingest.domain.parsing import parse_batch, parse_event
from ingest.errors import Refused


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
        (b'{"a":1e999}', "invalid_json"),
        (b'{"a":-1e999}', "invalid_json"),
        (b'{"a":' + b"9" * 5_000 + b"}", "invalid_json"),
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


@pytest.mark.parametrize("body", [b"{}", b'{"batch":null}', b'{"batch":{}}', b'{"batch":"x"}', b'{"events":[]}'])
def test_a_batch_without_a_list_is_refused(body: bytes) -> None:
    assert code_of(parse_batch, body) == "expected_batch"


def test_a_batch_has_a_greatest_length() -> None:
    assert len(parse_batch(b'{"batch":[%s]}' % b",".join([b"1"] * MAX_BATCH)).events) == MAX_BATCH
    assert code_of(parse_batch, b'{"batch":[%s]}' % b",".join([b"1"] * (MAX_BATCH + 1))) == "too_many_events"


def test_each_event_keeps_its_own_bytes() -> None:
    events = [b'{ "a" :  1.50 }', b'{"b":"\\u00e9"}', b'{"c":"\xc3\xa9", "c": 2}', b"7", b'"x"', b"null", b"[ ]"]
    body = parse_batch(b'\xef\xbb\xbf {"sentAt":1, "batch" : [ ' + b" , ".join(events) + b' ],"x":{}}\n')
    assert [bytes(raw) for raw in body.raw] == events
    assert body.events[:3] == [{"a": 1.5}, {"b": "é"}, {"c": 2}]
    assert body.envelope["sentAt"] == 1


def test_of_a_repeated_key_the_last_counts_for_values_and_bytes_alike() -> None:
    body = parse_batch(b'{"batch":[{"a":1},{"a":2}],"batch":[{"a":3}]}')
    assert body.events == [{"a": 3}]
    assert [bytes(raw) for raw in body.raw] == [b'{"a":3}']


def test_a_single_event_keeps_the_whole_bodys_bytes() -> None:
    body = parse_event(b'\xef\xbb\xbf\n{ "a": 1 } \n')
    assert body.raw == (b'{ "a": 1 }',)


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
