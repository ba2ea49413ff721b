"""From CloudEvents to records and receipts: each event is told what became of it."""

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from ingest.domain.cloud_mapping import Mapped, mapped, pointer_of
from ingest.domain.cloudevents import CloudEvent, Mode, read_event
from ingest.domain.judging import Accepted, Request, judge, oversize
from ingest.domain.parsing import counting, parse_batch
from ingest.domain.recent import Fingerprint, Recent, Repeat, fingerprint
from ingest.domain.records import account_copy, event_record, rejected_record
from ingest.domain.timing import CLOCK_SKEW
from ingest.errors import Refused, Unacceptable
from ingest.ports import FirstEvent, Plan
from schemas.contents import DUPLICATE_ID_CONFLICT
from schemas.records import ENVELOPE, Record, message_id_of

__all__ = ["CALL", "NativeAdmission", "Parcel", "listed", "parcel_of"]

CALL: Final = "events"
"""What a rejected event of this route names as its call."""

SLICE: Final = 100
"""Events judged before other requests get their turn. So many bytes of them end it earlier."""

SLICE_BYTES: Final = 256 * 1024
_ESCAPED_NUL: Final = b"\\u0000"
_NO_SUBJECT: Final = "The event needs a subject: whose it is."
_SOURCE: Final = "ce_source"
_DOOR: Final = "parcours_source"
_anything: Final = msgspec.json.Decoder(msgspec.Raw)


class Parcel:
    """The events of a request, each as its JSON object. `single`: there is one, and the request stands or falls with
    it; `repeated` are the `ce-` headers beside it, `in_headers` says that its attributes came as such.
    """

    __slots__ = ("in_headers", "items", "repeated", "single")

    def __init__(
        self,
        items: Sequence[bytes | msgspec.Raw],
        *,
        single: bool,
        repeated: Mapping[str, bytes] | None = None,
        in_headers: bool = False,
    ) -> None:
        """Made by `parcel_of`."""
        self.items = items
        self.single = single
        self.repeated = repeated
        self.in_headers = in_headers


def parcel_of(mode: Mode, text: bytes, repeated: Mapping[str, bytes]) -> Parcel:
    """The events of a text (`json_text`) that is not in binary mode; `repeated` are the `ce-` headers beside it.

    A list is still whole: `listed` takes it apart. Raises `Refused`: ``expected_events``, ``ce_conflict``,
    ``invalid_json``, ``json_depth``.
    """
    if text.startswith(b"[") and mode is not Mode.STRUCTURED:
        if repeated:
            raise Refused("ce_conflict", "The attributes of a batch stand in its events, not in headers.")
        return Parcel((), single=False)
    if not text.startswith(b"{") or mode is Mode.BATCH:
        _look_over(text)
        raise Refused("expected_events")
    return Parcel((text,), single=True, repeated=repeated)


def listed(text: bytes) -> Iterator[Parcel | None]:
    """The events of a list: None whenever others may have their turn, and at last the parcel.

    Raises `Refused`: ``invalid_json``, ``json_depth``, ``too_many_events``.
    """
    # It must be a list by itself, or what follows it would be taken for a part of the object around it.
    _look_over(text)
    yield None
    batch = b'{"batch":%b}' % text
    for _ in counting(batch):
        yield None
    yield None
    yield Parcel(parse_batch(batch).raw, single=False)


def _look_over(text: bytes) -> None:
    """Make sure that the text is one JSON value, without making it into objects. Raises `Refused`."""
    try:
        _anything.decode(text)
    except RecursionError as error:
        raise Refused("json_depth") from error
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        raise Refused("invalid_json") from error


class NativeAdmission:
    """The admission of one request's CloudEvents, slice by slice. `records` and the receipts grow with `admit`."""

    def __init__(self, parcel: Parcel, request: Request, recent: Recent, plan: Plan | None = None) -> None:
        """`recent` holds what was acknowledged before; `settle` adds to it. Nothing is judged yet."""
        self._parcel = parcel
        self._request = request._replace(call=CALL)
        self._recent = recent
        self._plan = plan
        self._next = 0
        self._fresh: dict[int, int] = {}
        self._prints: dict[int, int] = {}
        self._owners: list[int] = []
        self._repeats: dict[int, list[int]] = {}
        self._again: deque[int] = deque()
        self._first: Accepted | None = None
        self.records: list[Record] = []
        self.receipts: list[dict[str, Any]] = []
        self.rejected: Counter[str] = Counter()
        self.accepted = 0
        self.duplicates = 0
        self.conflicts = 0

    @property
    def size(self) -> int:
        """How many events the request holds."""
        return len(self._parcel.items)

    def admit(self) -> bool:
        """Judge the next slice of the events; answer whether there are more.

        Raises `Refused` where the only event breaks the format, or where an event of a list is no JSON.
        """
        start, left, stop = self._next, SLICE_BYTES, min(self.size, self._next + SLICE)
        while self._next < stop and left > 0:
            raw = bytes(self._parcel.items[self._next])
            left -= len(raw)
            if left < 0 and self._next > start:
                break
            self.receipts.append({"index": self._next, "id": None, "status": "accepted"})
            self._take(self._next, raw)
            self._next += 1
        return self._next < self.size

    def admit_again(self) -> bool:
        """Judge anew a slice of what was called a duplicate of events that are kept apart now; answer as `admit`."""
        left = SLICE_BYTES
        while self._again and left > 0:
            index = self._again.popleft()
            raw, receipt = bytes(self._parcel.items[index]), self.receipts[index]
            left -= len(raw) + SLICE_BYTES // SLICE
            self.duplicates -= 1
            self.conflicts -= receipt.pop("code", None) == DUPLICATE_ID_CONFLICT
            receipt["status"] = "accepted"
            self._take(index, raw)
        return bool(self._again)

    def _take(self, index: int, raw: bytes) -> None:
        receipt = self.receipts[index]
        try:
            self._admit(index, raw, receipt)
        except Unacceptable as reason:
            if self._parcel.single and (reason.code.startswith("ce_") or reason.code == "not_an_object"):
                raise self._refused(reason) from reason
            self._keep(index, rejected_record(raw, reason, self._request))
            self._reject(receipt, reason)

    def _admit(self, index: int, raw: bytes, receipt: dict[str, Any]) -> None:
        request = self._request
        if len(raw) > request.max_event:
            raise oversize(raw, request.max_event)
        event = read_event(raw, self._parcel.repeated)
        receipt["id"] = event.attributes["id"]
        meaning = mapped(event)
        verdict, flags = self._judged(event, meaning, suspicious=_ESCAPED_NUL in raw)
        source, value, context = str(event.attributes["source"]), meaning.value, meaning.context
        # Reading it once more, for its fingerprint, shall not take as much memory again.
        del event, meaning
        message_id = message_id_of(source, verdict.message_id)
        known = fingerprint(request.source.workspace, verdict.subject, message_id, verdict.name, value)
        repeat = self._find(known)
        if repeat is not None:
            self.duplicates += 1
            if known[0] in self._fresh:
                self._repeats.setdefault(known[0], []).append(index)
            receipt["status"] = "duplicate"
            if repeat == "other":
                self.conflicts += 1
                receipt["code"] = DUPLICATE_ID_CONFLICT
            return
        record = event_record(verdict, value, request, flags)
        self._accept(index, verdict, _of_producer(record, source, context))
        self._fresh[known[0]] = known[1]
        self._prints[index] = known[0]
        if told := ((CLOCK_SKEW,) if verdict.skewed else ()) + flags + request.flags:
            receipt["flags"] = told
        if flags and request.source.mode == "warn":
            receipt["warnings"] = flags

    def _judged(self, event: CloudEvent, meaning: Mapped, *, suspicious: bool) -> tuple[Accepted, tuple[str, ...]]:
        """The verdict, and the flags by the tracking plan."""
        request = self._request
        try:
            verdict = judge(meaning.fields, meaning.value, request._replace(suspicious=suspicious))
            flags: tuple[str, ...] = ()
            if self._plan is not None:
                flags = self._plan.check(request.source, verdict.name, meaning.fields, request.received_at)
        except Unacceptable as reason:
            pointer = pointer_of(event, reason)
            detail = _NO_SUBJECT if pointer == "/subject" and reason.code == "no_identity" else reason.detail
            raise Unacceptable(reason.code, detail, pointer) from reason
        if meaning.account is not None:
            verdict.subject = meaning.account
        return verdict, flags

    def _find(self, event: Fingerprint) -> Repeat:
        """What the event is to one of this request, or to one that was acknowledged before."""
        known = self._fresh.get(event[0])
        if known is None:
            return self._recent.find(event)
        return "same" if known == event[1] else "other"

    def _accept(self, index: int, verdict: Accepted, record: Record) -> None:
        self._keep(index, record)
        if verdict.account is not None and verdict.account != verdict.subject:
            self._keep(index, account_copy(record, verdict.account, self._request))
        self._first = self._first or verdict
        self.accepted += 1

    def _keep(self, index: int, record: Record) -> None:
        self.records.append(record)
        self._owners.append(index)

    def _reject(self, receipt: dict[str, Any], reason: Unacceptable) -> None:
        self.rejected[reason.code] += 1
        receipt.update(status="rejected", code=reason.code, detail=reason.detail)
        if reason.pointer is not None:
            receipt["pointer"] = reason.pointer

    def _refused(self, reason: Unacceptable) -> Refused:
        """A single event that is no CloudEvent at all is answered as a request that cannot be read."""
        if reason.code == "not_an_object" and reason.pointer is None:
            return Refused("expected_events")
        pointer = reason.pointer
        if self._parcel.in_headers and pointer is not None and pointer.count("/") == 1:
            pointer = f"/headers/ce-{pointer[1:]}"
        return Refused(reason.code, reason.detail, pointer)

    def kept_apart(self, place: int) -> Record:
        """The record that keeps an event apart whose own record, the `place`-th, is too large; its receipt says so."""
        index = self._owners[place]
        reason, receipt = Unacceptable("record_too_large"), self.receipts[index]
        if receipt["status"] == "accepted":
            self.accepted -= 1
            self._fresh.pop(self._prints[index], None)
            self._again += self._repeats.pop(self._prints[index], ())
            receipt.pop("flags", None)
            receipt.pop("warnings", None)
            self._reject(receipt, reason)
        return rejected_record(bytes(self._parcel.items[index]), reason, self._request)

    def settle(self) -> None:
        """Remember what was accepted: now it is durable."""
        for event in self._fresh.items():
            self._recent.add(event)

    def first_event(self) -> FirstEvent | None:
        """The first accepted event."""
        return None if self._first is None else FirstEvent(self._first.name, self._first.subject, None, None)

    def receipt(self) -> dict[str, Any]:
        """The answer: how many were accepted, duplicates, rejected, and what became of each."""
        rejected = [
            {"index": each["index"], "code": each["code"]} for each in self.receipts if each["status"] == "rejected"
        ]
        return {
            "accepted": self.accepted,
            "duplicates": self.duplicates,
            "rejected": rejected,
            "events": self.receipts,
        }


def _of_producer(record: Record, source: str, context: dict[str, Any] | None) -> Record:
    """The record under its producer's own source, which with the id tells the event from others. Ours stays beside."""
    headers = [(name, source.encode() if name == _SOURCE else value) for name, value in record.headers]
    headers += [(_DOOR, value) for name, value in record.headers if name == _SOURCE]
    if context is not None:
        headers.append((ENVELOPE, msgspec.json.encode({"context": context})))
    return msgspec.structs.replace(record, headers=tuple(headers))
