"""The only place where ids and secrets are drawn. Everything else is given an `Ids`, so that a test can know them."""

import secrets
from collections.abc import Callable
from typing import Protocol

__all__ = ["Ids", "RandomIds"]

_SECRET_BYTES = 24


class Ids(Protocol):
    """Draws ids and secrets."""

    def uuid7(self) -> str:
        """A new UUID, version 7 (RFC 9562): later ones sort after earlier ones, to the millisecond."""

    def secret(self) -> str:
        """A new secret: 32 characters that are safe in a URL, 192 bits."""


class RandomIds:
    """Ids from the operating system's random source and a clock."""

    def __init__(self, now: Callable[[], int]) -> None:
        """`now` answers milliseconds since the epoch."""
        self._now = now

    def uuid7(self) -> str:
        """A new UUID, version 7 (RFC 9562): later ones sort after earlier ones, to the millisecond."""
        low = secrets.randbits(74)
        number = (self._now() & 0xFFFF_FFFF_FFFF) << 80 | 7 << 76 | (low >> 62) << 64 | 2 << 62 | low & (1 << 62) - 1
        text = f"{number:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def secret(self) -> str:
        """A new secret: 32 characters that are safe in a URL, 192 bits."""
        return secrets.token_urlsafe(_SECRET_BYTES)
