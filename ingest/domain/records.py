"""From verdicts to records: the event, the account's copy of it, and what is kept apart."""

from functools import lru_cache
from hashlib import blake2b
from typing import Final

from ingest.domain.judging import Accepted, Request
from ingest.domain.timing import CLOCK_SKEW
from ingest.errors import Unacceptable
from schemas.ids import murmur2, record_key
from schemas.records import Headers, Record
from schemas.times import format_instant
from schemas.topics import EVENTS, REJECTED, ROUTED

__all__ = ["account_copy", "event_record", "rejected_record"]

_SPEC_VERSION: Final = ("ce_specversion", b"1.0")
_CONTENT_TYPE: Final = ("content-type", b"application/json")
_SKEWED: Final = (CLOCK_SKEW,)
_REJECTED_TYPE: Final = ("ce_type", b"parcours.event.rejected")
_CACHED_LENGTH: Final = 160
_GENERATION: Final = 16_384
_MAX_GROUP: Final = 512
_POSITIVE: Final = 0x7FFFFFFF


class _Hashes:
    """The hashes of keys that came lately: customers come again, and the hash is dear. Two generations of them."""

    __slots__ = ("_old", "_young")

    def __init__(self) -> None:
        self._young: dict[bytes, int] = {}
        self._old: dict[bytes, int] = {}

    def of(self, key: bytes) -> int:
        """The hash by which Kafka's default partitioner places a key."""
        found = self._young.get(key)
        if found is None:
            found = self._old.get(key)
            if found is None:
                found = murmur2(key) & _POSITIVE
            # Long ids are left out, so that nobody fills the memory.
            if len(key) <= _CACHED_LENGTH:
                if len(self._young) >= _GENERATION:
                    self._old, self._young = self._young, {}
                self._young[key] = found
        return found


_hash_of = _Hashes().of


@lru_cache(maxsize=4_096)
def _name_header(name: str) -> tuple[str, bytes]:
    return ("ce_type", name.encode())


@lru_cache(maxsize=256)
def _source_header(source: str) -> tuple[str, bytes]:
    return ("ce_source", f"/sources/{source}".encode())


@lru_cache(maxsize=256)
def _flags_header(flags: tuple[str, ...]) -> tuple[str, bytes]:
    return ("ce_flags", ",".join(flags).encode())


def event_record(event: Accepted, raw: bytes, request: Request, flags: tuple[str, ...] = ()) -> Record:
    """The record of an accepted event on `parcours.events`: the sender's own bytes, keyed by subject.

    `flags` are what the tracking plan says of it, and go with those of its time and its request.
    """
    subject = event.subject
    key = record_key(request.source.workspace, subject)
    headers: Headers = (
        _SPEC_VERSION,
        ("ce_id", event.message_id.encode()),
        _name_header(event.name),
        _source_header(request.source.name),
        ("ce_time", event.time),
        ("ce_subject", subject.encode()),
        _CONTENT_TYPE,
    )
    if event.skewed or flags or request.flags:
        headers += (_flags_header((*_SKEWED, *flags, *request.flags) if event.skewed else (*flags, *request.flags)),)
    if request.headers:
        headers += request.headers
    return Record(EVENTS, _hash_of(key) % request.partitions, key, raw, headers, request.received_at)


def account_copy(record: Record, account: str, request: Request) -> Record:
    """The account's copy of an event's record on `parcours.routed`: the same event id, keyed by the account."""
    key = record_key(request.source.workspace, account)
    own = ("ce_subject", account.encode())
    headers = tuple(own if found[0] == "ce_subject" else found for found in record.headers)
    return Record(ROUTED, _hash_of(key) % request.partitions, key, record.value, headers, record.timestamp)


@lru_cache(maxsize=64)
def _reason_headers(code: str, detail: str) -> Headers:
    return (("ce_reason", code.encode()), ("ce_detail", detail.encode()))


@lru_cache(maxsize=64)
def _request_headers(call: str | None, received_at: int, sent_at: int | None, *, retry: bool) -> Headers:
    """What a request says, as headers of what is kept apart of it."""
    headers: list[tuple[str, bytes]] = [("ce_time", format_instant(received_at).encode()), _CONTENT_TYPE]
    if call is not None:
        headers.append(("ce_call", call.encode()))
    headers.append(("orig_received_at", b"%d" % received_at))
    if sent_at is not None:
        headers.append(("orig_sent_at", b"%d" % sent_at))
    if retry:
        headers.append(("orig_retry", b"1"))
    return tuple(headers)


def rejected_record(raw: bytes, reason: Unacceptable, request: Request) -> Record:
    """What could not be accepted, on `parcours.rejected`: the sender's own bytes, why, and the call of its path.

    Headers keep what else the door would need to take it again as it came (times in ms). The id follows from the bytes,
    so that a retry's copy is known as one.
    """
    workspace = request.source.workspace.encode()
    digest = blake2b(raw, digest_size=16, key=workspace[:64]).digest()
    headers: Headers = (
        _SPEC_VERSION,
        ("ce_id", b"rejected-" + digest.hex().encode()),
        _REJECTED_TYPE,
        _source_header(request.source.name),
        *_reason_headers(reason.code, reason.detail),
        *_request_headers(request.call, request.received_at, request.sent_at, retry=request.retry),
        *request.headers,
    )
    group = request.context.get("groupId") if isinstance(request.context, dict) else None
    if isinstance(group, (str, int)) and len(shown := str(group)) <= _MAX_GROUP:
        headers += (("orig_group", shown.encode()),)
    partition = (int.from_bytes(digest[:4], "little") & _POSITIVE) % request.partitions
    return Record(REJECTED, partition, workspace, raw, headers, request.received_at)
