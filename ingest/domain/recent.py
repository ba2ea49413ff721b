"""The ids that one process acknowledged lately, so that it can tell a repeated event from a new one for free."""

from hashlib import blake2b
from typing import Final, Literal

from schemas.contents import content_of

__all__ = ["Fingerprint", "Recent", "Repeat", "fingerprint"]

GENERATION: Final = 32_768
"""Events of one generation. Two are kept: between 32,768 and 65,536 events, in at most 8 MB."""

Fingerprint = tuple[int, int]
"""Hashes of an event's identity and of its content."""

Repeat = Literal["same", "other"] | None
"""What an event is to one that was acknowledged before: the same again, another under its id, or neither."""


def fingerprint(workspace: str, subject: str, message_id: str, name: str, body: bytes) -> Fingerprint:
    """The fingerprint of an event. Its `sentAt` is no part of its content: a retry writes a new one."""
    identity = blake2b(f"{workspace}\x1f{subject}\x1f{message_id}".encode(), digest_size=16)
    content = blake2b(name.encode() + b"\x1f" + content_of(body), digest_size=8)
    return int.from_bytes(identity.digest(), "little"), int.from_bytes(content.digest(), "little")


class Recent:
    """The events that were acknowledged lately. What is still on its way to the log is none of them."""

    def __init__(self, generation: int = GENERATION) -> None:
        """The window holds between `generation` and twice as many events."""
        self._generation = generation
        self._young: dict[int, int] = {}
        self._old: dict[int, int] = {}

    def find(self, event: Fingerprint) -> Repeat:
        """What the event is to an acknowledged one."""
        identity, content = event
        known = self._young.get(identity)
        if known is None:
            known = self._old.get(identity)
        if known is None:
            return None
        return "same" if known == content else "other"

    def add(self, event: Fingerprint) -> None:
        """Remember an event that is durable. The first content of an id stands."""
        identity, content = event
        if identity in self._young or identity in self._old:
            return
        if len(self._young) >= self._generation:
            self._old, self._young = self._young, {}
        self._young[identity] = content
