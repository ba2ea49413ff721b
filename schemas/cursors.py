"""Cursors: where a list goes on, as opaque text that is signed for its list and its workspace."""

import binascii
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b
from typing import Final, TypeVar

import msgspec

from schemas.problems import ProblemError

__all__ = ["Cursors", "ListCursors"]

_LONGEST: Final = 4_096
_SIGNATURE_BYTES: Final = 16
_Place = TypeVar("_Place")


class Cursors:
    """Makes the cursors of all lists of one system."""

    def __init__(self, key: bytes) -> None:
        """`key` is secret, and the same in all processes of the system."""
        self._key = key

    def of(self, name: str, workspace: str) -> "ListCursors":
        """The cursors of one list of a workspace: those of any other do not count there."""
        return ListCursors(self._key, f"{name}\x1f{workspace}")


class ListCursors:
    """The cursors of one list."""

    def __init__(self, key: bytes, name: str) -> None:
        """Made by `Cursors.of`."""
        self._mac = blake2b(name.encode(), digest_size=_SIGNATURE_BYTES, key=blake2b(key).digest())

    def write(self, place: object) -> str:
        """The cursor of a place: any value that msgspec can encode."""
        content = msgspec.json.encode(place)
        return urlsafe_b64encode(self._sign(content) + content).decode().rstrip("=")

    def read(self, cursor: str | None, kind: type[_Place]) -> _Place | None:
        """The place of a cursor, if one is given. Raises `ProblemError` ``bad_cursor`` for any other text."""
        if cursor is None:
            return None
        try:
            whole = self._decoded(cursor)
            content = whole[_SIGNATURE_BYTES:]
            if not hmac.compare_digest(whole[:_SIGNATURE_BYTES], self._sign(content)):
                raise ProblemError("bad_cursor")
            return msgspec.json.decode(content, type=kind)
        except (binascii.Error, ValueError, msgspec.DecodeError) as error:
            raise ProblemError("bad_cursor") from error

    @staticmethod
    def _decoded(cursor: str) -> bytes:
        if len(cursor) > _LONGEST:
            raise ProblemError("bad_cursor")
        whole = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        # Several texts decode to the same bytes; only the one that was given out counts.
        if urlsafe_b64encode(whole).decode().rstrip("=") != cursor:
            raise ProblemError("bad_cursor")
        return whole

    def _sign(self, content: bytes) -> bytes:
        mac = self._mac.copy()
        mac.update(b"\x1f" + content)
        return mac.digest()
