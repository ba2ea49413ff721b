"""Idempotency-Key: the same request again is answered with the same bytes, and another under its key is refused."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Final, Literal, NamedTuple, Protocol

from ingest.errors import Refused
from ingest.reading import Deadline

__all__ = ["Begun", "Idempotency", "Replays", "checked_key", "hash_of"]

log = logging.getLogger(__name__)

MAX_KEY: Final = 255
WAIT_SECONDS: Final = 0.05
STORE_SECONDS: Final = 0.3


class Begun(NamedTuple):
    """What is known of a key as a request with it begins.

    ``new``: it is this request's now; ``running``: another request with the same content is under way; ``answered``:
    it was answered with `answer`; ``other``: it came with another content.
    """

    state: Literal["new", "running", "answered", "other"]
    answer: bytes = b""


class Replays(Protocol):
    """The answers of requests with a key. Keys and contents are hashes in hexadecimal. Exceptions have a `code`."""

    async def begin(self, workspace: str, key: str, content: str) -> Begun:
        """Take the key for a request with that content, unless it is taken."""

    async def finish(self, workspace: str, key: str, answer: bytes) -> None:
        """Keep the answer of the request that took the key."""

    async def give_up(self, workspace: str, key: str) -> None:
        """Let the key go: the request that took it was refused, and nothing of it was stored."""


def checked_key(given: bytes | None) -> str | None:
    """The hash of an Idempotency-Key, None without one. Raises `Refused` ``invalid_idempotency_key``."""
    if given is None:
        return None
    if not 0 < len(given) <= MAX_KEY or any(not 0x20 <= byte <= 0x7E for byte in given):
        raise Refused("invalid_idempotency_key")
    return sha256(given).hexdigest()


def hash_of(*parts: bytes) -> str:
    """The hash of a request's content: its body, and the headers that say what it means."""
    content = sha256()
    for part in parts:
        content.update(len(part).to_bytes(8, "little"))
        content.update(part)
    return content.hexdigest()


class Idempotency:
    """Runs requests with a key once."""

    def __init__(self, replays: Replays) -> None:
        """`replays` keeps the answers, for all processes."""
        self._replays = replays
        self._leaving: set[asyncio.Task[None]] = set()

    async def run(
        self, workspace: str, key: str, content: str, deadline: Deadline, work: Callable[[], Awaitable[bytes]]
    ) -> tuple[bytes, bool]:
        """The answer, and whether it was given before. `work` makes it if nobody did; what it raises passes through.

        Raises `Refused`: ``idempotency_conflict``; ``unavailable`` if it cannot be known, or not within the deadline.
        """
        begun = await self._begin(workspace, key, content, deadline)
        if begun.state == "answered":
            return begun.answer, True
        if begun.state == "other":
            raise Refused("idempotency_conflict")
        try:
            answer = await work()
        except BaseException:
            leaving = asyncio.create_task(self._settle(self._replays.give_up(workspace, key)))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)
            # Whoever is told to come again must not find the key taken.
            await asyncio.shield(leaving)
            raise
        await self._settle(self._replays.finish(workspace, key, answer))
        return answer, False

    async def _begin(self, workspace: str, key: str, content: str, deadline: Deadline) -> Begun:
        """What is known of the key once no other request with it is under way."""
        try:
            async with deadline.left():
                begun = await self._replays.begin(workspace, key, content)
                while begun.state == "running":
                    await asyncio.sleep(WAIT_SECONDS)
                    begun = await self._replays.begin(workspace, key, content)
        except TimeoutError as error:
            raise Refused("unavailable", "The first request with this key is still under way.") from error
        except Exception as error:
            log.warning("ingest.replays_unavailable", extra={"code": getattr(error, "code", "unexpected")})
            raise Refused("unavailable") from error
        return begun

    async def _settle(self, step: Awaitable[None]) -> None:
        """Let the step take a moment. The request is decided: if it fails, a retry finds the events by their ids."""
        try:
            async with asyncio.timeout(STORE_SECONDS):
                await step
        except Exception as error:
            code = "timeout" if isinstance(error, TimeoutError) else getattr(error, "code", "unexpected")
            log.warning("ingest.replay_not_kept", extra={"code": code})
