"""The door: it accepts the events of a request, and answers only when each of them is durable."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from ingest.domain.admission import Admission
from ingest.domain.judging import Request
from ingest.domain.limits import MAX_BODY, MAX_EVENT
from ingest.domain.parsing import Body, counting, json_text, parse_batch, parse_event
from ingest.domain.timing import sent_at_of
from ingest.errors import Refused
from ingest.limiting import UNKNOWN_KEY_EVENTS
from ingest.measures import Measures
from ingest.ports import Addresses, Clock, FirstEvent, Keys, Limits, OnFirstEvent, Plan, Source, Writer
from ingest.reading import Deadline, Held, InFlight, deadline_in
from schemas.records import ENVELOPE, Headers, Record
from schemas.times import MINUTE

__all__ = ["Admitted", "Door", "Inbound", "Policy"]

log = logging.getLogger(__name__)

APPENDED_AT_ONCE: Final = 500
"""Records given to the log before other requests get their turn."""

RECORD_BYTES: Final = 1_024
"""About what a record takes in memory beside its value until it is durable."""

TOO_LARGE: Final = "record_too_large"
BUSY: Final = "log_busy"
_DROPPED: Final = ("envelope_dropped",)


class Inbound(NamedTuple):
    """What a request says beside its body; `call` is the one that the path names (None: a batch).

    `query_key` is the write key in the address, `sent_at` the header of that name; `retry`: the sender says it is one.
    `received_at` is when it first arrived (ms; None: now): a redriven event keeps it, and its `sentAt` tells nothing.
    `address` is whose limits count (None: nobody's); `trace` are record headers of its trace.
    """

    call: str | None
    query_key: str | None = None
    sent_at: str | None = None
    retry: bool = False
    received_at: int | None = None
    address: str | None = None
    trace: Headers = ()


class Admitted(Protocol):
    """What became of the events of a request."""

    @property
    def size(self) -> int:
        """How many events it holds."""

    @property
    def accepted(self) -> int:
        """How many were accepted."""

    @property
    def rejected(self) -> Mapping[str, int] | None:
        """How many were kept apart, by code; None or empty: none were."""

    def first_event(self) -> FirstEvent | None:
        """The first accepted one."""


def _peer(peer: str, _forwarded: bytes | None) -> str:
    return peer


class Policy(NamedTuple):
    """What a door lets in: the tracking plan, how much may come from whom, and how large (bytes) it may be.

    `monotonic` answers seconds for what is timed.
    """

    plan: Plan | None = None
    limits: Limits | None = None
    addresses: Addresses = _peer
    max_body: int = MAX_BODY
    max_event: int = MAX_EVENT
    monotonic: Callable[[], float] | None = None


class Door:
    """Takes requests to the event log. One object per process; safe for any number of requests at once."""

    def __init__(
        self,
        writer: Writer,
        keys: Keys,
        clock: Clock,
        partitions: int,
        on_first_event: OnFirstEvent | None = None,
        policy: Policy | None = None,
    ) -> None:
        """`partitions` is the log's count; `on_first_event` is called once, when the first event is durable."""
        self.writer = writer
        self.policy = policy or Policy()
        self.counts = Measures(self.policy.monotonic)
        self.in_flight = InFlight()
        self.keys = keys
        self._clock = clock
        self._partitions = partitions
        self._on_first_event = on_first_event
        self._unknown = _UnknownKeys(clock)

    async def source(
        self, write_key: str | None, deadline: Deadline | None = None, address: str | None = None
    ) -> Source:
        """The source of a write key. Raises `Refused`: ``unknown_write_key``, ``unavailable``.

        Without a deadline the look-up has the time that a whole request has. A key that is not known is charged to
        `address`.
        """
        found = None
        if write_key:
            try:
                async with (deadline or deadline_in()).left():
                    found = await self.keys.source(write_key)
            except Exception as error:
                log.warning("ingest.keys_unavailable", extra={"code": _code(error)})
                raise Refused("unavailable") from error
        if found is None:
            self._unknown.seen()
            if self.policy.limits is not None and address is not None:
                self.policy.limits.admit(None, address, UNKNOWN_KEY_EVENTS)
            raise Refused("unknown_write_key")
        return found

    def charge(self, source: Source | None, address: str | None, events: int) -> None:
        """Take events off what may come from a source and an address. Raises `Refused` ``rate_limited``."""
        limits = self.policy.limits
        if limits is not None and address is not None and (wait := limits.admit(source, address, events)) is not None:
            self.counts.limited[source.name if source is not None else ""] += 1
            raise Refused("rate_limited", retry_after=wait)

    def now(self) -> int:
        """The wall time in ms."""
        return self._clock()

    async def accept(
        self, content: bytes, source: Source | None, inbound: Inbound, deadline: Deadline, held: Held | None = None
    ) -> None:
        """Return once every event of the request is durable, accepted or kept apart; raise `Refused` otherwise.

        `content` is the body, decompressed; `source` is whom the credentials in the header name; None if there were
        none: then the body's `writeKey` counts, then the address's. `held` grows by what is made of each event. After
        ``log_unavailable`` some of the events may be durable all the same: a retry adds nothing twice.
        """
        text = json_text(content)
        if inbound.call is None:
            for _ in counting(text):
                await asyncio.sleep(0)
            body = parse_batch(text)
        else:
            body = parse_event(text, self.policy.max_event)
        if source is None:
            source = await self.source(body.envelope.write_key or inbound.query_key, deadline, inbound.address)
        self.charge(source, inbound.address, len(body.raw))
        if held is not None:
            held.grow(RECORD_BYTES * len(body.raw))
        admission = Admission(body, self.request(source, inbound, body), self.policy.plan)
        for _ in iter(admission.admit, False):
            await asyncio.sleep(0)
        if admission.records:
            await self.store(admission, deadline)
        self.count(admission)

    def request(self, source: Source, inbound: Inbound, body: Body, now: int | None = None) -> Request:
        """What the judge is told of a request; `now` is the wall time (ms) if that was looked at already."""
        envelope, received_at = body.envelope, inbound.received_at
        kept = envelope.kept
        if now is None:
            now = self._clock()
        return Request(
            source,
            self._partitions,
            inbound.call,
            now if received_at is None else received_at,
            sent_at_of(envelope.sent_at, inbound.sent_at),
            not inbound.retry and received_at is None,
            envelope.context,
            body.suspicious,
            inbound.retry,
            inbound.trace if kept is None else (*inbound.trace, (ENVELOPE, kept)),
            _DROPPED if envelope.dropped else (),
            self.policy.max_event,
        )

    async def store(
        self, admission: Admission, deadline: Deadline, errors: Sequence[Exception | None] | None = None
    ) -> None:
        """Append the records, and keep apart those that are too large. Raises `Refused` unless all are durable.

        `errors` is what became of the records if they were appended already, and are durable or too large.
        """
        if errors is None:
            errors = await self.append(admission.records, deadline)
        apart = [
            admission.kept_apart(record)
            for record, error in zip(admission.records, errors, strict=True)
            if error is not None
        ]
        if apart and any(await self.append(apart, deadline)):
            raise Refused("body_too_large")

    async def append(self, records: Sequence[Record], deadline: Deadline) -> Sequence[Exception | None]:
        """What became of each record: None (it is durable), or an error with the code ``record_too_large``.

        Raises `Refused` ``log_unavailable`` otherwise; then some of them may be durable all the same.
        """
        began = self.counts.now()
        try:
            async with deadline.left():
                errors = await self._append(records)
        except Exception as error:
            self.check((error,))
            raise Refused("log_unavailable") from error
        self.counts.log.observe(self.counts.now() - began)
        self.check(errors)
        return errors

    def check(self, errors: Sequence[Exception | None]) -> None:
        """Raise `Refused` unless each record is durable or too large: ``log_unavailable``, ``too_many_requests``."""
        for failure in errors:
            if failure is not None and (code := getattr(failure, "code", None)) != TOO_LARGE:
                if code == BUSY:
                    raise Refused("too_many_requests") from failure
                self.say_unavailable(failure)
                raise Refused("log_unavailable") from failure

    async def _append(self, records: Sequence[Record]) -> Sequence[Exception | None]:
        if len(records) <= APPENDED_AT_ONCE:
            return await self.writer.append(records)
        slices: list[asyncio.Future[Sequence[Exception | None]]] = []
        try:
            for start in range(0, len(records), APPENDED_AT_ONCE):
                slices.append(asyncio.ensure_future(self.writer.append(records[start : start + APPENDED_AT_ONCE])))
                await asyncio.sleep(0)
            return [error for answers in await asyncio.gather(*slices) for error in answers]
        finally:
            for each in slices:
                each.cancel()

    @staticmethod
    def say_unavailable(error: Exception) -> None:
        """Log that the event log did not take something."""
        code = _code(error)
        log.warning("ingest.log_unavailable", extra={"code": code}, exc_info=code == "unexpected")

    def count(self, admission: Admitted) -> None:
        """Count what is durable now; tell of the first event."""
        self.counts.accepted += admission.accepted
        self.counts.batches.observe(admission.size)
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
