"""Cursors: where a list goes on, as opaque text."""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TypeVar

import msgspec

from schemas.problems import ProblemError

__all__ = ["read_cursor", "write_cursor"]

_LONGEST = 4_096
_Place = TypeVar("_Place")


def write_cursor(place: object) -> str:
    """The cursor of a place: any value that msgspec can encode."""
    return urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def read_cursor(cursor: str | None, kind: type[_Place]) -> _Place | None:
    """The place of a cursor, if one is given. Raises `ProblemError` (`bad_cursor`)."""
    if cursor is None:
        return None
    try:
        if len(cursor) > _LONGEST:
            raise ProblemError("bad_cursor")
        return msgspec.json.decode(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)), type=kind)
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise ProblemError("bad_cursor") from error
