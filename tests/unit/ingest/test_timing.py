"""When an event happened: the sender's word, within limits."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.domain.timing import occurred, sent_at_of
from ingest.errors import Unacceptable
from schemas.times import DAY, HOUR, MINUTE, SECOND, format_instant, parse_instant
from tests.unit.ingest.requests import NOW, REQUEST, accepted

LAST = parse_instant("2100-12-31T23:59:59.999Z")


@pytest.mark.parametrize(
    ("stated", "instant"),
    [
        ("2026-11-03T09:00:00.123Z", "2026-11-03T09:00:00.123Z"),
        ("2026-11-03T09:00:00.123+00:00", "2026-11-03T09:00:00.123Z"),
        ("2026-11-03T09:00:00Z", "2026-11-03T09:00:00.000Z"),
        ("2026-11-03t09:00:00z", "2026-11-03T09:00:00.000Z"),
        ("2026-11-03T09:00:00", "2026-11-03T09:00:00.000Z"),
        ("2026-11-03T14:30:00.123456789+05:30", "2026-11-03T09:00:00.123Z"),
        ("2026-11-03T09:00:00.123-01:00", "2026-11-03T10:00:00.123Z"),
        ("1970-01-01T00:00:00.000Z", "1970-01-01T00:00:00.000Z"),
    ],
)
def test_the_times_of_all_sdks_are_read(stated: str, instant: str) -> None:
    assert occurred(stated, None, NOW) == (parse_instant(instant), instant.encode(), False)


@settings(deadline=None, derandomize=True)
@given(st.integers(0, LAST), st.integers(0, LAST - 10 * MINUTE), st.none() | st.integers(0, LAST), st.booleans())
def test_the_header_always_says_the_instant(stated: int, received_at: int, sent_at: int | None, python: bool) -> None:
    text = format_instant(stated)
    instant, written, _ = occurred(text[:-1] + "+00:00" if python else text, sent_at, received_at)
    assert written.decode() == format_instant(instant)
    assert 0 <= instant <= received_at + 5 * MINUTE


@pytest.mark.parametrize(
    "stated",
    [
        "", "yesterday", "2026-02-30T00:00:00Z", "2026-11-03T23:59:60Z", "2026-11-03T23:59:60.000Z",
        "0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59",
        "10000-01-01T00:00:00Z", "1969-12-31T23:59:59.999Z", "2101-01-01T00:00:00.000Z", "2026-W45-2T10:00:00.000Z",
        "20261103T100000Z", "2026-11-03T10:00:00.12३Z", 1_700_000_000_000, 1.5, True, {}, [],
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused(stated: object) -> None:
    with pytest.raises(Unacceptable) as refusal:
        occurred(stated, None, NOW)
    assert refusal.value.code == "invalid_timestamp"


def test_without_a_time_it_happened_when_it_arrived() -> None:
    assert occurred(None, NOW - HOUR, NOW) == (NOW, b"2026-11-03T10:00:00.000Z", False)


@pytest.mark.parametrize(
    ("behind", "corrected", "skewed"),
    [
        (0, False, False),
        (MINUTE, False, False),
        (-MINUTE, False, False),
        (MINUTE + 1, True, True),
        (HOUR, True, True),
        (-HOUR, True, True),
        (DAY - 1, True, True),
        (DAY, False, True),
        (-DAY, False, True),
        (-300 * DAY, False, True),
    ],
)
def test_a_senders_clock_is_corrected_within_limits(behind: int, corrected: bool, skewed: bool) -> None:
    stated = NOW - 400 * DAY
    instant, _, flagged = occurred(format_instant(stated), NOW - behind, NOW)
    assert instant == (stated + behind if corrected else stated)
    assert flagged is skewed


def test_the_future_becomes_now() -> None:
    assert occurred(format_instant(NOW + 5 * MINUTE), None, NOW)[0] == NOW + 5 * MINUTE
    now = (NOW, format_instant(NOW).encode(), True)
    assert occurred(format_instant(NOW + 5 * MINUTE + 1), None, NOW) == now
    assert occurred("2036-01-01T00:00:00.000Z", None, NOW) == now


def test_a_correction_never_leaves_time() -> None:
    assert occurred("1970-01-01T00:00:00.000Z", NOW + HOUR, NOW)[0] == 0


def test_what_is_no_time_says_nothing_of_the_clock() -> None:
    assert sent_at_of(None, 7, "never", "0001-01-01T00:00:00Z") is None
    assert sent_at_of("never", "2026-11-03T10:00:00Z") == NOW


def test_the_messages_own_clock_goes_before_the_envelopes() -> None:
    event = {"type": "track", "event": "x", "userId": "a", "timestamp": format_instant(NOW - 3 * HOUR)}
    request = REQUEST._replace(sent_at=NOW - HOUR)
    assert accepted(event, request).occurred_at == NOW - 2 * HOUR
    own = {**event, "sentAt": format_instant(NOW - 2 * HOUR)}
    assert accepted(own, request).occurred_at == NOW - HOUR
    assert accepted({**event, "sentAt": None}, request).occurred_at == NOW - 2 * HOUR


def test_a_retry_says_nothing_of_the_clock() -> None:
    event = {"type": "track", "event": "x", "userId": "a", "timestamp": format_instant(NOW - 3 * HOUR)}
    request = REQUEST._replace(sent_at=NOW - HOUR, trust_sent_at=False)
    found = accepted({**event, "sentAt": format_instant(NOW - HOUR)}, request)
    assert (found.occurred_at, found.skewed) == (NOW - 3 * HOUR, False)


def test_the_original_timestamp_counts_when_there_is_no_other() -> None:
    event = {"type": "track", "event": "x", "userId": "a", "originalTimestamp": format_instant(NOW - SECOND)}
    assert accepted(event).occurred_at == NOW - SECOND
    assert accepted({**event, "timestamp": format_instant(NOW - HOUR)}).occurred_at == NOW - HOUR
