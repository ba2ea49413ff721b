"""When an event happened: the sender's time, corrected for the sender's clock within limits."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from ingest.errors import Unacceptable
from schemas.times import DAY, MINUTE, InvalidTime, format_instant, parse_instant

__all__ = ["CLOCK_SKEW", "Occurred", "occurred", "sent_at_of"]

CLOCK_SKEW: Final = "clock_skew"
"""The flag of an event whose sender's clock is off: corrected within limits, else only said."""

_TOLERATED: Final = MINUTE
_CORRECTED: Final = DAY
_FUTURE: Final = 5 * MINUTE
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


Occurred = tuple[int, bytes, bool]
"""An instant (ms), its RFC 3339 text, and whether the sender's clock was off. A plain tuple: one per event is made."""


def sent_at_of(*candidates: Any) -> int | None:
    """The first of the candidates that is a time, in ms; None if none is."""
    for candidate in candidates:
        if isinstance(candidate, str):
            try:
                found = _common(candidate)
                return parse_instant(candidate) if found is None else found
            except ValueError:
                continue
    return None


def occurred(stated: Any, sent_at: int | None, received_at: int) -> Occurred:
    """When the event happened, by the sender's `stated` time (None: it came without one).

    `sent_at` is None when nothing is known of the sender's clock, or when the request is a retry. A sender's clock that
    is off by 60 s to 24 h is corrected, a greater difference only flagged; more than 5 minutes in the future becomes
    `received_at`, flagged. Raises `Unacceptable` ``invalid_timestamp``.
    """
    if stated is None:
        return received_at, format_instant(received_at).encode(), False
    instant, text = _parsed(stated)
    skewed = False
    if sent_at is not None and not -_TOLERATED <= received_at - sent_at <= _TOLERATED:
        behind, skewed = received_at - sent_at, True
        if -_CORRECTED < behind < _CORRECTED:
            instant, text = max(0, instant + behind), None
    if instant > received_at + _FUTURE:
        instant, text, skewed = received_at, None, True
    return instant, text if text is not None else format_instant(instant).encode(), skewed


def _parsed(stated: Any) -> tuple[int, bytes | None]:
    """The instant, and the canonical text if the sender already wrote it so."""
    if not isinstance(stated, str):
        raise Unacceptable("invalid_timestamp")
    try:
        instant = _common(stated)
        return (instant, stated[:23].encode() + b"Z") if instant is not None else (parse_instant(stated), None)
    except ValueError as error:
        raise Unacceptable("invalid_timestamp", str(error) if isinstance(error, InvalidTime) else None) from error


def _common(stated: str) -> int | None:
    """The instant of a time as most SDKs write it, to the millisecond and in UTC; None if it is written otherwise.

    Raises `ValueError` for one that does not exist.
    """
    length = len(stated)
    if (
        ((length == 24 and stated[23] == "Z") or (length == 29 and stated[23:] == "+00:00"))
        and stated[4] == stated[7] == "-"
        and stated[10] == "T"
        and stated[19] == "."
        and "1970" <= stated < "2101"
    ):
        return (datetime.fromisoformat(stated) - _EPOCH) // _MILLISECOND
    return None
