"""Content-Encoding and credentials of a request: bounded, and wrong in only one way."""

import binascii
import zlib
from base64 import b64decode
from functools import lru_cache
from typing import Final

from ingest.domain.limits import MAX_BODY
from ingest.errors import Refused

__all__ = ["basic_user", "decoded"]

_GZIP_WINDOW: Final = 31
_GZIP_MAGIC: Final = b"\x1f\x8b"
_MAX_CREDENTIALS: Final = 1_024


def decoded(body: bytes, encoding: bytes | None, limit: int = MAX_BODY) -> bytes:
    """The body behind its Content-Encoding (gzip, or none), of at most `limit` bytes.

    Raises `Refused`: ``unsupported_encoding`` (also gzip within gzip), ``bad_encoding`` (corrupt, cut off, or followed
    by more), ``body_too_large``.
    """
    name = (encoding or b"identity").strip().lower()
    if name == b"identity":
        if len(body) > limit:
            raise Refused("body_too_large")
        return body
    if name not in (b"gzip", b"x-gzip"):
        raise Refused("unsupported_encoding")
    stream = zlib.decompressobj(_GZIP_WINDOW)
    try:
        plain = stream.decompress(body, limit + 1)
    except zlib.error as error:
        raise Refused("bad_encoding") from error
    if len(plain) > limit:
        raise Refused("body_too_large")
    if not stream.eof or stream.unused_data:
        raise Refused("bad_encoding")
    if plain.startswith(_GZIP_MAGIC):
        raise Refused("unsupported_encoding")
    return plain


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
