"""What the load sends: events as SDKs send them, one or many to a request, as bytes; all servers get the same."""

import json
import random
import uuid
from collections.abc import Sequence
from time import time_ns
from typing import Final

from schemas.times import format_instant

__all__ = ["BATCH", "SINGLE", "WRITE_KEY", "now", "requests", "some_events"]

BATCH: Final = 100
SINGLE: Final = 1
WRITE_KEY: Final = "bench"
CUSTOMERS: Final = 20_000
_SINGLES: Final = 4_000
_BATCHES: Final = 300
_HEAD: Final = (
    "POST {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Basic YmVuY2g6\r\nUser-Agent: analytics-python/2.4.0\r\n"
    "Content-Type: application/json\r\ntraceparent: 00-{trace:032x}-{span:016x}-01\r\nContent-Length: {length}\r\n\r\n"
)


def now() -> int:
    """The wall time in ms."""
    return time_ns() // 1_000_000


def _event(dice: random.Random) -> dict[str, object]:
    """An event with the properties that the catalog describes."""
    return {
        "integrations": {},
        "anonymousId": None,
        "properties": {"plan": "pro", "revenue": dice.randrange(100) + 0.5, "coupon": None, "items": [1, 2]},
        "timestamp": format_instant(now()).replace("Z", "+00:00"),
        "context": {"library": {"name": "analytics-python", "version": "2.4.0"}},
        "userId": f"user-{dice.randrange(CUSTOMERS)}",
        "type": "track",
        "event": dice.choice(["Order Completed", "Signed In", "Feature Used"]),
        "messageId": str(uuid.UUID(int=dice.getrandbits(128))),
    }


def some_events(number: int, seed: int = 7) -> list[bytes]:
    """So many events as JSON."""
    dice = random.Random(seed)
    return [json.dumps(_event(dice)).encode() for _ in range(number)]


def _request(path: str, body: object, dice: random.Random) -> bytes:
    content = json.dumps(body).encode()
    trace, span = dice.getrandbits(127) + 1, dice.getrandbits(63) + 1
    return _HEAD.format(path=path, trace=trace, span=span, length=len(content)).encode() + content


def requests(size: int, seed: int = 7) -> Sequence[bytes]:
    """Whole HTTP requests with `size` events each, sent "now"; the load sends them again and again."""
    dice = random.Random(seed)
    sent_at = format_instant(now())
    if size == SINGLE:
        return [_request("/v1/track", {**_event(dice), "sentAt": sent_at}, dice) for _ in range(_SINGLES)]
    batches = ([_event(dice) for _ in range(size)] for _ in range(_BATCHES))
    return [_request("/v1/batch", {"batch": batch, "sentAt": sent_at}, dice) for batch in batches]
