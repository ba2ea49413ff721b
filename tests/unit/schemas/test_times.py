"""Instants, their text, and durations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.times import DAY, InvalidTime, format_instant, parse_duration, parse_instant

LAST = 4_133_980_799_999


@given(st.integers(0, LAST))
def test_the_text_of_an_instant_reads_back_as_the_same_instant(instant: int) -> None:
    assert parse_instant(format_instant(instant)) == instant


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-03T10:00:00.000Z", "2026-11-03T10:00:00.000Z"),
        ("2026-11-03t10:00:00z", "2026-11-03T10:00:00.000Z"),
        ("2026-11-03T10:00:00.123456789+05:30", "2026-11-03T04:30:00.123Z"),
        ("2026-11-03T10:00:00.5", "2026-11-03T10:00:00.500Z"),
        ("2026-11-03 10:00:00+0000", "2026-11-03T10:00:00.000Z"),
        ("2026-11-03", "2026-11-03T00:00:00.000Z"),
    ],
)
def test_the_forms_that_senders_use_are_read(text: str, expected: str) -> None:
    assert format_instant(parse_instant(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "2026-02-30T00:00:00Z",
        "2026-11-03T10:00:60Z",
        "2101-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "20261103T100000Z",
        "2026-W45-2",
        "1762164000",
        "2026-11-03T10:00:00Z trailing",
        "\u0662026-11-03",
    ],
)
def test_what_is_no_time_or_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(InvalidTime):
        parse_instant(text)


def test_durations_are_whole_numbers_with_a_unit() -> None:
    assert parse_duration("30d") == 30 * DAY
    assert parse_duration("250ms") == 250
    for text in ("", "30", "d", "-1d", "1.5h", "1 month"):
        with pytest.raises(InvalidTime):
            parse_duration(text)
