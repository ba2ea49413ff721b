"""The fast lane: a small request that is complete, from a sender who is known, is decided at once and without a task.

It gives the answers of the tracking routes in `ingest/http.py`, by the same functions. What it cannot decide without
waiting it leaves to them, before it has done anything.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from ingest.domain.admission import SLICE, Admission
from ingest.domain.encoding import basic_user
from ingest.domain.limits import MAX_BATCH
from ingest.domain.parsing import json_text, parse_batch, parse_event
from ingest.errors import Refused
from ingest.handlers import RECORD_BYTES, Door
from ingest.ports import Source
from ingest.reading import ANSWER_SECONDS, deadline_in, named_headers
from ingest.requests import BATCH, METRICS, checked_content_type, inbound_of

__all__ = ["MAX_QUICK", "Answer", "Lane"]

log = logging.getLogger(__name__)

MAX_QUICK: Final = 64 * 1024
"""Bytes of a body that is decided in one go: with its events that takes a millisecond or two."""

_TRUSTED_FOR: Final = 1_000
_MOST_SOURCES: Final = 1_024
_TICK_SECONDS: Final = 0.1
_TICKS: Final = int(ANSWER_SECONDS / _TICK_SECONDS)

Answer = Callable[[Refused | None], None]
"""Called once, later or at once: None for success."""


class _Known(NamedTuple):
    source: Source
    at: int


class _Pending:
    """A request whose records are on their way to the log."""

    __slots__ = ("admission", "answer", "began", "held", "kind", "lane", "tick")

    def __init__(self, lane: "Lane", kind: str, admission: Admission, answer: Answer, began: float, held: int) -> None:
        self.lane = lane
        self.kind = kind
        self.admission = admission
        self.answer = answer
        self.began = began
        self.held = held
        self.tick = lane.tick

    def stored(self, errors: Sequence[Exception | None]) -> None:
        """What became of its records."""
        lane = self.lane
        if self not in lane.pending:
            return
        door = lane.door
        if any(errors):
            try:
                door.check(errors)
            except Refused as refusal:
                lane.end(self, refusal)
            else:
                lane.finish(self, errors)
            return
        del lane.pending[self]
        door.in_flight.bytes -= self.held
        door.count(self.admission)
        door.counts.stored(self.kind, self.began)
        self.answer(None)


class Lane:
    """Decides requests at once. One object per door."""

    def __init__(self, door: Door) -> None:
        """`door` handles the requests of this process."""
        self.door = door
        self.pending: dict[_Pending, None] = {}
        self.tick = 0
        self._ticking: asyncio.TimerHandle | None = None
        self._sources: dict[bytes, _Known] = {}
        self._submit: Callable[[Sequence[Any], Callable[[Sequence[Exception | None]], None]], bool] | None
        self._submit = getattr(door.writer, "submit", None)
        self._at_hand: Callable[[str], Source | None] | None = getattr(door.keys, "at_hand", None)
        if (on_change := getattr(door.keys, "on_change", None)) is not None:
            on_change(self._sources.clear)
        self._finishing: set[asyncio.Task[None]] = set()

    def take(self, kind: str, pairs: Sequence[tuple[bytes, bytes]], body: bytes, peer: str, answer: Answer) -> bool:
        """Decide a request to a path without a query, and see to its answer; False: it is not for the fast lane.

        `pairs` are its headers, few and short enough, with names in lower case; `body` is all of it.
        """
        headers = named_headers(pairs)
        if headers is None or kind == METRICS or b"content-encoding" in headers or self._submit is None:
            return False
        door = self.door
        received_at = door.now()
        source = self._source(headers.get(b"authorization"), received_at)
        held = 2 * len(body)
        if source is None or held > door.in_flight.room() or (kind == BATCH and body.count(b",") >= MAX_BATCH):
            return False
        began = door.counts.now()
        address = door.policy.addresses(peer, headers.get(b"x-forwarded-for"))
        try:
            checked_content_type(headers)
            text = json_text(body)
            parsed = parse_batch(text) if kind == BATCH else parse_event(text, door.policy.max_event)
            if len(parsed.raw) > SLICE:
                return False
            door.charge(source, address, len(parsed.raw))
            held += RECORD_BYTES * len(parsed.raw)
            request = door.request(source, inbound_of(kind, b"", headers, address), parsed, received_at)
            admission = Admission(parsed, request, door.policy.plan)
            admission.admit()
        except Refused as refusal:
            self._refused(kind, refusal, address, began, answer)
            return True
        except Exception:
            log.exception("ingest.failed")
            self._answered(kind, Refused("internal_error"), began, answer)
            return True
        if not admission.records:
            door.count(admission)
            self._answered(kind, None, began, answer)
            return True
        pending = _Pending(self, kind, admission, answer, began, held)
        self.pending[pending] = None
        door.in_flight.bytes += held
        if self._ticking is None:
            self._ticking = asyncio.get_running_loop().call_later(_TICK_SECONDS, self._tick)
        if not self._submit(admission.records, pending.stored):
            self.finish(pending, None)
        return True

    def _source(self, given: bytes | None, now: int) -> Source | None:
        """The source that the credentials name, if that is known at once."""
        if given is None or self._at_hand is None:
            return None
        known = self._sources.get(given)
        if known is not None and 0 <= now - known.at < _TRUSTED_FOR:
            return known.source
        try:
            write_key = basic_user(given)
        except Refused:
            return None
        source = self._at_hand(write_key) if write_key is not None else None
        if source is None:
            self._sources.pop(given, None)
            return None
        if len(self._sources) >= _MOST_SOURCES:
            self._sources.clear()
        self._sources[given] = _Known(source, now)
        return source

    def end(self, pending: _Pending, refusal: Refused | None) -> None:
        """Answer a request that is on its way, unless it was answered."""
        if pending in self.pending:
            del self.pending[pending]
            self.door.in_flight.bytes -= pending.held
            self._answered(pending.kind, refusal, pending.began, pending.answer)

    def finish(self, pending: _Pending, errors: Sequence[Exception | None] | None) -> None:
        """Do in a task what cannot be done at once: append otherwise, or keep apart what is too large."""
        task = asyncio.create_task(self._finish(pending, errors), name="ingest")
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)

    async def _finish(self, pending: _Pending, errors: Sequence[Exception | None] | None) -> None:
        refusal = None
        try:
            await self.door.store(pending.admission, deadline_in(), errors)
            self.door.count(pending.admission)
        except Refused as found:
            refusal = found
        except Exception:
            log.exception("ingest.failed")
            refusal = Refused("internal_error")
        self.end(pending, refusal)

    def _refused(self, kind: str, refusal: Refused, address: str, began: float, answer: Answer) -> None:
        """Answer a refusal. The request counts for its address, if its events were not charged."""
        if refusal.code != "rate_limited":
            try:
                self.door.charge(None, address, 1)
            except Refused as limit:
                refusal = limit
        self._answered(kind, refusal, began, answer)

    def _answered(self, kind: str, refusal: Refused | None, began: float, answer: Answer) -> None:
        counts = self.door.counts
        if refusal is not None:
            counts.refused[refusal.code] += 1
        counts.answered(kind, 200 if refusal is None else refusal.status, began)
        answer(refusal)

    def _tick(self) -> None:
        """Give up on requests that wait for too long: they stand in order of their coming."""
        self.tick += 1
        overdue = []
        for pending in self.pending:
            if self.tick - pending.tick < _TICKS:
                break
            overdue.append(pending)
        for pending in overdue:
            self.door.say_unavailable(TimeoutError())
            self.end(pending, Refused("log_unavailable"))
        loop = asyncio.get_running_loop()
        self._ticking = loop.call_later(_TICK_SECONDS, self._tick) if self.pending else None
