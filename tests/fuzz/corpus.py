"""Requests that are good, one of each kind that the door serves: what the mutators begin with."""

import base64
import gzip
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["API_TOKEN", "CORPUS", "WRITE_KEY", "Sent"]

WRITE_KEY = "wk_of_the_fuzz_tests"
API_TOKEN = "pt_of_the_fuzz_tests"
_BASIC = b"Basic " + base64.b64encode(f"{WRITE_KEY}:".encode())
_TOKEN = {"Authorization": f"Bearer {API_TOKEN}"}
_AT = "2026-11-03T10:00:00.000Z"

_TRACK = {
    "type": "track",
    "event": "Order Completed",
    "userId": "ada",
    "anonymousId": "a-1",
    "messageId": "6f1a-1",
    "timestamp": _AT,
    "sentAt": _AT,
    "properties": {"order_id": "o-1", "total": 12.5, "currency": "EUR", "products": [{"product_id": "p", "price": 1}]},
    "context": {"library": {"name": "analytics.js", "version": "4"}, "traits": {"email": "ada@example.com"}},
    "integrations": {"All": True},
}
_IDENTIFY = {"type": "identify", "userId": "ada", "messageId": "6f1a-2", "traits": {"name": "Ada", "plan": "pro"}}
_GROUP = {"type": "group", "userId": "ada", "groupId": "acme", "messageId": "6f1a-3", "traits": {"seats": 5}}
_ALIAS = {"type": "alias", "userId": "ada", "previousId": "a-1", "messageId": "6f1a-4"}
_PAGE = {"type": "page", "anonymousId": "a-1", "name": "Pricing", "messageId": "6f1a-5", "properties": {"url": "/"}}
_SCREEN = {"type": "screen", "userId": "ada", "name": "Home", "messageId": "6f1a-6"}
_ALL: list[dict[str, Any]] = [_TRACK, _IDENTIFY, _GROUP, _ALIAS, _PAGE, _SCREEN]
_CLOUD_EVENT = {
    "specversion": "1.0",
    "id": "c-1",
    "source": "/shop",
    "type": "Order Completed",
    "subject": "ada",
    "time": _AT,
    "datacontenttype": "application/json",
    "data": {"total": 12.5},
}


class Sent(NamedTuple):
    """A request: method, target, headers in order, body. `pieces` cuts the body, `leaves`: the sender goes away."""

    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes
    pieces: int = 1
    leaves: bool = False

    def raw(self) -> bytes:
        """The request as bytes of HTTP/1.1."""
        lines = [b"%s: %s\r\n" % pair for pair in self.headers]
        return b"%s %s HTTP/1.1\r\n%s\r\n%s" % (self.method, self.target, b"".join(lines), self.body)


def _post(target: str, body: object, headers: Mapping[str, str] | None = None, basic: bool = True) -> Sent:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"Host": "door", "Content-Type": "application/json", **(headers or {}), "Content-Length": str(len(content))}
    pairs = [(name.encode(), value.encode()) for name, value in given.items()]
    return Sent(b"POST", target.encode(), [*pairs, (b"Authorization", _BASIC)] if basic else pairs, content)


def _get(target: str, method: bytes = b"GET", headers: Mapping[str, str] | None = None) -> Sent:
    given = {"Host": "door", **(headers or {})}
    return Sent(method, target.encode(), [(name.encode(), value.encode()) for name, value in given.items()], b"")


def _batch(**envelope: Any) -> dict[str, Any]:
    return {"batch": _ALL, "sentAt": _AT, **envelope}


_BINARY = {f"ce-{name}": str(value) for name, value in _CLOUD_EVENT.items() if name not in ("datacontenttype", "data")}
_TRACE = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=1,b=2"}

CORPUS: tuple[Sent, ...] = (
    *(_post(f"/v1/{call['type']}", call) for call in _ALL),
    *(_post(f"/v1/{call['type'][0]}", call) for call in _ALL),
    _post("/v1/batch", _batch(), _TRACE),
    _post("/v1/batch", _batch(context={"ip": "203.0.113.7"}, integrations={"All": False}), {"X-Retry-Count": "2"}),
    _post("/v1/import/", _batch(writeKey=WRITE_KEY), basic=False),
    _post("/v1/b", gzip.compress(json.dumps(_batch()).encode()), {"Content-Encoding": "gzip"}),
    _post(
        f"/beacon/v1/batch?writeKey={WRITE_KEY}", _batch(), {"Content-Type": "text/plain;charset=UTF-8"}, basic=False
    ),
    _post("/v1/m", {"series": []}),
    _post("/v1/track", _TRACK, {"anonymousId": "a-1", "sentAt": _AT}),
    _get("/v1/batch", b"OPTIONS", {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}),
    _get(f"/v1/projects/{WRITE_KEY}/settings"),
    _get(f"/sourceConfig/?writeKey={WRITE_KEY}"),
    _get("/v1/catalog?q=order", headers=_TOKEN),
    _get("/v1/catalog/coverage", headers=_TOKEN),
    _get("/v1/rejected?limit=10", headers=_TOKEN),
    _get("/v1/lifecycles", headers=_TOKEN),
    _post("/v1/events", _CLOUD_EVENT, {"Content-Type": "application/cloudevents+json", "Idempotency-Key": "k-1"}),
    _post("/v1/events", [_CLOUD_EVENT] * 3, {"Content-Type": "application/cloudevents-batch+json"}),
    _post("/v1/events", [_CLOUD_EVENT, _CLOUD_EVENT]),
    _post("/v1/events", {"total": 1}, {**_BINARY, **_TRACE}),
    _post("/v1/events", b"<order/>", {**_BINARY, "Content-Type": "application/xml"}),
)
