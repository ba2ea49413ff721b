"""Which two bodies under one message id are the same event."""

import pytest

from schemas.contents import content_of, same_content


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (b'{"a":1}', b'{"a":1}'),
        (b'{"a":1,"b":[{}]}', b'{ "b": [{}], "a": 1 }'),
        (b'{"a":1,"sentAt":"2026-11-03T10:00:00Z"}', b'{"a":1,"sentAt":"2026-11-03T10:00:09Z"}'),
        (b'{"a":1,"_metadata":{"bundled":["x"]}}', b'{"a":1,"sentAt":null}'),
        (b"\xff", b"\xff"),
    ],
)
def test_what_a_sender_writes_anew_at_each_try_makes_no_other_event(first: bytes, second: bytes) -> None:
    assert same_content(first, second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (b'{"a":1}', b'{"a":2}'),
        (b'{"a":1}', b'{"a":true}'),
        (b'{"a":1}', b'{"a":"1"}'),
        (b'{"a":null}', b"{}"),
        (b'{"properties":{"sentAt":1}}', b'{"properties":{"sentAt":2}}'),
        (b"\xff", b"\xfe"),
        (b"[" * 5_000, b"[" * 5_001),
    ],
)
def test_any_other_difference_makes_another_event(first: bytes, second: bytes) -> None:
    assert not same_content(first, second)


def test_bytes_that_are_no_json_are_their_own_content() -> None:
    assert content_of(b"{") == b"{"
    assert content_of(b'{"b":1,"a":{"d":2,"c":3}}') == b'{"a":{"c":3,"d":2},"b":1}'
