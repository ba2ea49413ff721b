"""HTTP itself: what a sender can do wrong, or to harm, before there is a body; and large bodies."""

import asyncio
import gzip
import json
import socket
from contextlib import suppress
from typing import Final

import pytest

from ingest.domain.limits import MAX_BODY
from schemas.topics import EVENTS, REJECTED
from services.processes import http_protocol
from tests.integration.ingest.guard import WATCHED, Stalled, Watched, guarded
from tests.integration.ingest.serving import Served

TRACK: Final = b'{"userId":"ada","event":"Signed In","messageId":"m1"}'
BASIC: Final = b"Authorization: Basic Z29vZDo=\r\n"
BYE: Final = b"GET /bye HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def request(body: bytes = TRACK, *lines: bytes, path: bytes = b"/v1/track", length: bool = True) -> bytes:
    """A request as it goes over the wire."""
    own = [b"Content-Length: %d" % len(body)] if length else []
    head = b"\r\n".join([b"POST %s HTTP/1.1" % path, b"Host: x", *lines, *own])
    return head + b"\r\n" + BASIC + b"\r\n" + body


def statuses(answer: bytes) -> list[int]:
    """The status of each answer, in order."""
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


def body_of(answer: bytes) -> dict[str, object]:
    """The body of the last answer."""
    found = json.loads(answer.rpartition(b"\r\n\r\n")[2])
    assert isinstance(found, dict)
    return found


def told(answer: bytes) -> tuple[int, object]:
    """Status and code of the one answer, which must have the shape and the headers that senders understand."""
    (status,) = statuses(answer)
    head = answer.partition(b"\r\n\r\n")[0].lower()
    assert b"connection: close" in head
    assert b"access-control-allow-origin: *" in head
    assert b"content-type: application/json" in head
    found = body_of(answer)
    assert list(found) == ["success", "code", "message"]
    return status, found["code"]


SMUGGLED: Final = request(b'{"userId":"eve","event":"Smuggled"}')


@pytest.mark.parametrize(
    "lines",
    [
        (b"Content-Length: 3", b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: chunked", b"Content-Length: 3"),
        (b"Content-Length: 3", b"Content-Length: 4"),
        (b"Content-Length: 3, 4",),
        (b"Transfer-Encoding: xchunked",),
        (b"Transfer-Encoding: chunked, identity",),
        (b"Transfer-Encoding: gzip, chunked",),
        (b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"),
        (b"Transfer-Encoding : chunked",),
        (b"Transfer-Encoding:\x0bchunked",),
        (b"Content-Length : 3",),
        (b"Content-Length: +3",),
        (b"Content-Length: -3",),
        (b"Content-Length: 0x3",),
        (b"Content-Length: 3 3",),
        (b"Content-Length: 99999999999999999999999",),
        (b"Content-Length: 3\nX: y",),
        (b"X: y\r Transfer-Encoding: chunked",),
        (b"X: y\rContent-Length: 3",),
        (b"X y", b"Content-Length: 3"),
        (b": y", b"Content-Length: 3"),
        (b"X\x00Y: z", b"Content-Length: 3"),
    ],
)
async def test_what_two_servers_could_read_differently_is_refused_and_no_second_request_served(
    served: Served, lines: tuple[bytes, ...], caplog: pytest.LogCaptureFixture
) -> None:
    async with guarded(served, caplog, "time"):
        answer = await served.raw(request(b"0\r\n\r\n", *lines, length=False) + SMUGGLED + BYE)
    assert told(answer) == (400, "bad_request")
    assert served.switch.appends == 0


@pytest.mark.parametrize(
    "raw",
    [
        b"POST /v1/track HTTP/1.1\nHost: x\n\n",
        b"POST /v1/track HTTP/9.9\r\nHost: x\r\n\r\n",
        b"P\x00ST /v1/track HTTP/1.1\r\n\r\n",
        b"GARBAGE\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /v1/tr\xc3\xa9ck HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST v1/track HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_answered_and_the_connection_ends(served: Served, raw: bytes) -> None:
    assert told(await served.raw(raw + SMUGGLED)) == (400, "bad_request")
    assert served.switch.appends == 0


@pytest.mark.parametrize(
    "chunks",
    [
        b"zz\r\nab\r\n0\r\n\r\n",
        b"FFFFFFFFFFFFFFFFF\r\nab",
        b"-1\r\nab\r\n0\r\n\r\n",
        b"2\r\nabc\r\n0\r\n\r\n",
        b"2 \r\nab\r\n0\r\n\r\n",
        b"2\nab\n0\n\n",
        b"2;" + b"x" * 1_000_000 + b"\r\nab\r\n0\r\n\r\n",
        b"2\r\nab\r\n0\r\nX: " + b"y" * 1_000_000 + b"\r\n\r\n",
        b"2\r\nab\r\n0\r\n" + b"X: y\r\n" * 100_000 + b"\r\n",
    ],
)
@pytest.mark.parametrize("watched", WATCHED)
async def test_chunks_that_cannot_be_are_refused(
    served: Served, chunks: bytes, watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    sent = request(chunks, b"Transfer-Encoding: chunked", length=False) + SMUGGLED
    async with guarded(served, caplog, watched, len(sent)):
        status, code = told(await served.raw(sent))
    assert (status, code) in [(400, "bad_request"), (431, "headers_too_large")]
    assert served.switch.appends == 0


async def test_a_trailer_says_nothing(served: Served) -> None:
    chunked = b"%x\r\n%s\r\n0\r\nAuthorization: Basic eDo=\r\nContent-Encoding: gzip\r\n\r\n" % (len(TRACK), TRACK)
    answer = await served.raw(request(chunked, b"Transfer-Encoding: chunked", length=False) + BYE)
    assert statuses(answer) == [200, 404]


@pytest.mark.parametrize(
    "raw",
    [
        b"POST /" + b"x" * 9_000,
        b"POST /" + b"x" * 2_000_000,
        b"POST /v1/track?" + b"x" * 9_000 + b" HTTP/1.1\r\n\r\n",
    ],
)
async def test_an_address_that_is_too_long_is_refused_while_it_comes(served: Served, raw: bytes) -> None:
    assert told(await served.raw(raw)) == (414, "uri_too_long")


@pytest.mark.parametrize(
    "raw",
    [
        b"X: " + b"y" * 17_000 + b"\r\nA: b\r\n",
        b"X: " + b"y" * 2_000_000,
        b"X" * 2_000_000,
        b"X: y\r\n" * 101,
        b"".join(b"X-%d: %s\r\n" % (number, b"y" * 400) for number in range(50)),
    ],
)
@pytest.mark.parametrize("watched", WATCHED)
async def test_headers_that_are_too_much_are_refused_while_they_come(
    served: Served, raw: bytes, watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    async with guarded(served, caplog, watched, len(raw)):
        answer = await served.raw(b"POST /v1/track HTTP/1.1\r\nHost: x\r\n" + raw)
    assert told(answer) == (431, "headers_too_large")


@pytest.mark.parametrize("start", [b"P", b"POST /v1/tr", b"POST /v1/track HTTP/1.1\r\nHost: x\r\nX-A: b"])
async def test_headers_that_do_not_come_are_not_waited_for(
    served: Served, start: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol, "HEAD_SECONDS", 0.05)
    assert told(await served.raw(start)) == (408, "request_timeout")
    answer = await served.raw(request(), start)
    assert statuses(answer) == [200, 408]


async def test_a_connection_that_nothing_happens_on_is_closed(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    served.server.config.timeout_keep_alive = 0.05  # type: ignore[assignment]  # shorter than anyone would set it
    assert await served.raw(b"") == b""
    assert statuses(await served.raw(request())) == [200]


async def test_more_connections_than_allowed_are_told_when_to_come_again(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol, "CONNECTIONS", 1)
    _, other = await asyncio.open_connection("127.0.0.1", served.port)
    answer = await served.raw(request())
    assert told(answer) == (503, "unavailable")
    assert b"retry-after: " in answer
    other.close()
    await other.wait_closed()
    async with asyncio.timeout(5):
        while served.server.server_state.connections:  # noqa: ASYNC110 - the server has no event to wait for
            await asyncio.sleep(0.01)
    assert statuses(await served.raw(request() + BYE)) == [200, 404]


@pytest.mark.parametrize("protocol", [b"websocket", b"h2c", b"x"])
@pytest.mark.parametrize("body", [TRACK, b""])
async def test_an_upgrade_is_refused_at_once(served: Served, protocol: bytes, body: bytes) -> None:
    answer = await served.raw(request(body, b"Connection: Upgrade", b"Upgrade: " + protocol) + SMUGGLED)
    assert told(answer) == (400, "bad_request")
    assert served.switch.appends == 0


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n", 405),
        (b"TRACE /v1/track HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 405),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
        (b"HEAD /v1/track HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 405),
        (b"GET http://other/v1/track HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 405),
        (b"POST /v1/track HTTP/1.0\r\n\r\n", 400),
        (b"POST /v1/track#x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 400),
    ],
)
async def test_odd_requests_get_plain_answers(
    served: Served, raw: bytes, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with guarded(served, caplog, "time"):
        assert statuses(await served.raw(raw)) == [status]


@pytest.mark.parametrize(
    ("version", "hosts", "status"),
    [
        (b"1.1", [], 400),
        (b"1.1", [b"x", b"x"], 400),
        (b"1.1", [b"x", b"y"], 400),
        (b"1.1", [b""], 200),
        (b"1.0", [], 200),
        (b"1.0", [b"x"], 200),
        (b"1.0", [b"x", b"y"], 400),
    ],
)
@pytest.mark.parametrize("path", [b"/v1/track", b"/v1/track?x=y"])
async def test_a_request_names_its_host_once(
    served: Served, version: bytes, hosts: list[bytes], status: int, path: bytes
) -> None:
    lines = [b"POST %s HTTP/%s" % (path, version), *(b"Host: " + host for host in hosts), b"Connection: close"]
    head = b"\r\n".join([*lines, b"Content-Length: %d" % len(TRACK), BASIC, b""])
    answer = await served.raw(head + TRACK)
    assert statuses(answer) == [status]
    if status == 400:
        assert told(answer) == (400, "bad_request")
    assert served.switch.appends == (status == 200)


async def test_a_trailer_names_no_host(served: Served) -> None:
    chunked = b"%x\r\n%s\r\n0\r\nHost: y\r\n\r\n" % (len(TRACK), TRACK)
    answer = await served.raw(request(chunked, b"Transfer-Encoding: chunked", length=False) + BYE)
    assert statuses(answer) == [200, 404]


async def test_an_absolute_address_means_its_path(served: Served) -> None:
    assert statuses(await served.raw(request(path=b"http://other:1/v1/track") + BYE)) == [200, 404]


async def test_requests_in_a_row_are_answered_in_order(served: Served) -> None:
    mixed = [
        request(),
        request(b"{"),
        request(gzip.compress(TRACK), b"Content-Encoding: gzip"),
        request(b'{"batch":[]}', path=b"/v1/batch"),
        b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n",
        request(path=b"/v1/track?x=y"),
        request(b"[]"),
        request(),
    ]
    answer = await served.raw(b"".join(mixed) + BYE)
    assert statuses(answer) == [200, 400, 200, 200, 404, 200, 400, 200, 404]


async def test_what_is_malformed_waits_for_the_answers_before_it(served: Served) -> None:
    served.switch.open.clear()
    waiting = asyncio.create_task(served.raw(request() + request() + b"GARBAGE\r\n\r\n" + SMUGGLED))
    await served.switch.reached.wait()
    await asyncio.sleep(0.05)
    assert not waiting.done()
    served.switch.open.set()
    assert statuses(await waiting) == [200, 200, 400]


@pytest.mark.parametrize("watched", WATCHED)
async def test_ten_thousand_requests_at_once_on_one_connection_are_served_in_order(
    served: Served, watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    one, number = request(b'{"batch":[]}', path=b"/v1/batch"), 10_000 if watched == "time" else 2_000
    async with guarded(served, caplog, watched, len(one) * number):
        answer = await served.raw(one * number + BYE)
    assert statuses(answer) == [200] * number + [404]


async def test_what_waits_on_many_connections_takes_little_memory_and_is_answered_in_order(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    least, number = b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 14_000
    connections = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(4)]
    served.switch.open.clear()
    async with guarded(served, caplog, "memory", 4 * number * len(least)):
        for _, writer in connections:
            writer.write(request() + least * number)
        await served.switch.reached.wait()
        await asyncio.sleep(0.5)
        for _, writer in connections[1:]:
            writer.close()
        served.switch.open.set()
        reader, writer = connections[0]
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200 ")
        writer.close()
        while served.server.server_state.connections:  # noqa: ASYNC110 - nothing says when
            await asyncio.sleep(0.01)


async def test_requests_that_wait_are_served_when_their_turn_comes(served: Served) -> None:
    served.switch.open.clear()
    large = request(b'{"batch":[],"x":"%b"}' % (b"y" * 300_000), path=b"/v1/batch")
    several = (b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n" * 40 + large) * 5
    waiting = asyncio.create_task(served.raw(request() + several + request(), several, BYE))
    await served.switch.reached.wait()
    await asyncio.sleep(0.05)
    assert not waiting.done()
    served.switch.open.set()
    round_ = ([404] * 40 + [200]) * 5
    assert statuses(await waiting) == [200, *round_, 200, *round_, 404]


async def test_who_does_not_read_answers_is_not_served_on(served: Served) -> None:
    one = request(b'{"batch":[]}', path=b"/v1/batch")
    with socket.create_connection(("127.0.0.1", served.port)) as deaf:
        deaf.setblocking(False)
        sending = asyncio.create_task(asyncio.get_running_loop().sock_sendall(deaf, one * 100_000))
        async with asyncio.timeout(20):
            while not (found := list(served.server.server_state.connections)):  # noqa: ASYNC110 - nothing says when
                await asyncio.sleep(0.01)
            (connection,) = found
            assert isinstance(connection, http_protocol.DoorProtocol)
            while not connection.flow.write_paused:  # noqa: ASYNC110 - nothing says when
                await asyncio.sleep(0.01)
        await asyncio.sleep(1)
        assert connection.transport.get_write_buffer_size() < 256 * 1024
        sending.cancel()


@pytest.mark.parametrize("ending", [b"", b"GARBAGE\r\n\r\n"])
async def test_who_reads_no_answer_does_not_keep_a_connection(
    served: Served, ending: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_protocol, "WRITE_SECONDS", 0.5)
    connections = served.server.server_state.connections
    loop = asyncio.get_running_loop()
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        deaf.setblocking(False)
        await loop.sock_connect(deaf, ("127.0.0.1", served.port))
        one = request(b'{"batch":[]}', path=b"/v1/batch")
        sending = asyncio.create_task(loop.sock_sendall(deaf, one * (100_000 if not ending else 400) + ending))
        async with asyncio.timeout(20):
            while not connections:  # noqa: ASYNC110 - nothing says when
                await asyncio.sleep(0.01)
            for each in list(connections):
                own = each.transport.get_extra_info("socket")
                own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
            while connections:  # noqa: ASYNC110 - nothing says when
                await asyncio.sleep(0.01)
        with suppress(ConnectionError):
            await sending


async def test_who_reads_slowly_gets_every_answer(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "WRITE_SECONDS", 0.3)
    one, number = request(b'{"batch":[]}', path=b"/v1/batch"), 8_000
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=2_048)
    sending = asyncio.create_task(_all_written(writer, one * number + BYE))
    answer = b""
    while piece := await reader.read(100_000):
        answer += piece
        await asyncio.sleep(0.002)
    assert statuses(answer) == [200] * number + [404]
    await sending
    writer.close()


async def _all_written(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


@pytest.mark.parametrize("size", [1, 7, 1_000])
async def test_a_request_may_come_in_pieces(served: Served, size: int) -> None:
    whole = request() + request(b'{"batch":[{"type":"track",%s]}' % TRACK[1:], path=b"/v1/batch") + BYE
    pieces = [whole[start : start + size] for start in range(0, len(whole), size)]
    assert statuses(await served.raw(*pieces)) == [200, 200, 404]
    assert len(await served.records(EVENTS)) == 2


@pytest.mark.parametrize(
    "path",
    [
        "//v1/track",
        "/v1/track/",
        "/v1/%74rack",
        "/v1/track%00",
        "/v1/../v1/track",
        "/v1/batch/",
        "/v1/import//",
        "/V1/track",
    ],
)
async def test_only_the_exact_path_leads_to_the_door(served: Served, path: str) -> None:
    head = f"POST {path}?writeKey=good HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}"
    assert (await served.raw(head.encode())).startswith(b"HTTP/1.1 404")
    assert served.switch.appends == 0


LARGE: Final = {
    "2 million zeros": b'{"batch":[%s0]}' % (b"0," * 2_000_000),
    "a million objects": b'{"batch":[%s{}]}' % (b"{}," * 1_000_000),
    "ten thousand objects": b'{"batch":[%s{}]}' % (b"{}," * 9_999),
    "one event of lists": b'{"batch":[{"p":[%s[]]}]}' % (b"[]," * 1_300_000),
    "sixteen events of lists": b'{"batch":[%s{}]}' % (b'{"p":[%s[]]},' % (b"[]," * 80_000) * 16),
    "a context of lists": b'{"context":{"p":[%s[]]},"batch":[{}]}' % (b"[]," * 1_300_000),
    "a million keys": b'{"batch":[{%s"k":1}]}' % b"".join(b'"k%d":1,' % number for number in range(300_000)),
    "a long key": b'{"batch":[{"%s":1}]}' % (b"k" * 1_000_000),
    "ten thousand equal keys": b'{"batch":[{%s"k":1}]}' % (b'"k":1,' * 10_000),
    "other letters": '{{"batch":[{{"p":"{}"}}]}}'.format("é😀" * 600_000).encode(),
    "an open bracket": b'{"batch":' + b"[" * (MAX_BODY - 10),
    "nothing but space": b" " * MAX_BODY,
    "a text that does not end": b'{"batch":["' + b"x" * (MAX_BODY - 20),
    "escapes": b'{"batch":[{"p":"%s"}]}' % (b"\\u00e9" * 600_000),
    "numbers": b'{"batch":[{"p":[%s0.1]}]}' % (b"0.1," * 60_000),
}


@pytest.mark.parametrize("watched", WATCHED)
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", LARGE)
async def test_no_large_body_stalls_the_door_or_fills_its_memory(
    served: Served, name: str, compressed: bool, watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    body = LARGE[name]
    sent = gzip.compress(body, 1) if compressed else body
    lines = (b"Content-Encoding: gzip",) if compressed else ()
    whole = request(sent, *lines, path=b"/v1/batch") + BYE
    answer = b""
    for last in (False, False, True):
        try:
            async with guarded(served, caplog, watched, len(body)):
                answer = await served.raw(whole)
        except Stalled:
            if last:
                raise
        else:
            break
    # Tracing memory makes it so slow that the time may be up.
    assert statuses(answer)[0] in (200, 400, 413, *([503] if watched == "memory" else []))


async def test_ten_thousand_events_that_cannot_be_accepted_are_all_kept_apart(served: Served) -> None:
    answer = await served.raw(request(LARGE["ten thousand objects"], path=b"/v1/batch") + BYE)
    assert statuses(answer) == [200, 404]
    assert len(await served.records(REJECTED)) == 10_000
