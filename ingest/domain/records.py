"""From verdicts to records: the event, the account's copy of it, and what is kept apart."""

from functools import lru_cache
from hashlib import blake2b
from typing import Final, NamedTuple

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
_SKEWED: Final = ("ce_flags", CLOCK_SKEW.encode())
_REJECTED_TYPE: Final = ("ce_type", b"parcours.event.rejected")
_CACHED_LENGTH: Final = 160
_POSITIVE: Final = 0x7FFFFFFF


class _Target(NamedTuple):
    key: bytes
    partition: int
    header: tuple[str, bytes]


def _new_target(workspace: str, subject: str, partitions: int) -> _Target:
    key = record_key(workspace, subject)
    return _Target(key, (murmur2(key) & _POSITIVE) % partitions, ("ce_subject", subject.encode()))


_known_target = lru_cache(maxsize=32_768)(_new_target)


def _target(workspace: str, subject: str, partitions: int) -> _Target:
    """Where a subject's records go. Customers come again; long ids are left out, so that nobody fills the memory."""
    if len(subject) > _CACHED_LENGTH:
        return _new_target(workspace, subject, partitions)
    return _known_target(workspace, subject, partitions)


@lru_cache(maxsize=4_096)
def _name_header(name: str) -> tuple[str, bytes]:
    return ("ce_type", name.encode())


@lru_cache(maxsize=256)
def _source_header(source: str) -> tuple[str, bytes]:
    return ("ce_source", f"/sources/{source}".encode())


def event_record(event: Accepted, raw: bytes, request: Request) -> Record:
    """The record of an accepted event on `parcours.events`: the sender's own bytes, keyed by subject."""
    return _record(EVENTS, event, event.subject, raw, request)


def account_copy(event: Accepted, account: str, raw: bytes, request: Request) -> Record:
    """The account's copy on `parcours.routed`: the same event id, keyed by the account."""
    return _record(ROUTED, event, account, raw, request)


def _record(topic: str, event: Accepted, subject: str, raw: bytes, request: Request) -> Record:
    target = _target(request.source.workspace, subject, request.partitions)
    headers: Headers = (
        _SPEC_VERSION,
        ("ce_id", event.message_id.encode()),
        _name_header(event.name),
        _source_header(request.source.name),
        ("ce_time", event.time),
        target.header,
        _CONTENT_TYPE,
    )
    if event.skewed:
        headers = (*headers, _SKEWED)
    return Record(topic, target.partition, target.key, raw, headers, request.received_at)


def rejected_record(raw: bytes, reason: Unacceptable, request: Request) -> Record:
    """What could not be accepted, on `parcours.rejected`: the sender's own bytes, why, and the call of its path.

    The id follows from the bytes, so that a retry's copy is known as one.
    """
    workspace = request.source.workspace.encode()
    digest = blake2b(raw, digest_size=16, key=workspace[:64]).digest()
    headers: list[tuple[str, bytes]] = [
        _SPEC_VERSION,
        ("ce_id", f"rejected-{digest.hex()}".encode()),
        _REJECTED_TYPE,
        _source_header(request.source.name),
        ("ce_time", format_instant(request.received_at).encode()),
        _CONTENT_TYPE,
        ("ce_reason", reason.code.encode()),
        ("ce_detail", reason.detail.encode()),
    ]
    if request.call is not None:
        headers.append(("ce_call", request.call.encode()))
    partition = (int.from_bytes(digest[:4], "little") & _POSITIVE) % request.partitions
    return Record(REJECTED, partition, workspace, raw, tuple(headers), request.received_at)
