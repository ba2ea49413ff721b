"""Content-Encoding and credentials of a request: bounded, and wrong in only one way."""

import binascii
import zlib
from base64 import b64decode
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from ingest.domain.limits import MAX_BODY
from ingest.errors import Refused

__all__ = ["STEP", "basic_user", "checked_encoding", "decoded", "inflate"]

STEP: Final = 64 * 1024
"""Bytes that are decompressed in one go."""

_GZIP_WINDOW: Final = 31
_GZIP_MAGIC: Final = b"\x1f\x8b"
_MAX_CREDENTIALS: Final = 1_024


def checked_encoding(encoding: bytes | None) -> bool:
    """Whether the body is gzipped. Raises `Refused` ``unsupported_encoding`` for anything but that, or none."""
    name = (encoding or b"identity").strip().lower()
    if name == b"identity":
        return False
    if name not in (b"gzip", b"x-gzip"):
        raise Refused("unsupported_encoding")
    return True


def inflate(body: bytes, limit: int = MAX_BODY) -> Iterator[bytes]:
    """A gzipped body, piece by piece of at most 64 KiB, and at most `limit` bytes in all.

    Raises `Refused`: ``unsupported_encoding`` (gzip within gzip), ``bad_encoding`` (corrupt, cut off, or followed by
    more), ``body_too_large``.
    """
    stream = zlib.decompressobj(_GZIP_WINDOW)
    view = memoryview(body)
    size = 0
    for start in range(0, len(body), STEP):
        rest: bytes | memoryview = view[start : start + STEP]
        while True:
            try:
                piece = stream.decompress(rest, STEP)
            except zlib.error as error:
                raise Refused("bad_encoding") from error
            if size == 0 and piece.startswith(_GZIP_MAGIC):
                raise Refused("unsupported_encoding")
            size += len(piece)
            if size > limit:
                raise Refused("body_too_large", f"A body may hold {limit:,} bytes once decoded. Send smaller batches.")
            if piece:
                yield piece
            rest = stream.unconsumed_tail
            if stream.eof:
                if stream.unused_data or start + STEP < len(body):
                    raise Refused("bad_encoding")
                return
            if not rest and len(piece) < STEP:
                break
    raise Refused("bad_encoding")


def decoded(body: bytes, encoding: bytes | None, limit: int = MAX_BODY) -> bytes:
    """The body behind its Content-Encoding (gzip, or none), of at most `limit` bytes. Raises `Refused` as `inflate`."""
    if checked_encoding(encoding):
        return b"".join(inflate(body, limit))
    if len(body) > limit:
        raise Refused("body_too_large")
    return body


def basic_user(authorization: bytes) -> str | None:
    """The user name of HTTP Basic credentials; None for another scheme, or for an empty name.

    Raises `Refused` ``unknown_write_key`` for Basic credentials that cannot be read.
    """
    if len(authorization) > _MAX_CREDENTIALS:
        raise Refused("unknown_write_key")
    return _basic_user(authorization)


@lru_cache(maxsize=1_024)
def _basic_user(authorization: bytes) -> str | None:
    scheme, _, credentials = authorization.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        name = b64decode(credentials.strip(), validate=True).decode().partition(":")[0]
    except (binascii.Error, UnicodeError, ValueError) as error:
        raise Refused("unknown_write_key") from error
    return name or None
