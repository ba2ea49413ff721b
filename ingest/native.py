"""The native route: CloudEvents come in, and each of them gets a receipt. A plain ASGI application of its own."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple
from urllib.parse import parse_qsl

import msgspec
from starlette.types import Receive, Scope, Send

from ingest.domain.cloudevents import Mode, ce_headers, check_repeated, from_binary, mode_of
from ingest.domain.encoding import basic_user
from ingest.domain.native_admission import NativeAdmission, Parcel, listed, parcel_of
from ingest.domain.parsing import Body, Envelope, json_text
from ingest.domain.recent import Recent
from ingest.domain.tracing import trace_headers
from ingest.errors import Refused
from ingest.handlers import Door, Inbound
from ingest.http import discard
from ingest.idempotency import Idempotency, checked_key, hash_of
from ingest.ports import Source
from ingest.reading import MAX_CONTENT_TYPE, Deadline, Gone, checked_headers, deadline_in, inflated, read_body
from schemas.problems import PROBLEM_CONTENT_TYPE, Fault, problem

__all__ = ["PATH", "NativeApp", "NativeDoor"]

log = logging.getLogger(__name__)

PATH: Final = "/v1/events"
_KIND: Final = "events"
_BEARER: Final = b"bearer"
_MAX_KEY: Final = 1_024
_WITHOUT_BODY: Final = Body((), Envelope(), False)

_JSON: Final = (b"content-type", b"application/json")
_PROBLEM: Final = (b"content-type", PROBLEM_CONTENT_TYPE.encode())
_CORS: Final = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"Retry-After, Idempotency-Replayed"),
)
_ALLOW: Final = (b"allow", b"POST, OPTIONS")
_ALLOWED_HEADERS: Final = (
    b"authorization, content-type, content-encoding, idempotency-key, ce-id, ce-source, ce-specversion, ce-type,"
    b" ce-subject, ce-time, traceparent, tracestate, *"
)
_PREFLIGHT: Final = (
    *_CORS,
    _ALLOW,
    (b"access-control-allow-methods", b"POST, OPTIONS"),
    (b"access-control-allow-headers", _ALLOWED_HEADERS),
    (b"access-control-max-age", b"86400"),
)
# The handshake of the CloudEvents webhook: whoever has a write key may send from anywhere, and as much as its limits
# allow.
_WEBHOOK: Final = ((b"webhook-allowed-origin", b"*"), (b"webhook-allowed-rate", b"*"))


class Outcome(NamedTuple):
    """The receipt of a request, in JSON; `replayed`: it was given before."""

    receipt: bytes
    replayed: bool = False


class NativeDoor:
    """Takes CloudEvents to the event log through the door of the process."""

    def __init__(self, door: Door) -> None:
        """`door` brings the keys, the log and the limits."""
        self.door = door
        self.duplicates = 0
        self.conflicts = 0
        self._recent = Recent()

    async def accept(self, parcel: Parcel, source: Source, inbound: Inbound, deadline: Deadline) -> NativeAdmission:
        """The receipts, once every event is durable, accepted or kept apart. Raises `Refused` as `Door.accept` does."""
        door = self.door
        door.charge(source, inbound.address, len(parcel.items))
        request = door.request(source, inbound, _WITHOUT_BODY)
        admission = NativeAdmission(parcel, request, self._recent, door.policy.plan)
        for _ in iter(admission.admit, False):
            await asyncio.sleep(0)
        stored = 0
        while records := admission.records[stored:]:
            errors = await door.append(records, deadline)
            apart = [admission.kept_apart(place) for place, error in enumerate(errors, stored) if error is not None]
            if apart and any(await door.append(apart, deadline)):
                raise Refused("body_too_large")
            stored += len(records)
            for _ in iter(admission.admit_again, False):
                await asyncio.sleep(0)
        admission.settle()
        self.duplicates += admission.duplicates
        self.conflicts += admission.conflicts
        door.count(admission)
        return admission


class NativeApp:
    """The ASGI application of the route. Receipts are answered with 202, refusals as RFC 9457 problems; both with CORS
    headers.
    """

    def __init__(self, native: NativeDoor, idempotency: Idempotency, draw_id: Callable[[], str]) -> None:
        """`draw_id` makes the request id that the log and the answer of a refusal share."""
        self._native = native
        self._door = native.door
        self._idempotency = idempotency
        self._draw_id = draw_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["method"] == "OPTIONS":
            await _say_options(scope, send)
            return
        reading = _Reading(receive, self._door.counts.now())
        status = 202
        try:
            if scope["method"] != "POST":
                raise Refused("method_not_allowed")
            await _answer(await self._take(scope, reading), send)
        except Refused as refusal:
            status = refusal.status
            self._door.counts.refused[refusal.code] += 1
            await self._refuse(refusal, send, reading)
        except Gone:
            return
        except Exception:
            status = 500
            request_id = self._draw_id()
            log.exception("ingest.failed", extra={"request_id": request_id})
            await self._refuse(Refused("internal_error"), send, reading, request_id)
        self._door.counts.answered(_KIND, status, reading.began)

    async def _take(self, scope: Scope, reading: "_Reading") -> Outcome:
        door, policy = self._door, self._door.policy
        headers = _headers(scope)
        peer = scope["client"]
        address = policy.addresses(peer[0] if peer else "", headers.get(b"x-forwarded-for"))
        door.charge(None, address, 1)
        source = await door.source(_write_key(headers, scope["query_string"]), address=address)
        key = checked_key(headers.get(b"idempotency-key"))
        attributes = ce_headers(headers)
        mode = mode_of(headers.get(b"content-type"), bool(attributes))
        inbound = Inbound(
            call=None,
            address=address,
            retry=headers.get(b"x-retry-count", b"0") != b"0",
            trace=trace_headers(headers.get(b"traceparent"), headers.get(b"tracestate")),
        )
        with door.in_flight.held() as held:
            body = await read_body(reading.receive, headers, held, policy.max_body)
            reading.complete(door.counts.now())
            deadline = deadline_in()
            content = await inflated(body, headers.get(b"content-encoding"), held, policy.max_body)
            # As much again for what is made of it.
            held.grow(len(content))

            async def work() -> bytes:
                parcel = await _parcel(mode, content, headers.get(b"content-type"), attributes, policy.max_event)
                admission = await self._native.accept(parcel, source, inbound, deadline)
                return msgspec.json.encode(admission.receipt())

            if key is None:
                return Outcome(await work())
            meaning = hash_of(content, headers.get(b"content-type", b""), *_flat(attributes))
            return Outcome(*await self._idempotency.run(source.workspace, key, meaning, deadline, work))

    async def _refuse(self, refusal: Refused, send: Send, reading: "_Reading", request_id: str | None = None) -> None:
        faults = [Fault(pointer=refusal.pointer, code=refusal.code)] if refusal.pointer is not None else []
        answer = problem(
            refusal.code,
            refusal.detail,
            instance=PATH,
            request_id=request_id or self._draw_id(),
            errors=faults,
        )
        body = answer.model_dump_json(exclude_none=True).encode()
        headers = [_PROBLEM, (b"content-length", b"%d" % len(body)), *_CORS]
        if reading.unread:
            headers.append((b"connection", b"close"))
        if refusal.status in (429, 503):
            headers.append((b"retry-after", b"%d" % refusal.retry_after))
        if refusal.status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        if refusal.status == 405:
            headers.append(_ALLOW)
        await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": reading.unread})
        if reading.unread:
            if refusal.code != "request_timeout":
                await discard(reading.receive)
            await send({"type": "http.response.body", "body": b""})


class _Reading:
    """How far a request was read: `began` is when its body was complete, by the door's own clock."""

    __slots__ = ("began", "receive", "unread")

    def __init__(self, receive: Receive, now: float) -> None:
        self.receive = receive
        self.began = now
        self.unread = True

    def complete(self, now: float) -> None:
        self.began = now
        self.unread = False


def _headers(scope: Scope) -> dict[bytes, bytes]:
    """The headers by lower-case name. Raises `Refused` for too much of them, or for one that may stand only once."""
    headers = checked_headers(scope)
    if len(headers) != len(scope["headers"]):
        check_repeated(scope["headers"])
        names = [name for name, _ in scope["headers"]]
        if names.count(b"idempotency-key") > 1:
            raise Refused("invalid_idempotency_key", "Send Idempotency-Key only once.")
        if names.count(b"content-type") > 1:
            raise Refused("duplicate_header", "Send Content-Type only once.", "/headers/content-type")
    if len(headers.get(b"content-type", b"")) > MAX_CONTENT_TYPE:
        raise Refused("unsupported_media_type")
    return headers


def _write_key(headers: Mapping[bytes, bytes], query: bytes) -> str | None:
    """The write key: Basic user name, else Bearer token, else `writeKey` or `access_token` in the address."""
    given = headers.get(b"authorization")
    if given is not None:
        scheme, _, token = given.partition(b" ")
        if scheme.lower() == _BEARER and len(given) <= _MAX_KEY:
            return token.strip().decode("latin-1")
        if (name := basic_user(given)) is not None:
            return name
    if not query:
        return None
    try:
        pairs = parse_qsl(query.decode("ascii"), max_num_fields=100, errors="strict")
    except (UnicodeError, ValueError):
        return None
    return next((value for name, value in pairs if name in ("writeKey", "access_token")), None)


async def _parcel(
    mode: Mode, content: bytes, content_type: bytes | None, attributes: Mapping[str, bytes], max_event: int
) -> Parcel:
    """The events of a request. Raises `Refused`."""
    if mode is Mode.BINARY:
        return Parcel((from_binary(attributes, content_type, content, max_event),), single=True, in_headers=True)
    text = json_text(content)
    parcel = parcel_of(mode, text, attributes)
    if parcel.single:
        return parcel
    for found in listed(text):
        await asyncio.sleep(0)
        if found is not None:
            parcel = found
    return parcel


def _flat(attributes: Mapping[str, bytes]) -> list[bytes]:
    return [part for name in sorted(attributes) for part in (name.encode(), attributes[name])]


async def _answer(outcome: Outcome, send: Send) -> None:
    headers = [_JSON, (b"content-length", b"%d" % len(outcome.receipt)), *_CORS]
    if outcome.replayed:
        headers.append((b"idempotency-replayed", b"true"))
    await send({"type": "http.response.start", "status": 202, "headers": headers})
    await send({"type": "http.response.body", "body": outcome.receipt})


async def _say_options(scope: Scope, send: Send) -> None:
    """Answer a browser's preflight, and the handshake of a CloudEvents webhook. Neither needs a key."""
    webhook = any(name == b"webhook-request-origin" for name, _ in scope["headers"])
    headers = [*_PREFLIGHT, *_WEBHOOK, (b"content-length", b"0")] if webhook else [*_PREFLIGHT]
    await send({"type": "http.response.start", "status": 200 if webhook else 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
