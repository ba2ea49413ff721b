"""Redriving: what was rejected goes through the door again, as it came, once what was wrong has been put right."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from ingest.domain.admission import Admission
from ingest.domain.judging import Request
from ingest.domain.native_admission import CALL, NativeAdmission, Parcel
from ingest.domain.parsing import UNREAD, Body, Envelope, read_event
from ingest.domain.recent import Recent
from ingest.errors import Refused, Unacceptable
from ingest.handlers import Door
from ingest.ports import Source
from ingest.reading import deadline_in
from schemas.ids import partition_of
from schemas.records import ENVELOPE, BadRecord, Headers, Record, StoredRecord, read_envelope
from schemas.topics import EVENTS, REJECTED, ROUTED
from services.errors import ServiceError
from services.eventlog.port import EventLog, OffsetOutOfRange, TopicPartition
from services.rejected_index import DOOR
from services.storage.errors import StorageError
from services.storage.rejected import Rejected, RejectedFilter, RejectedPlace, RejectedStore
from services.storage.sources import DEFAULT_RULES, SourceRules

__all__ = ["NotRedrivable", "Redrive", "Redriven", "Redriver", "again", "original"]

APPENDED_AT_ONCE: Final = 100
APPENDED_BYTES: Final = 2 * 1024 * 1024
_PAGE: Final = 500
_RUN: Final = 100
_RUN_BYTES: Final = 2 * 1024 * 1024
_GAP: Final = 8
_ORIGINAL: Final = "orig_"
_KEPT_HEADERS: Final = ("traceparent", "tracestate", ENVELOPE)
_OF_A_RELAY: Final = ("processor", "partition", "sequence")
_REDRIVABLE: Final = (EVENTS, ROUTED)
_SUSPICIOUS: Final = b"\\u0000"

Rules = Callable[[str], Mapping[str, SourceRules]]
"""The rules of a workspace's sources, by name. Synchronous."""


@dataclass(frozen=True, slots=True)
class Redrive:
    """What to redrive: all that fits, or those at `places` alone; at most `limit`, after the place `after`.

    `dry`: say what would become of it, and do nothing.
    """

    wanted: RejectedFilter = field(default_factory=RejectedFilter)
    places: Sequence[RejectedPlace] | None = None
    limit: int = 1_000
    after: RejectedPlace | None = None
    dry: bool = False


@dataclass(slots=True)
class Redriven:
    """What became of it: how many were accepted, stay rejected (by code), and cannot be redriven (by reason).

    `following` is where to go on; None: that was all.
    """

    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    following: RejectedPlace | None = None


class _Ready(NamedTuple):
    """A record that may be appended again: `records` are those that replace it."""

    item: Rejected
    records: Sequence[Record]


class Redriver:
    """Redrives what one system's door and processors rejected. One run at a time in a process.

    What is appended is claimed first, so that of several processes one appends it. Ids stay as they were, or would have
    been: what was appended and not noted, because the process died in between, is appended again once the claim is old,
    and has no second effect.
    """

    def __init__(self, door: Door, event_log: EventLog, store: RejectedStore, rules: Rules, partitions: int) -> None:
        """`door` appends, with its plan and sizes but without its limits."""
        self._door = door
        self._log = event_log
        self._store = store
        self._rules = rules
        self._partitions = partitions
        self._lock = asyncio.Lock()

    async def run(self, workspace: str, wanted: Redrive) -> Redriven:
        """Redrive. Raises `Refused` (``log_unavailable``), `LogError`, `StorageError`; what is done then stays done."""
        result = Redriven()
        async with self._lock:
            rules = await asyncio.to_thread(self._rules, workspace)
            left, page = wanted.limit, wanted
            while left > 0:
                page = replace(page, limit=min(left, _PAGE))
                items = await asyncio.to_thread(self._items, workspace, page)
                await self._redrive(items, rules, result, dry=wanted.dry)
                left -= len(items)
                if len(items) < page.limit or wanted.places is not None:
                    return result
                page = replace(page, after=items[-1].where)
        result.following = page.after
        return result

    async def _redrive(
        self, items: Sequence[Rejected], rules: Mapping[str, SourceRules], result: Redriven, *, dry: bool
    ) -> None:
        ready: list[_Ready] = []
        for run in _runs(items):
            for item, record in await self._read(run):
                await asyncio.sleep(0)
                records = self._made(item, record, rules, result)
                if records is not None:
                    ready.append(_Ready(item, records))
            if len(ready) >= APPENDED_AT_ONCE or sum(one.item.size for one in ready) >= APPENDED_BYTES:
                await self._append(ready, dry, result)
                ready = []
        await self._append(ready, dry, result)

    def _items(self, workspace: str, wanted: Redrive) -> list[Rejected]:
        if wanted.places is None:
            return self._store.in_order(workspace, wanted.wanted, wanted.after, wanted.limit)
        return [item for item in self._store.at(workspace, wanted.places) if item.redriven_at is None]

    async def _read(self, run: Sequence[Rejected]) -> list[tuple[Rejected, StoredRecord | None]]:
        """The records of items that lie close together; None for one that the log has dropped."""
        first, last = run[0].where, run[-1].where
        place = TopicPartition(REJECTED, first.partition)
        found: dict[int, StoredRecord] = {}
        start = first.position
        try:
            while start <= last.position:
                records = await self._log.read(place, start, last.position - start + 1)
                if not records:
                    break
                found.update((record.offset, record) for record in records)
                start = records[-1].offset + 1
        except OffsetOutOfRange:
            pass
        return [(item, found.get(item.where.position)) for item in run]

    def _made(
        self, item: Rejected, record: StoredRecord | None, rules: Mapping[str, SourceRules], result: Redriven
    ) -> Sequence[Record] | None:
        """The records that take the place of a rejected one; None, and counted, if there are none."""
        if record is None:
            result.skipped["expired"] += 1
            return None
        try:
            if item.origin != DOOR:
                return (original(record, self._partitions),)
            source = Source(item.workspace, item.source, *rules.get(item.source, DEFAULT_RULES))
            return self._judged(record, source)
        except (Unacceptable, Refused, BadRecord) as error:
            result.rejected[error.code] += 1
        except NotRedrivable as error:
            result.skipped[error.code] += 1
        return None

    def _judged(self, record: StoredRecord, source: Source) -> Sequence[Record]:
        raw, request = again(record, source, self._partitions, self._door.policy.max_event)
        admission: Admission | NativeAdmission
        if request.call == CALL:
            admission = NativeAdmission(Parcel((raw,), single=False), request, Recent(), self._door.policy.plan)
        else:
            body = Body((raw,), Envelope(), request.suspicious, UNREAD)
            if len(raw) <= request.max_event:
                body = body._replace(event=read_event(raw))
            admission = Admission(body, request, self._door.policy.plan)
        while admission.admit():
            continue
        if admission.rejected:
            raise Unacceptable(next(iter(admission.rejected)))
        return admission.records

    async def _append(self, ready: Sequence[_Ready], dry: bool, result: Redriven) -> None:
        if dry or not ready:
            result.accepted += len(ready)
            return
        now = self._door.now()
        claimed = await asyncio.to_thread(self._store.claim, [one.item.where for one in ready], now)
        mine = [one for one in ready if one.item.where in claimed]
        if len(mine) < len(ready):
            result.skipped["under_way"] += len(ready) - len(mine)
        left = set(claimed)
        try:
            if mine:
                await self._append_claimed(mine, left, result)
        finally:
            # If the database is away, the claims end by themselves.
            with suppress(StorageError):
                await asyncio.to_thread(self._store.release, sorted(left), now)

    async def _append_claimed(self, ready: Sequence[_Ready], left: set[RejectedPlace], result: Redriven) -> None:
        """Append, note what is done, and take it out of what is `left` to be released."""
        records = [record for one in ready for record in one.records]
        errors = iter(await self._door.append(records, deadline_in()))
        done: list[RejectedPlace] = []
        for one in ready:
            failed = [error for _, error in zip(one.records, errors, strict=False) if error is not None]
            if failed:
                result.rejected["record_too_large"] += 1
            else:
                result.accepted += 1
                done.append(one.item.where)
        await asyncio.to_thread(self._store.mark, done, self._door.now())
        left.difference_update(done)


class NotRedrivable(ServiceError):
    """A processor gave up something that no door ever took in. What made it has to make it again."""

    code = "not_an_event"


def again(record: StoredRecord, source: Source, partitions: int, max_event: int) -> tuple[bytes, Request]:
    """A rejected event's own bytes, and its request as it came, from a record that the door kept apart."""
    headers = dict(reversed(record.headers))
    raw = record.value or b""
    context, flags = _context(headers)
    call = headers.get("ce_call")
    return raw, Request(
        source=source,
        partitions=partitions,
        call=None if call is None else call.decode("utf-8", "replace"),
        received_at=_number(headers.get("orig_received_at"), record.timestamp),
        sent_at=_number(headers.get("orig_sent_at"), None),
        trust_sent_at=False,
        context=context,
        suspicious=_SUSPICIOUS in raw,
        retry="orig_retry" in headers,
        headers=tuple(each for each in record.headers if each[0] in _KEPT_HEADERS),
        flags=flags,
        max_event=max_event,
    )


def _context(headers: Mapping[str, bytes]) -> tuple[Any, tuple[str, ...]]:
    """The context that stood around the event, as far as it was kept, and the flag that says when it was not."""
    envelope = headers.get(ENVELOPE)
    if envelope is not None:
        found = read_event(envelope)
        return found.get("context") if isinstance(found, dict) else None, ()
    group = headers.get("orig_group")
    if group is None:
        return None, ()
    return {"groupId": group.decode("utf-8", "replace")}, ("envelope_dropped",)


def _number(value: bytes | None, otherwise: Any) -> Any:
    return int(value) if value is not None and value.isdigit() else otherwise


def original(record: StoredRecord, partitions: int) -> Record:
    """The record that a processor gave up, as it stood on its topic, to be appended there once more.

    Raises `BadRecord` when it would be given up again, whoever reads it.
    """
    place = next((value for name, value in record.headers if name == "ce_place"), b"").decode("utf-8", "replace")
    topic = place.partition("/")[0]
    if topic not in _REDRIVABLE:
        raise NotRedrivable
    found = [(name.removeprefix(_ORIGINAL), value) for name, value in record.headers if name.startswith(_ORIGINAL)]
    timestamp, *rest = found or [("", b"")]
    key: bytes | None = None
    if rest and rest[0][0] == "key":
        key = rest.pop(0)[1]
    if timestamp[0] != "timestamp" or not timestamp[1].isdigit() or key is None:
        raise BadRecord("The record says too little of the one that was given up.")
    headers: Headers = tuple(each for each in rest if each[0] not in _OF_A_RELAY)
    made = Record(topic, partition_of(key, partitions), key, record.value, headers, int(timestamp[1]))
    read_envelope(StoredRecord(topic, made.partition, 0, key, made.value, headers, made.timestamp))
    return made


def _runs(items: Sequence[Rejected]) -> list[list[Rejected]]:
    """The items in groups that lie close together on the log and are not too much at once."""
    runs: list[list[Rejected]] = []
    size = 0
    for item in items:
        last = runs[-1][-1].where if runs else None
        near = last is not None and last[0] == item.where[0] and item.where[1] - last[1] <= _GAP
        if near and len(runs[-1]) < _RUN and size + item.size <= _RUN_BYTES:
            runs[-1].append(item)
            size += item.size
        else:
            runs.append([item])
            size = item.size
    return runs
