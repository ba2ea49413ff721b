"""Which calendar day an instant falls on."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from schemas.calendars import load_zone
from schemas.times import DAY

__all__ = ["DayOf", "day_counter"]

DayOf = Callable[[int], int]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def day_counter(zone_name: str) -> DayOf:
    """A function from an instant (ms) to the number of its calendar day in the zone. Raises `UnknownZone`."""
    zone = load_zone(zone_name)
    if zone_name == "UTC":
        return lambda at: at // DAY

    def day_of(at: int) -> int:
        return (_EPOCH + timedelta(milliseconds=at)).astimezone(zone).toordinal()

    return day_of
