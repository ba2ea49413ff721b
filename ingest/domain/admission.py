"""From a parsed body to the records that answer it: every event ends as a record, accepted or kept apart."""

from collections import Counter
from typing import Any

from ingest.domain.judging import Accepted, Request, content_id, judge
from ingest.domain.parsing import Body
from ingest.domain.records import account_copy, event_record, rejected_record
from ingest.errors import Unacceptable
from ingest.ports import FirstEvent
from schemas.records import Record
from schemas.topics import EVENTS

__all__ = ["Admission"]


class Admission:
    """The admission of one request's events, slice by slice. `records` and the counts grow with `admit`."""

    def __init__(self, body: Body, request: Request) -> None:
        """Nothing is judged yet."""
        self._body = body
        self._request = request
        self._repeats: Counter[bytes] = Counter()
        self._first: tuple[Accepted, Any] | None = None
        self.records: list[Record] = []
        self.accepted = 0
        self.rejected: Counter[str] = Counter()

    @property
    def size(self) -> int:
        """How many events the body holds."""
        return len(self._body.events)

    def admit(self, start: int, stop: int) -> None:
        """Judge the events from `start` to before `stop` and make their records."""
        request, records = self._request, self.records
        for event, given in zip(self._body.events[start:stop], self._body.raw[start:stop], strict=True):
            raw = bytes(given)
            try:
                verdict = judge(event, raw, request)
            except Unacceptable as reason:
                records.append(rejected_record(raw, reason, request))
                self.rejected[reason.code] += 1
                continue
            if not verdict.message_id:
                verdict.message_id = content_id(event, raw, request, self._repeats[raw])
                self._repeats[raw] += 1
            records.append(event_record(verdict, raw, request))
            if verdict.account is not None:
                records.append(account_copy(verdict, verdict.account, raw, request))
            if self._first is None:
                self._first = verdict, event
            self.accepted += 1

    def kept_apart(self, record: Record) -> Record:
        """The record that keeps an event apart whose own record is too large for its topic."""
        self.accepted -= record.topic == EVENTS
        self.rejected["record_too_large"] += 1
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
