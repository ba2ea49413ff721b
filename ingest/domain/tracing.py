"""W3C trace context of a request: carried along on its events' records where it is valid, and never made up."""

import re
from typing import Final

from schemas.records import Headers

__all__ = ["trace_headers"]

_TRACEPARENT: Final = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_TRACESTATE: Final = re.compile(rb"[\x20-\x7e]{1,512}")


def trace_headers(traceparent: bytes | None, tracestate: bytes | None) -> Headers:
    """The record headers that carry these HTTP headers on; without a valid `traceparent` none."""
    if traceparent is None or len(traceparent) != 55 or _TRACEPARENT.fullmatch(traceparent) is None:
        return ()
    if tracestate is None or _TRACESTATE.fullmatch(tracestate) is None:
        return (("traceparent", traceparent),)
    return (("traceparent", traceparent), ("tracestate", tracestate))
