"""What the door needs of the running system."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from schemas.records import Record

__all__ = ["Clock", "FirstEvent", "Keys", "OnFirstEvent", "Source", "Writer"]


class Source(NamedTuple):
    """Where events come from: what a write key stands for."""

    workspace: str
    name: str


class FirstEvent(NamedTuple):
    """The first event that a process accepted: its name, whose it is, and the SDK that sent it (if it says so)."""

    name: str
    subject: str
    library: str | None
    version: str | None


Clock = Callable[[], int]
"""The wall time in milliseconds."""

OnFirstEvent = Callable[[FirstEvent], None]


class Keys(Protocol):
    """Write keys."""

    async def source(self, write_key: str) -> Source | None:
        """The source of a valid write key, or None. An exception means that keys cannot be looked up now."""


class Writer(Protocol):
    """The event log's writer."""

    async def append(self, records: Sequence[Record]) -> Sequence[Exception | None]:
        """Append records; answer for each, in order, None when it is durable or the error that kept it out.

        Errors have a `code`; ``record_too_large`` is the record's own fault. Raises when nothing is known.
        """
