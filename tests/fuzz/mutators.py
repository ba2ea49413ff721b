"""Ways to spoil a request. Each takes a request and a source of luck, and gives another request.

They know where parsers go wrong: lengths, nesting, numbers, encodings, doubled names, cut ends.
"""

import gzip
import json
import random
import zlib
from collections.abc import Callable, Sequence
from typing import Any, Final

from tests.fuzz.corpus import CORPUS, WRITE_KEY, Sent

__all__ = ["spoiled", "spoiled_bytes", "with_length"]

_PLACE: Final = "@place@"
_VALUES: Final[Sequence[str]] = (
    "null", "true", "0", "-0", "-0.0", "1e308", "1e309", "-1e400", "1e-400", "9007199254740993", "01", "+1", "1.", ".5",
    "NaN", "Infinity", "-", "0x1f", "tru", "''", '""', '" "', '"\\u0000"', '"\\ud800"', '"\\udc00\\ud800"', '"\\q"',
    '"\\u12"', '"\t"', '"\x00"', '"\x1f"', '"\\u202e\\u200b"', '"a\\u0301"', '"\U0001f469\u200d\U0001f4bb"',
    '"..\\/.."',
    "[]", "{}", "[[]]", "[null]", '{"":""}', '{"a":1,"a":2}', '{"__proto__":{"x":1}}', '{"$ref":"#"}', "[,]", "{,}",
    "[1,]",
    '"2026-11-03"', '"2026-13-45T99:99:99Z"', '"0001-01-01T00:00:00Z"', '"9999-12-31T23:59:60Z"', '"-1"',
    "-62135596800000",
    "253402300800000", "1e20", '"2026-11-03T10:00:00.123456789+05:30"', '"2026-11-03t10:00:00z"', '"$identify"',
    '"$x:y"',
    '"=cmd()"', '"<script>alert(1)</script>"', '"{{7*7}}"', "\"' OR 1=1 --\"", '"%00%0d%0a"', '"user:ada"', '"anon:"',
    '"account:x"', '"\\n"', '"none"', '"undefined"', '"0"', "[[[[[[[[[[]]]]]]]]]]", '"@place@"', "/*", '"', "{", "]",
    "",
)  # fmt: skip
_BYTES: Final[Sequence[bytes]] = (
    b"\x00", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\r\n", b"\n",
    b"\r",
    b"\r\n\r\n", b" ", b"\t", b"\x0b", b"\x7f", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"%", b"%00",
    b"%2e%2e%2f",
    b"../", b"?", b"#", b"&", b"=", b";", b"\x1f\x8b", b"0\r\n\r\n", b"-1", b"99999999999999999999", b"\xe2\x80\xa8",
)  # fmt: skip
_NAMES: Final[Sequence[bytes]] = (
    b"Authorization", b"Content-Type", b"Content-Encoding", b"Content-Length", b"Transfer-Encoding", b"Host", b"Expect",
    b"X-Retry-Count", b"sentAt", b"anonymousId", b"traceparent", b"tracestate", b"Idempotency-Key", b"X-Forwarded-For",
    b"Origin", b"Cookie", b"Connection", b"Upgrade", b"ce-id", b"ce-source", b"ce-type", b"ce-specversion", b"ce-time",
    b"ce-subject", b"ce-flags", b"ce-datacontenttype", b"TE", b"Range", b"If-None-Match", b"Accept-Encoding", b"X", b"",
)  # fmt: skip
_TEXTS: Final[Sequence[bytes]] = (
    b"", b" ", b"0", b"-1", b"+5", b"1e3", b"4294967296", b"18446744073709551617", b"gzip", b"GZIP", b"gzip, gzip",
    b"br",
    b"deflate", b"identity", b"x-gzip", b"chunked", b"Chunked", b"identity, chunked", b"chunked, identity", b"xchunked",
    b"application/json", b"application/cloudevents+json", b"application/cloudevents-batch+json", b"multipart/form-data",
    b"application/cloudevents+avro", b"application/x-www-form-urlencoded", b"text/plain",
    b"application/json; charset=utf-16",
    b"Basic", b"Basic ", b"Basic %%%", b"Basic //8=", b"Bearer x", b"Bearer ", b"basic Og==", b"Digest a=b", b"close",
    b"upgrade",
    b"keep-alive, Upgrade", b"websocket", b"h2c", b"100-continue", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01",
    b"1.0", b"0.3",
    b"127.0.0.1", b"::1, 203.0.113.7", b"\xff\xfe", b"\xc3\xa9", b"%C0%A0", b"%0d%0a", b"%2541", b'"quoted"', b"a\tb",
    b"*", b"W/\"x\"",
    b"2026-11-03T10:00:00Z", b"yesterday", b"A" * 300, b"a" * 9_000, b"bytes=0-99999999999", b"https://evil.example",
    b"null",
)  # fmt: skip
_TARGETS: Final[Sequence[bytes]] = (
    b"/v1/track/", b"/v1//track", b"//v1/track", b"/V1/TRACK", b"/v1/track;x", b"/v1/%74rack", b"/v1/track%00",
    b"/v1/events/",
    b"/v1/../v1/track", b"/v1/track?writeKey=" + WRITE_KEY.encode(), b"/v1/track?writeKey=%ff",
    b"/v1/track?" + b"a&" * 3_000,
    b"/v1/track?writeKey=a&writeKey=b", b"*", b"http://other.example/v1/track", b"/v1/projects//settings",
    b"/v1/projects/%00/settings",
    b"/v1/projects/" + b"x" * 3_000 + b"/settings", b"/", b"/metrics", b"/healthz", b"/openapi.json", b"/v1/catalog",
    b"/v1/rejected",
    b"/v1/customers/%00", b"/v1/keys", b"/v1/sources/%2e%2e", b"/v1/catalog/coverage", b"/v1/customers/x?limit=-1",
    b"/static/../x",
    b"/v1/rejected?cursor=%ff&limit=1e9", b"/v1/lifecycles/%F0%9F%92%A9", b"/" + b"a" * 9_000, b"/v1/m",
    b"/beacon/v1/batch", b"",
)  # fmt: skip
_METHODS: Final[Sequence[bytes]] = (
    b"GET", b"PUT", b"HEAD", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE", b"CONNECT", b"post", b"PROPFIND", b"QUERY",
    b"P\x00ST", b"",
)  # fmt: skip

Mutator = Callable[[Sent, random.Random], Sent]


def spoiled_bytes(data: bytes, dice: random.Random) -> bytes:
    """Bytes with one thing wrong: flipped, cut, doubled, put in, swapped, or taken from elsewhere."""
    if not data:
        return dice.choice(_BYTES)
    at, length = dice.randrange(len(data)), 1 + int(dice.expovariate(1 / 8))
    match dice.randrange(9):
        case 0:
            return data[:at] + bytes([data[at] ^ (1 << dice.randrange(8))]) + data[at + 1 :]
        case 1:
            return data[:at] + dice.choice(_BYTES) + data[at:]
        case 2:
            return data[:at] + dice.choice(_BYTES) + data[at + length :]
        case 3:
            return data[:at] + data[at + length :]
        case 4:
            return data[:at]
        case 5:
            return data[: at + length] + data[at:]
        case 6:
            return data[:at] + dice.randbytes(length) + data[at:]
        case 7:
            other = dice.choice(CORPUS).body
            return data[:at] + other[dice.randrange(len(other) + 1) :]
        case _:
            return data[at:] + data[:at]


def _body(sent: Sent, dice: random.Random) -> Sent:
    return sent._replace(body=spoiled_bytes(sent.body, dice))


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every container and key or index inside it."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        each = waiting.pop()
        keys: Any = each.keys() if isinstance(each, dict) else range(len(each)) if isinstance(each, list) else ()
        for key in keys:
            found.append((each, key))
            waiting.append(each[key])
    return found


def _hostile_text(dice: random.Random) -> str:
    match dice.randrange(12):
        case 0:
            return "[" * dice.choice((20, 200, 2_000)) + "]" * dice.choice((0, 20, 200, 2_000))
        case 1:
            return '{"a":' * dice.choice((20, 200, 2_000)) + "1" + "}" * dice.choice((0, 20, 200, 2_000))
        case 2:
            return "1" * dice.choice((20, 400, 5_000))
        case 3:
            return '"' + "x" * dice.choice((255, 256, 512, 513, 40_000)) + '"'
        case 4:
            return '"' + f"\\u{dice.randrange(65_536):04x}" * dice.choice((1, 2, 300)) + '"'
        case _:
            return dice.choice(_VALUES)


def _json(sent: Sent, dice: random.Random) -> Sent:
    """One value, key or member of the body's JSON is replaced, taken out or doubled."""
    try:
        value = json.loads(sent.body)
    except (ValueError, RecursionError):
        return _body(sent, dice)
    places = _places(value)
    if not places:
        return sent._replace(body=_hostile_text(dice).encode("utf-8", "surrogatepass"))
    container, key = dice.choice(places)
    if (chosen := dice.randrange(6)) == 0:
        del container[key]
    elif chosen == 1 and isinstance(container, dict):
        container[dice.choice(("", "\x00", "type", "userId", "batch", "$x", "a" * 300, "é"))] = container.pop(key)
    elif chosen == 2 and isinstance(container, list):
        container.extend([container[key]] * dice.choice((1, 5, 40)))
    else:
        container[key] = _PLACE
    text = json.dumps(value, ensure_ascii=dice.random() < 0.5).replace(f'"{_PLACE}"', _hostile_text(dice))
    return sent._replace(body=text.encode("utf-8", "surrogatepass"))


def _header(sent: Sent, dice: random.Random) -> Sent:
    headers = list(sent.headers)
    at = dice.randrange(len(headers)) if headers else 0
    match dice.randrange(7):
        case 0 if headers:
            del headers[at]
        case 1 if headers:
            headers.insert(dice.randrange(len(headers) + 1), headers[at])
        case 2 if headers:
            headers[at] = (headers[at][0], spoiled_bytes(headers[at][1], dice))
        case 3 if headers:
            headers[at] = (headers[at][0], dice.choice(_TEXTS))
        case 4:
            headers += [(b"X-%d" % number, b"v") for number in range(dice.choice((5, 99, 101, 400)))]
        case 5:
            headers.append((dice.choice(_NAMES), spoiled_bytes(dice.choice(_TEXTS), dice)))
        case _:
            headers.append((dice.choice(_NAMES), dice.choice(_TEXTS)))
    return sent._replace(headers=headers)


def _target(sent: Sent, dice: random.Random) -> Sent:
    match dice.randrange(3):
        case 0:
            return sent._replace(target=dice.choice(_TARGETS))
        case 1:
            return sent._replace(target=spoiled_bytes(sent.target, dice))
        case _:
            return sent._replace(target=dice.choice(CORPUS).target)


def _method(sent: Sent, dice: random.Random) -> Sent:
    return sent._replace(method=dice.choice(_METHODS))


def _encoded(sent: Sent, dice: random.Random) -> Sent:
    """The body is compressed: rightly, twice, cut, spoiled, in parts, or not at all but said to be."""
    body = sent.body
    match dice.randrange(8):
        case 0:
            body = gzip.compress(body, 1)
        case 1:
            body = gzip.compress(gzip.compress(body, 1), 1)
        case 2:
            packed = gzip.compress(body, 1)
            body = packed[: dice.randrange(len(packed))]
        case 3:
            body = spoiled_bytes(gzip.compress(body, 1), dice)
        case 4:
            middle = dice.randrange(len(body) + 1)
            body = gzip.compress(body[:middle], 1) + gzip.compress(body[middle:], 1)
        case 5:
            body = zlib.compress(body, 1)
        case 6:
            body = gzip.compress(body, 1) + dice.choice(_BYTES)
        case _:
            pass
    encoding = (b"Content-Encoding", dice.choice((b"gzip", b"gzip", b"gzip", b"GZIP", b"deflate", b"br")))
    return sent._replace(body=body, headers=[*sent.headers, encoding])


def _delivery(sent: Sent, dice: random.Random) -> Sent:
    return sent._replace(pieces=dice.choice((1, 2, 7, 60)), leaves=dice.random() < 0.2)


def _heavy(sent: Sent, dice: random.Random) -> Sent:
    """A body that is small to send and much to read."""
    event = b'{"type":"track","userId":"u","event":"E","properties":%s}'
    many = dice.choice((10_000, 200_000, 900_000))
    match dice.randrange(9):
        case 0:
            body = b'{"batch":[' + b"[]," * many + b"[]]}"
        case 1:
            body = b'{"batch":[' + b"0," * many + b"0]}"
        case 2:
            body = b'{"batch":[' + b"{}," * 10_000 + b"{}]}"
        case 3:
            body = event % (b'{"k":"' + b"x" * 1_000_000 + b'"}')
        case 4:
            body = event % (b"{" + b'"a":1,' * 10_000 + b'"b":1}')
        case 5:
            body = event % (b"{" + b",".join(b'"k%d":%d' % (n, n) for n in range(30_000)) + b"}")
        case 6:
            body = gzip.compress(b" " * 30_000_000, 9)
        case 7:
            body = gzip.compress(b'{"batch":[' + b"[]," * 1_300_000 + b"[]]}", 1)
        case _:
            body = b"[" * many
    encoding = [(b"Content-Encoding", b"gzip")] if body[:2] == b"\x1f\x8b" else []
    return sent._replace(method=b"POST", target=b"/v1/batch", body=body, headers=[*sent.headers, *encoding])


_MUTATORS: Final[Sequence[Mutator]] = (_body, _json, _header, _target, _method, _encoded, _delivery)
_WEIGHTS: Final = (6, 14, 6, 2, 1, 2, 2)
_HEAVY_ONE_IN: Final = 400


def with_length(sent: Sent) -> Sent:
    """The same request with the length that its body has."""
    length = b"%d" % len(sent.body)
    return sent._replace(
        headers=[(name, length if name.lower() == b"content-length" else value) for name, value in sent.headers]
    )


def spoiled(dice: random.Random) -> Sent:
    """A good request with one to four things wrong; as a rule its length fits."""
    sent = dice.choice(CORPUS)
    if dice.randrange(_HEAVY_ONE_IN) == 0:
        return with_length(_heavy(sent, dice))
    for mutate in dice.choices(_MUTATORS, _WEIGHTS, k=dice.choice((1, 1, 1, 2, 2, 3, 4))):
        sent = mutate(sent, dice)
    return with_length(sent) if dice.random() < 0.9 else sent
