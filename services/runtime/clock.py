"""The only place where clocks are read. Everything else is given a `Clock`, so that a test can move time."""

import time
from typing import Protocol

__all__ = ["Clock", "ManualClock", "SystemClock"]


class Clock(Protocol):
    """Wall time, and a steady counter for measuring how long something took."""

    def now(self) -> int:
        """Wall time: milliseconds since the epoch, UTC."""

    def monotonic(self) -> float:
        """Seconds on a counter that never goes back and no one sets."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> int:
        """Wall time: milliseconds since the epoch, UTC."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds on a counter that never goes back and no one sets."""
        return time.monotonic()


class ManualClock:
    """A clock that stands still until it is moved. The steady counter stays the machine's own: it only measures."""

    def __init__(self, now: int) -> None:
        """`now` is where it stands first: milliseconds since the epoch."""
        self._now = now

    def now(self) -> int:
        """Wall time: milliseconds since the epoch, UTC."""
        return self._now

    def monotonic(self) -> float:
        """Seconds on a counter that never goes back and no one sets."""
        return time.monotonic()

    def move(self, milliseconds: int) -> int:
        """Move by `milliseconds` (backwards when negative); return the new time."""
        self._now += milliseconds
        return self._now

    def set(self, now: int) -> None:
        """Stand at `now`: milliseconds since the epoch."""
        self._now = now
