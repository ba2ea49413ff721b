"""Requests and verdicts for tests of the door's domain."""

from typing import Any

import msgspec

from ingest.domain.admission import Admission
from ingest.domain.judging import Accepted, Request, judge
from ingest.domain.parsing import parse_event
from ingest.errors import Unacceptable
from ingest.ports import Source
from schemas.times import parse_instant

NOW = parse_instant("2026-11-03T10:00:00.000Z")
REQUEST = Request(
    source=Source("default", "shop"),
    partitions=4,
    call=None,
    received_at=NOW,
    sent_at=None,
    trust_sent_at=True,
    context=None,
    suspicious=True,
)


def verdict(event: Any, request: Request = REQUEST) -> Accepted | str:
    """What the judge says of an event (a value, or JSON bytes): the verdict, or the code of the refusal."""
    raw = event if isinstance(event, bytes) else msgspec.json.encode(event)
    try:
        return judge(msgspec.json.decode(raw), raw, request)
    except Unacceptable as reason:
        return reason.code


def accepted(event: Any, request: Request = REQUEST) -> Accepted:
    """The verdict on an event that must be acceptable."""
    found = verdict(event, request)
    assert isinstance(found, Accepted), found
    return found


def admission(body: bytes, call: str = "track") -> Admission:
    """The whole admission of a body with one event."""
    found = Admission(parse_event(body), REQUEST._replace(call=call))
    found.admit()
    return found
