"""What the door needs of the running system."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from schemas.records import Record

__all__ = ["Addresses", "Answered", "Clock", "FirstEvent", "Keys", "Limits", "Mode", "OnFirstEvent", "Plan", "Source"]
__all__ += ["Submitting", "Writer"]

Mode = Literal["open", "warn", "strict"]
"""What becomes of events that the catalog does not know or that break it: accepted and flagged, the same and told to
the sender, or kept apart."""


class Source(NamedTuple):
    """Where events come from: what a write key stands for.

    `events_per_second` and `burst` limit each key of the source; None: as the settings say. `key` tells its keys apart.
    """

    workspace: str
    name: str
    mode: Mode = "open"
    events_per_second: int | None = None
    burst: int | None = None
    key: str = ""


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


class Plan(Protocol):
    """The tracking plan: the catalog's events, and what it has seen of them."""

    def check(self, source: Source, name: str, event: Mapping[str, Any], received_at: int) -> tuple[str, ...]:
        """The flags of an event (none: it is as the catalog describes it); called once for each that is acceptable.

        Raises `Unacceptable` where the source is strict: ``unknown_event``, ``invalid_event``.
        """


class Limits(Protocol):
    """How much may come."""

    def admit(self, source: Source | None, address: str, events: int) -> int | None:
        """None: go on. Otherwise nothing was taken off, and so many seconds are to pass before the next try.

        `source` is None as long as nobody knows whose the request is: then only the address counts.
        """


class Writer(Protocol):
    """The event log's writer."""

    async def append(self, records: Sequence[Record]) -> Sequence[Exception | None]:
        """Append records; answer for each, in order, None when it is durable or the error that kept it out.

        Errors have a `code`; ``record_too_large`` is the record's own fault. Raises when nothing is known.
        """


Answered = Callable[[Sequence[Exception | None]], None]
"""Told once what became of each record: None (durable), or the error that kept it out."""


class Submitting(Protocol):
    """A writer that can be used without a task."""

    def submit(self, records: Sequence[Record], answered: Answered) -> bool:
        """Begin to append, and call `answered` on the loop when it is known of every record, never before this returns.

        False: it cannot be done at once, nothing was begun, and `append` is to be used.
        """


Addresses = Callable[[str, bytes | None], str]
"""Whose address counts, given the connection's peer and the values of `X-Forwarded-For`."""
