"""What a start says to the person who typed it: where to look, what to paste, and what became of the first event."""

import asyncio
import logging
import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from ingest.ports import FirstEvent
from schemas.ids import display_id
from services.runtime.clock import Clock
from services.settings import Settings
from services.storage.errors import StorageError
from services.storage.first_keys import Created
from services.web.catalog import Catalog

__all__ = ["WAITING", "Applied", "FirstEventReads", "FirstMinute", "Welcome", "curl_line"]

log = logging.getLogger(__name__)

WAITING: Final = "waiting for the first event"
_FIRST_BODY: Final = '{"userId":"ada","event":"Order Completed","properties":{"revenue":42}}'
_LOOK_EVERY: Final = 0.1
_LOOK_TIMES: Final = 300


@dataclass(frozen=True, slots=True)
class Applied:
    """What the stage engine made of an event on the primary track: stage ids; `before` is None for a new customer."""

    lifecycle: str
    track: str
    before: str | None
    after: str


class FirstEventReads(Protocol):
    """What must be known of the first event. Synchronous."""

    @property
    def catalog(self) -> Catalog:
        """Names of stages."""

    def applied(self, subject: str, event: str, since: int) -> Applied | None:
        """What the first event of that name, received since `since` (ms), changed; None: not applied yet."""


def _credentials(settings: Settings) -> Path | None:
    """The file with the keys that the settings do not bring, if a start wrote one."""
    path = (settings.data_dir / "credentials.env").absolute()
    brought = settings.write_key is not None and settings.api_token is not None
    return path if not brought and path.is_file() else None


def curl_line(settings: Settings, address: str) -> str:
    """A shell line that sends a first event when it is pasted, from any folder; it shows no key.

    `address` is where the server answers, as a URL.
    """
    curl = f'curl -u "$PARCOURS_WRITE_KEY:" {address}/v1/track -d {shlex.quote(_FIRST_BODY)}'
    path = _credentials(settings) if settings.write_key is None else None
    return curl if path is None else f"(. {shlex.quote(str(path))}; {curl})"


@dataclass(frozen=True, slots=True)
class Welcome:
    """What a start prints. `address` is where the server answers; `link` the path of a one-time sign-in link."""

    settings: Settings
    address: str
    created: Created
    link: str

    def lines(self) -> Sequence[str]:
        """The lines, in order."""
        path = _credentials(self.settings)
        made = [
            f"  {name:<11} {secret}"
            for name, secret in (("write key", self.created.write_key), ("API token", self.created.api_token))
            if secret is not None
        ]
        keys = "from the environment" if path is None else str(path)
        return [
            f"Parcours is ready: {self.address}",
            *made,
            f"  {'keys':<11} {keys}",
            f"  {'sign in':<11} {self.address}{self.link}  (once, within ten minutes)",
            f"  {'API':<11} {self.address}/docs",
            "Send a first event:"
            if self.settings.write_key is None
            else "Send a first event, from a shell that has PARCOURS_WRITE_KEY:",
            f"  {curl_line(self.settings, self.address)}",
            WAITING,
        ]


class FirstMinute:
    """Tells what became of the first event that this process accepted, once the stage engine has applied it."""

    def __init__(self, reads: FirstEventReads, clock: Clock, say: Callable[[str], None] | None) -> None:
        """`say` prints a line; None: it is told to the log, which holds no customers."""
        self._reads = reads
        self._clock = clock
        self._say = say
        self._started = clock.now()
        self._task: asyncio.Task[None] | None = None

    def on_first_event(self, event: FirstEvent) -> None:
        """The door's hook; called in the event loop. Returns at once."""
        self._task = asyncio.get_running_loop().create_task(self._follow(event))

    async def told(self) -> None:
        """Wait until the first event was told of, or given up."""
        if self._task is not None:
            await self._task

    async def _follow(self, event: FirstEvent) -> None:
        for _ in range(_LOOK_TIMES):
            try:
                found = await asyncio.to_thread(self._reads.applied, event.subject, event.name, self._started)
            except StorageError:
                found = None
            if found is not None:
                self._tell(event, found)
                return
            await asyncio.sleep(_LOOK_EVERY)
        # One that was sent before an earlier stop changes nothing now, and is no news to the stage engine.
        with suppress(StorageError):
            if (found := await asyncio.to_thread(self._reads.applied, event.subject, event.name, 0)) is not None:
                self._tell(event, found, " (sent before)")
                return
        log.warning("first_event.not_applied", extra={"name_of_event": event.name})

    def _tell(self, event: FirstEvent, found: Applied, remark: str = "") -> None:
        if self._say is None:
            log.info("first_event.applied", extra={"name_of_event": event.name, "stage": found.after})
        else:
            self._say(self._line(event, found) + remark)

    def _line(self, event: FirstEvent, found: Applied) -> str:
        sdk = " ".join(part for part in (event.library, event.version) if part) or "no SDK named"
        before = "new" if found.before is None else self._label(found, found.before)
        after = self._label(found, found.after)
        return f"first event: {event.name} ({sdk}), customer {display_id(event.subject)}, stage {before} -> {after}"

    def _label(self, found: Applied, stage: str) -> str:
        return self._reads.catalog.stage(found.lifecycle, found.track, stage).label
