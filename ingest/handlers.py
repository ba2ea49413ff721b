"""The door: it accepts the events of a request, and answers only when each of them is durable."""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ingest.domain.admission import Admission
from ingest.domain.judging import Request
from ingest.domain.parsing import parse_batch, parse_event
from ingest.domain.timing import sent_at_of
from ingest.errors import Refused
from ingest.ports import Clock, Keys, OnFirstEvent, Source, Writer
from ingest.reading import Deadline, InFlight, deadline_in
from schemas.records import Record
from schemas.times import MINUTE

__all__ = ["Counts", "Door", "Inbound"]

log = logging.getLogger(__name__)

SLICE: Final = 250
"""Events judged before other requests get their turn: a few milliseconds."""

TOO_LARGE: Final = "record_too_large"


class Inbound(NamedTuple):
    """What a request says beside its body; `call` is the one that the path names (None: a batch).

    `query_key` is the write key in the address, `sent_at` the header of that name; `retry`: the sender says it is one.
    `received_at` is when it first arrived (ms; None: now): a redriven event keeps it, and its `sentAt` tells nothing.
    """

    call: str | None
    query_key: str | None = None
    sent_at: str | None = None
    retry: bool = False
    received_at: int | None = None


@dataclass(slots=True)
class Counts:
    """What came through the door since the process started; `rejected` and `refused` by code."""

    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)


class Door:
    """Takes requests to the event log. One object per process; safe for any number of requests at once."""

    def __init__(
        self, writer: Writer, keys: Keys, clock: Clock, partitions: int, on_first_event: OnFirstEvent | None = None
    ) -> None:
        """`partitions` is the log's count; `on_first_event` is called once, when the first event is durable."""
        self._writer = writer
        self._keys = keys
        self._clock = clock
        self._partitions = partitions
        self._on_first_event = on_first_event
        self._unknown = _UnknownKeys(clock)
        self.counts = Counts()
        self.in_flight = InFlight()

    async def source(self, write_key: str | None, deadline: Deadline | None = None) -> Source:
        """The source of a write key. Raises `Refused`: ``unknown_write_key``, ``unavailable``.

        Without a deadline the look-up has the time that a whole request has.
        """
        found = None
        if write_key:
            try:
                async with (deadline or deadline_in()).left():
                    found = await self._keys.source(write_key)
            except Exception as error:
                log.warning("ingest.keys_unavailable", extra={"code": _code(error)})
                raise Refused("unavailable") from error
        if found is None:
            self._unknown.seen()
            raise Refused("unknown_write_key")
        return found

    async def accept(self, content: bytes, source: Source | None, inbound: Inbound, deadline: Deadline) -> None:
        """Return once every event of the request is durable, accepted or kept apart; raise `Refused` otherwise.

        `content` is the body, decompressed; `source` is whom the credentials in the header name; None if there were
        none: then the body's `writeKey` counts, then the address's. After ``log_unavailable`` some of the events may
        be durable all the same: a retry adds nothing twice.
        """
        body = parse_batch(content) if inbound.call is None else parse_event(content)
        envelope = body.envelope if inbound.call is None else body.events[0]
        source = source or await self.source(_text(envelope.get("writeKey")) or inbound.query_key, deadline)
        request = Request(
            source=source,
            partitions=self._partitions,
            call=inbound.call,
            received_at=self._clock() if inbound.received_at is None else inbound.received_at,
            sent_at=sent_at_of(body.envelope.get("sentAt"), inbound.sent_at),
            trust_sent_at=not inbound.retry and inbound.received_at is None,
            context=body.envelope.get("context"),
            suspicious=body.suspicious,
        )
        admission = Admission(body, request)
        for start in range(0, admission.size, SLICE):
            if start:
                await asyncio.sleep(0)
            admission.admit(start, start + SLICE)
        if admission.records:
            await self._store(admission, deadline)
        self._count(admission)

    async def _store(self, admission: Admission, deadline: Deadline) -> None:
        apart = [
            admission.kept_apart(record)
            for record, error in zip(admission.records, await self.append(admission.records, deadline), strict=True)
            if error is not None
        ]
        if apart and any(await self.append(apart, deadline)):
            raise Refused("body_too_large")

    async def append(self, records: Sequence[Record], deadline: Deadline) -> Sequence[Exception | None]:
        """What became of each record: None (it is durable), or an error with the code ``record_too_large``.

        Raises `Refused` ``log_unavailable`` otherwise; then some of them may be durable all the same.
        """
        try:
            async with deadline.left():
                errors = await self._writer.append(records)
        except Exception as error:
            self._say_unavailable(error)
            raise Refused("log_unavailable") from error
        for failure in errors:
            if failure is not None and getattr(failure, "code", None) != TOO_LARGE:
                self._say_unavailable(failure)
                raise Refused("log_unavailable") from failure
        return errors

    @staticmethod
    def _say_unavailable(error: Exception) -> None:
        code = _code(error)
        log.warning("ingest.log_unavailable", extra={"code": code}, exc_info=code == "unexpected")

    def _count(self, admission: Admission) -> None:
        self.counts.accepted += admission.accepted
        if admission.rejected:
            self.counts.rejected.update(admission.rejected)
            log.info("ingest.kept_apart", extra={"codes": dict(admission.rejected)})
        if self._on_first_event is not None and (first := admission.first_event()) is not None:
            tell, self._on_first_event = self._on_first_event, None
            tell(first)


class _UnknownKeys:
    """One log line a minute with the count: SDKs drop what is refused without a word, so somebody must say it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._count = 0
        self._said_at: int | None = None

    def seen(self) -> None:
        """Count one; say it at once if nothing was said in the last minute, else when the minute is over."""
        self._count += 1
        now = self._clock()
        if self._said_at is None or now - self._said_at >= MINUTE:
            self._say(now)
        elif self._count == 1:
            delay = (MINUTE - (now - self._said_at)) / 1_000
            asyncio.get_running_loop().call_later(delay, self._say_rest)

    def _say_rest(self) -> None:
        if self._count:
            self._say(self._clock())

    def _say(self, now: int) -> None:
        log.warning("ingest.unknown_write_key", extra={"requests": self._count})
        self._count, self._said_at = 0, now


def _code(error: Exception) -> str:
    return getattr(error, "code", None) or ("timeout" if isinstance(error, TimeoutError) else "unexpected")


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
