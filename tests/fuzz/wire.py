"""Requests as bytes on a connection, with everything wrong that only shows there, and the answers read back."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Final

from tests.fuzz.corpus import CORPUS, Sent
from tests.fuzz.mutators import spoiled, spoiled_bytes
from tests.fuzz.target import Answer

__all__ = ["BadAnswer", "exchanged", "spoiled_wire"]

_QUIET_SECONDS: Final = 0.15
_LONG: Final = 200_000
_GREETINGS: Final[Sequence[bytes]] = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200), b"EHLO x\r\n",
    b"\x00" * 64,
    b"GET /\r\n\r\n", b"GET / HTTP/0.9\r\n\r\n", b"GET / HTTP/3.0\r\n\r\n", b"POST / HTTP/1.0\r\n\r\n",
    b"\r\n\r\n\r\n", b"*1\r\n$4\r\nPING\r\n",
)  # fmt: skip
_LENGTHS: Final[Sequence[bytes]] = (
    b"-1", b"+5", b"5, 5", b"5, 6", b"0x5", b"5 5", b" 5 ", b"9" * 30, b"", b"1e2", b"\xb2",
)  # fmt: skip
_CODINGS: Final[Sequence[bytes]] = (
    b"chunked", b"xchunked", b"chunked, identity", b"identity", b"Chunked ", b"chunked\x0b", b"gzip, chunked",
    b"chunked, chunked",
)  # fmt: skip
_SIZES: Final[Sequence[bytes]] = (
    b"5", b"0005", b"0x5", b"-5", b"5 ", b"ffffffffffffffffff", b"5;a=b", b'5;a="\r\n"', b"5;" + b"x" * 9_000, b"G",
    b"", b"7fffffff",
)  # fmt: skip


class BadAnswer(AssertionError):
    """What came back is no answer of HTTP/1.1."""


def _without(sent: Sent, *names: bytes) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in sent.headers if name.lower() not in names]


def _chunked(sent: Sent, dice: random.Random) -> bytes:
    headers = [*_without(sent, b"content-length"), (b"Transfer-Encoding", b"chunked")]
    head = sent._replace(headers=headers, body=b"").raw()
    pieces = []
    rest = sent.body
    while rest:
        piece, rest = rest[: dice.choice((1, 10, 5_000))], rest[5_000:]
        size = b"%x" % len(piece) if dice.random() < 0.8 else dice.choice(_SIZES)
        pieces.append(size + dice.choice((b"\r\n", b"\r\n", b"\r\n", b"\n", b"")) + piece + b"\r\n")
    trailers = (b"", b"X: y\r\n", b"Content-Length: 5\r\n", b"X: " + b"y" * _LONG + b"\r\n")
    return head + b"".join(pieces) + b"0\r\n" + dice.choice(trailers) + b"\r\n"


def _misframed(sent: Sent, dice: random.Random) -> bytes:
    headers = _without(sent, b"content-length")
    lengths = (*_LENGTHS, b"%d" % len(sent.body))
    headers += [(b"Content-Length", dice.choice(lengths)) for _ in range(dice.choice((1, 1, 2)))]
    if dice.random() < 0.5:
        headers.insert(dice.randrange(len(headers)), (b"Transfer-Encoding", dice.choice(_CODINGS)))
    return sent._replace(headers=headers).raw()


def _misspelled(sent: Sent, dice: random.Random) -> bytes:
    raw = sent.raw()
    head, _, body = raw.partition(b"\r\n\r\n")
    match dice.randrange(8):
        case 0:
            head = head.replace(b"\r\n", b"\n")
        case 1:
            head = head.replace(b"\r\n", b"\r")
        case 2:
            head = head.replace(b": ", b" : ", 1)
        case 3:
            head = head.replace(b": ", b":\r\n ", 1)
        case 4:
            head += b"\r\nX: " + b"a" * _LONG
        case 5:
            head = head.replace(b" ", b" /" + b"a" * _LONG, 1)
        case 6:
            head += b"\r\nConnection: Upgrade\r\nUpgrade: " + dice.choice((b"websocket", b"h2c", b"x"))
        case _:
            head = head.replace(b"HTTP/1.1", dice.choice((b"HTTP/1.0", b"HTTP/2", b"HTTP/9.9", b"http/1.1", b"")))
    return head + b"\r\n\r\n" + body


def spoiled_wire(dice: random.Random) -> bytes:
    """One or more requests with something wrong, as bytes."""
    sent = spoiled(dice) if dice.random() < 0.5 else dice.choice(CORPUS)
    match dice.randrange(10):
        case 0:
            return dice.choice(_GREETINGS) + (sent.raw() if dice.random() < 0.5 else b"")
        case 1:
            return _chunked(sent, dice)
        case 2:
            return _misframed(sent, dice)
        case 3:
            return _misspelled(sent, dice)
        case 4:
            return b"".join(dice.choice(CORPUS).raw() for _ in range(dice.choice((2, 3, 20)))) + sent.raw()
        case 5:
            return sent.raw()
        case 6:
            return dice.randbytes(dice.choice((1, 40, 4_000)))
        case _:
            raw = sent.raw()
            for _ in range(dice.choice((1, 1, 2, 5))):
                raw = spoiled_bytes(raw, dice)
            return raw


async def exchanged(port: int, data: bytes, cuts: Sequence[int] = (), patience: float = _QUIET_SECONDS) -> list[Answer]:
    """Send bytes, in pieces that end at `cuts`, and return the answers: the first, and what came with it.

    No answer within `patience` seconds is one, too: whoever sends half a request may have to wait until it is too late.
    Raises `BadAnswer`.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received = bytearray()
    try:
        with suppress(OSError):
            for start, end in pairwise([0, *sorted(cuts), len(data)]):
                writer.write(data[start:end])
                await asyncio.sleep(0)
        with suppress(OSError, TimeoutError):
            while not _answers(received, data):
                piece = await asyncio.wait_for(reader.read(65_536), patience)
                received += piece
                if not piece:
                    break
        return _answers(received, data)
    finally:
        writer.transport.abort()


def _answers(received: bytearray, data: bytes) -> list[Answer]:
    """The complete answers at the beginning of what was received. Raises `BadAnswer`."""
    found = []
    rest = bytes(received)
    while b"\r\n\r\n" in rest:
        head, _, rest = rest.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        if not first.startswith(b"HTTP/1.") or not first[9:12].isdigit():
            raise BadAnswer(first[:200])
        pairs = [line.partition(b":") for line in lines]
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        status = int(first[9:12])
        length = int(headers.get(b"content-length", b"0")) if status not in (204, 304) else 0
        if b"HEAD " in data and (not rest or rest.startswith(b"HTTP/1.")):
            length = 0
        if len(rest) < length:
            break
        body, rest = rest[:length], rest[length:]
        if status != 100:
            found.append(Answer(status, headers, body))
        if headers.get(b"transfer-encoding") == b"chunked":
            break
    return found
