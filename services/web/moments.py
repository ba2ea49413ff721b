"""Instants as people read them: how long ago, or which day; always with the exact time beside it."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from schemas.times import DAY, HOUR, MINUTE, format_instant

__all__ = ["Moment", "Moments"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MONTHS = "January February March April May June July August September October November December".split()


@dataclass(frozen=True, slots=True)
class Moment:
    """An instant on a page: `iso` for machines, `full` to the second in UTC, `text` as short as its place allows."""

    iso: str
    full: str
    text: str


def _datetime(instant: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=instant)


class Moments:
    """Writes instants (ms) as seen from one `now` (ms)."""

    def __init__(self, now: int) -> None:
        """`now` is the instant from which "3 min ago" is counted."""
        self._now = now
        self._year = _datetime(now).year

    def day(self, instant: int) -> str:
        """The day: ``14 December``, with its year when that is another one."""
        at = _datetime(instant)
        year = f" {at.year}" if at.year != self._year else ""
        return f"{at.day} {_MONTHS[at.month - 1]}{year}"

    def _moment(self, instant: int, text: str) -> Moment:
        at = _datetime(instant)
        full = f"{at.day} {_MONTHS[at.month - 1]} {at.year}, {at:%H:%M:%S} UTC"
        return Moment(format_instant(instant), full, text)

    def ago(self, instant: int) -> Moment:
        """How long ago, up to a month; then the day. What lies ahead is named by its day."""
        age = self._now - instant
        if not -MINUTE < age < 30 * DAY:
            text = self.day(instant)
        elif age < MINUTE:
            text = "just now"
        elif age < HOUR:
            text = f"{age // MINUTE} min ago"
        elif age < DAY:
            text = f"{age // HOUR} h ago"
        else:
            days = age // DAY
            text = "1 day ago" if days == 1 else f"{days} days ago"
        return self._moment(instant, text)

    def on(self, instant: int) -> Moment:
        """The day on which something is to happen; within two days also the time."""
        text = self.day(instant)
        if instant - self._now < 2 * DAY:
            text = f"{text} at {_datetime(instant):%H:%M} UTC"
        return self._moment(instant, text)

    def present(self) -> Moment:
        """The moment itself: today's time of day."""
        return self._moment(self._now, f"{_datetime(self._now):%H:%M} UTC")

    def clock(self, instant: int) -> Moment:
        """The time of day, for lists that are grouped by day."""
        return self._moment(instant, f"{_datetime(instant):%H:%M}")
