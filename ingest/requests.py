"""What a request to a tracking route says beside its body."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import parse_qsl

from ingest.domain.tracing import trace_headers
from ingest.errors import Refused
from ingest.handlers import Inbound
from ingest.reading import MAX_CONTENT_TYPE

__all__ = ["BATCH", "METRICS", "ROUTES", "checked_content_type", "inbound_of"]

BATCH: Final = "batch"
METRICS: Final = "metrics"
_CALLS: Final = {"track": "t", "identify": "i", "page": "p", "screen": "s", "group": "g", "alias": "a"}

ROUTES: Final[Mapping[bytes, str]] = MappingProxyType(
    {
        **{f"/v1/{call}".encode(): call for call in _CALLS},
        **{f"/v1/{short}".encode(): call for call, short in _CALLS.items()},
        **dict.fromkeys((b"/v1/batch", b"/v1/b", b"/v1/import", b"/v1/import/", b"/beacon/v1/batch"), BATCH),
        b"/v1/m": METRICS,
    }
)
"""Raw paths, matched byte by byte, and what they take: a call's one event, a batch, or an SDK's metrics (discarded)."""


def checked_content_type(headers: Mapping[bytes, bytes]) -> None:
    """A body is JSON whatever its type says. Raises `Refused` ``unsupported_media_type`` where it is surely a form."""
    content_type = headers.get(b"content-type", b"")
    if len(content_type) > MAX_CONTENT_TYPE or content_type[:10].lower() == b"multipart/":
        raise Refused("unsupported_media_type")


def inbound_of(kind: str, query: bytes, headers: Mapping[bytes, bytes], address: str) -> Inbound:
    """What the door is told of a request to a route of that kind, from that address."""
    sent_at = headers.get(b"sentat")
    return Inbound(
        None if kind == BATCH else kind,
        _query_key(query) if query else None,
        sent_at.decode("latin-1") if sent_at is not None else None,
        headers.get(b"x-retry-count", b"0") != b"0",
        None,
        address,
        trace_headers(headers.get(b"traceparent"), headers.get(b"tracestate")),
    )


def _query_key(query: bytes) -> str | None:
    try:
        pairs = parse_qsl(query.decode("ascii"), max_num_fields=100, errors="strict")
    except (UnicodeError, ValueError):
        return None
    return next((value for name, value in pairs if name == "writeKey"), None)
