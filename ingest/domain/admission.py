"""From a parsed body to the records that answer it: every event ends as a record, accepted or kept apart."""

from collections import Counter
from typing import Any, Final

from ingest.domain.judging import Accepted, Request, content_id, judge, oversize
from ingest.domain.parsing import Body, read_event
from ingest.domain.records import account_copy, event_record, rejected_record
from ingest.errors import Unacceptable
from ingest.ports import FirstEvent, Plan
from schemas.records import Record
from schemas.topics import EVENTS

__all__ = ["SLICE", "Admission"]

SLICE: Final = 250
"""Events judged before other requests get their turn: a few milliseconds. So many bytes of them end it earlier."""

SLICE_BYTES: Final = 128 * 1024


class Admission:
    """The admission of one request's events, slice by slice. `records` and the counts grow with `admit`."""

    __slots__ = ("_body", "_first", "_next", "_plan", "_repeats", "_request", "accepted", "records", "rejected")

    def __init__(self, body: Body, request: Request, plan: Plan | None = None) -> None:
        """Nothing is judged yet. `plan` is asked about each event that is acceptable otherwise."""
        self._body = body
        self._request = request
        self._plan = plan
        self._next = 0
        self._repeats: Counter[bytes] | None = None
        self._first: tuple[Accepted, Any] | None = None
        self.records: list[Record] = []
        self.accepted = 0
        self.rejected: Counter[str] | None = None

    @property
    def size(self) -> int:
        """How many events the body holds."""
        return len(self._body.raw)

    def admit(self) -> bool:
        """Judge the next slice of the events and make their records; answer whether there are more.

        Raises `Refused` with 400 where the JSON of an event cannot be read: then nothing of the request is stored.
        """
        body, request = self._body, self._request
        left, number = SLICE_BYTES, self._next
        stop = min(len(body.raw), number + SLICE)
        while number < stop and left > 0:
            raw = bytes(body.raw[number])
            number += 1
            left -= len(raw)
            try:
                if len(raw) > request.max_event:
                    raise oversize(raw, request.max_event)
                event = read_event(raw) if body.event is None else body.event
                self._accept(event, raw)
            except Unacceptable as reason:
                self.records.append(rejected_record(raw, reason, request))
                self._reject(reason.code)
        self._next = number
        return number < len(body.raw)

    def _accept(self, event: Any, raw: bytes) -> None:
        request = self._request
        verdict = judge(event, raw, request)
        flags = self._plan.check(request.source, verdict.name, event, request.received_at) if self._plan else ()
        if not verdict.message_id:
            repeats = self._repeats = Counter() if self._repeats is None else self._repeats
            verdict.message_id = content_id(event, raw, request, repeats[raw])
            repeats[raw] += 1
        record = event_record(verdict, raw, request, flags)
        self.records.append(record)
        if verdict.account is not None:
            self.records.append(account_copy(record, verdict.account, request))
        if self._first is None:
            self._first = verdict, event
        self.accepted += 1

    def _reject(self, code: str) -> None:
        if self.rejected is None:
            self.rejected = Counter()
        self.rejected[code] += 1

    def kept_apart(self, record: Record) -> Record:
        """The record that keeps an event apart whose own record is too large for its topic."""
        self.accepted -= record.topic == EVENTS
        self._reject("record_too_large")
        return rejected_record(record.value or b"", Unacceptable("record_too_large"), self._request)

    def first_event(self) -> FirstEvent | None:
        """The first accepted event, with the SDK that its context, or the envelope's, names."""
        if self._first is None:
            return None
        verdict, event = self._first
        library: object = None
        for context in (self._request.context, event.get("context")):
            if isinstance(context, dict) and isinstance(context.get("library"), dict):
                library = context["library"]
        named = library if isinstance(library, dict) else {}
        return FirstEvent(verdict.name, verdict.subject, _short(named.get("name")), _short(named.get("version")))


def _short(value: Any) -> str | None:
    return value[:64] if isinstance(value, str) and value.isprintable() else None
