"""Keeps the rows of `parcours.rejected` level with the topic.

It reads the topic by place, without a group, and stores rows and place together: any number of processes may do it.
"""

import asyncio
import logging
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from schemas.ids import DEFAULT_WORKSPACE
from schemas.records import StoredRecord
from schemas.topics import REJECTED
from services.errors import code_of
from services.eventlog.port import EventLog, LogError, TopicPartition
from services.storage.errors import StorageError
from services.storage.rejected import Rejected, RejectedPlace, RejectedStore

__all__ = ["DOOR", "RejectedIndex", "rejected_item"]

log = logging.getLogger(__name__)

DOOR: Final = "door"
"""The origin of what the door kept apart."""

LOOK_EVERY: Final = 5.0
_FEW: Final = 8
_MANY: Final = 500
_SMALL: Final = 256 * 1024
_LARGE: Final = 4 * 1024 * 1024
_WORKSPACE: Final = re.compile(r"[a-z0-9-]{1,40}")
_SOURCES: Final = "/sources/"
_PROCESSORS: Final = "/processors/"
_UNREADABLE: Final = "unreadable"


class RejectedIndex:
    """The index of one system. `run` keeps it level in the background, `catch_up` on demand."""

    def __init__(self, event_log: EventLog, store: RejectedStore, partitions: int) -> None:
        """The log is started, and the store's tables exist."""
        self._log = event_log
        self._store = store
        self._partitions = partitions
        self._lock = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._firsts: dict[int, int] = {}
        self._at_once = _FEW

    async def run(self) -> None:
        """Keep the index level until stopped; a log or a database that is away is waited for."""
        stopping = asyncio.create_task(self._stopping.wait(), name="rejected index, stop")
        try:
            while not stopping.done():
                await self._look_until(stopping)
                await asyncio.wait({stopping}, timeout=LOOK_EVERY)
        finally:
            stopping.cancel()

    async def _look_until(self, stopping: asyncio.Task[Any]) -> None:
        looking = asyncio.create_task(self._look(), name="rejected index")
        try:
            await asyncio.wait({looking, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            looking.cancel()
            await asyncio.wait({looking})

    async def _look(self) -> None:
        try:
            await self.catch_up()
        except (LogError, StorageError) as error:
            log.warning("rejected.index_delayed", extra={"code": code_of(error)})
        except Exception:
            # Nobody's events depend on the index: what is wrong with it must not end the door.
            log.exception("rejected.index_failed")

    def stop(self) -> None:
        """End soon."""
        self._stopping.set()

    async def catch_up(self) -> None:
        """Read everything that is on the topic now. Raises `LogError`, `StorageError`."""
        async with self._lock:
            known = await asyncio.to_thread(self._store.positions)
            for partition in range(self._partitions):
                await self._read(partition, known.get(partition))

    async def _read(self, partition: int, following: int | None) -> None:
        place = TopicPartition(REJECTED, partition)
        first, end = await self._log.bounds(place)
        if following is not None and following > end:
            log.warning("rejected.log_replaced", extra={"partition": partition})
            await asyncio.to_thread(self._store.restart, partition)
            following = None
        if self._firsts.get(partition) != first:
            await asyncio.to_thread(self._store.forget, partition, first)
            self._firsts[partition] = first
        while (start := max(first, following or 0)) < end and not self._stopping.is_set():
            records = await self._log.read(place, start, self._at_once)
            upto = records[-1].offset + 1 if records else end
            items = [rejected_item(record) for record in records]
            if not await asyncio.to_thread(self._store.add, partition, following, upto, items):
                return
            following = upto
            self._pace(items)

    def _pace(self, items: Sequence[Rejected]) -> None:
        """How many records to read next: what is kept apart can be some hundred bytes, or five million."""
        size = sum(item.size for item in items)
        if size < _SMALL:
            self._at_once = min(_MANY, 2 * self._at_once)
        elif size > _LARGE:
            self._at_once = _FEW


def rejected_item(record: StoredRecord) -> Rejected:
    """The row of a record. Whatever stands on the topic has one, however strange it is."""
    headers = dict(reversed(record.headers))
    source, workspace = _text(headers.get("ce_source"), 300), _text(record.key, 60)
    origin = source.removeprefix(_PROCESSORS)[:64] if source.startswith(_PROCESSORS) else DOOR
    if origin != DOOR:
        source = _text(headers.get("orig_parcours_source") or headers.get("orig_ce_source"), 300)
    return Rejected(
        where=RejectedPlace(record.partition, record.offset),
        workspace=workspace if _WORKSPACE.fullmatch(workspace) else DEFAULT_WORKSPACE,
        event_id=_text(headers.get("ce_id"), 255),
        reason=_text(headers.get("ce_reason"), 64) or _UNREADABLE,
        detail=_text(headers.get("ce_detail"), 500),
        origin=origin,
        source=source.removeprefix(_SOURCES)[:64],
        call=_text(headers.get("ce_call"), 16),
        place=_text(headers.get("ce_place"), 255),
        size=len(record.value or b""),
        at=record.timestamp,
    )


def _text(value: bytes | None, length: int) -> str:
    """Text that any database takes."""
    text = (value or b"").decode("utf-8", "replace")
    return "".join(_printable(text))[:length]


def _printable(text: str) -> Iterable[str]:
    return (each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
