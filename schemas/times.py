"""Instants: milliseconds since the epoch in UTC, and their RFC 3339 text."""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

__all__ = ["DAY", "HOUR", "MINUTE", "SECOND", "InvalidTime", "format_instant", "parse_duration", "parse_instant"]

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_LATEST = 4_133_980_800_000  # 2101-01-01: years outside 1970 to 2100 are refused
_TIMESTAMP = re.compile(
    r"\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?:[Zz]|[+-]\d\d:?\d\d)?)?", re.ASCII
)
_DURATION = re.compile(r"(\d{1,9})(ms|s|m|h|d|w)", re.ASCII)
_UNITS = {"ms": 1, "s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY}


class InvalidTime(ValueError):
    """A time is not RFC 3339, or lies outside the years 1970 to 2100. Send for example 2026-11-03T10:00:00.000Z."""

    code = "invalid_timestamp"


def parse_instant(text: str) -> int:
    """Milliseconds since the epoch of an RFC 3339 time.

    `text` has 0 to 9 fraction digits (cut to milliseconds), ``Z``, ``z`` or an offset; without an offset it is UTC.
    Raises `InvalidTime`, also for years outside 1970 to 2100.
    """
    if not _TIMESTAMP.fullmatch(text):
        raise InvalidTime("The time is not RFC 3339. Send for example 2026-11-03T10:00:00.000Z.")
    try:
        moment = datetime.fromisoformat(text.upper())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        instant = (moment - _EPOCH) // _MILLISECOND
    except (ValueError, OverflowError) as error:
        raise InvalidTime("The time names a day, hour or offset that does not exist.") from error
    if not 0 <= instant < _LATEST:
        raise InvalidTime("The time lies outside the years 1970 to 2100.")
    return instant


@lru_cache(maxsize=4_096)
def format_instant(instant: int) -> str:
    """RFC 3339 text of an instant: milliseconds and ``Z``, for example 2026-11-03T10:00:00.000Z."""
    return (_EPOCH + timedelta(milliseconds=instant)).isoformat(timespec="milliseconds")[:-6] + "Z"


def parse_duration(text: str) -> int:
    """Milliseconds of a duration such as ``30d``, ``4h``, ``90s`` or ``250ms``. Raises `InvalidTime`."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise InvalidTime("A duration is a whole number and one of ms, s, m, h, d, w, for example 30d.")
    return int(match[1]) * _UNITS[match[2]]
