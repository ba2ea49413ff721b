"""How a worker is doing: healthy means that it makes progress, not that its process is up."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["PartitionHealth", "WorkerHealth"]

_POLL_SECONDS: Final = 15.0
_STUCK_SECONDS: Final = 30.0
_JOIN_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class PartitionHealth:
    """One owned partition.

    `positions`: next offset per input topic in the database; `lag`: records per input topic between that position and
    the end of the log (0 when the log said that nothing more is there; None: not known yet). `clock` and `next_wake`
    in ms; `clock_lag` ms between the wall time and the clock; `timer_lag` ms by which due instants wait; `outbox`:
    records stored but not yet published; `waiting`: records read but not yet stored. `commit_age` seconds since the
    latest transaction; `stuck` seconds for which one is under way or being tried again; `trouble`: code of the failure
    that still lasts. `held` seconds for which nothing more is stored because nothing can be published.
    """

    partition: int
    positions: Mapping[str, int]
    lag: Mapping[str, int | None]
    clock: int
    clock_lag: int
    next_wake: int | None
    timer_lag: int
    outbox: int
    waiting: int
    commit_age: float
    stuck: float
    trouble: str | None
    held: float = 0.0


@dataclass(frozen=True, slots=True)
class WorkerHealth:
    """One member of a processor's group.

    `assigned`: it was given partitions; a member without any, after a while, stands by for others. `member_for`:
    seconds since it joined. `poll_age`: seconds since the log last answered (None: never).
    """

    processor: str
    assigned: bool
    member_for: float
    poll_age: float | None
    partitions: tuple[PartitionHealth, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """Why this worker is not ready, in plain words; empty when it is."""
        found: list[str] = []
        if not self.assigned and self.member_for < _JOIN_SECONDS:
            found.append(f"{self.processor}: no partitions are assigned yet")
        if self.poll_age is None or self.poll_age > _POLL_SECONDS:
            found.append(f"{self.processor}: the event log does not answer")
        for partition in self.partitions:
            if partition.stuck > _STUCK_SECONDS or (partition.trouble and partition.stuck > 1.0):
                reason = partition.trouble or "a transaction takes too long"
                found.append(f"{self.processor}, partition {partition.partition}: no progress ({reason})")
            if partition.held > _STUCK_SECONDS:
                found.append(f"{self.processor}, partition {partition.partition}: nothing can be published")
        return tuple(found)
