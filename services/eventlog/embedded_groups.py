"""Groups of the embedded log: members of this process share the partitions, each partition number one member."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from schemas.records import StoredRecord
from services.eventlog.embedded_store import Fetched, Stream, Topic, Want
from services.eventlog.port import LogClosed, LogError, OffsetOutOfRange, RebalanceListener
from services.eventlog.port import TopicPartition as Position

__all__ = ["EmbeddedReader", "Fetch", "Group", "range_shares"]

log = logging.getLogger(__name__)


Fetch = Callable[[Sequence[Want], int], Awaitable[Sequence[Fetched]]]
"""Reads several streams in one snapshot, at most so many records in all; the first streams come first."""


def range_shares(partitions: int, members: int) -> list[frozenset[int]]:
    """The partition numbers of each member: ranges as equal as they can be, the first members get one more."""
    each, more = divmod(partitions, members)
    shares: list[frozenset[int]] = []
    start = 0
    for member in range(members):
        size = each + (1 if member < more else 0)
        shares.append(frozenset(range(start, start + size)))
        start += size
    return shares


class EmbeddedReader:
    """The `Reader` of the embedded log: one member of a group."""

    def __init__(
        self,
        group: "Group",
        streams: Mapping[Position, Stream],
        listener: RebalanceListener,
        fetch: Fetch,
        clock: Callable[[], int],
    ) -> None:
        """`streams` are all partitions of the group's topics; `clock` tells wall time in ms."""
        self._group = group
        self._streams = streams
        self._ids = frozenset(stream.id for stream in streams.values())
        self._listener = listener
        self._fetch = fetch
        self._clock = clock
        self._lock = asyncio.Lock()
        self._changed = asyncio.Event()
        self._owned: frozenset[int] = frozenset()
        self._paused: frozenset[int] = frozenset()
        self._next: dict[Position, int] = {}
        self._ends: dict[Position, int] = {}
        self._caught_up: dict[Position, int] = {}
        self._turn = 0
        self._failure: BaseException | None = None
        self._closed = False

    @property
    def assignment(self) -> frozenset[int]:
        """See `Reader.assignment`."""
        return self._owned

    @property
    def positions(self) -> Mapping[Position, int]:
        """The offset that is read next, of every owned partition."""
        return self._next

    async def poll(self, max_records: int, timeout_ms: int) -> Mapping[Position, Sequence[StoredRecord]]:
        """See `Reader.poll`."""
        expired = False

        def expire() -> None:
            nonlocal expired
            expired = True
            self._changed.set()

        timer = asyncio.get_running_loop().call_later(timeout_ms / 1_000, expire)
        try:
            while True:
                last_look = expired
                self._changed.clear()
                async with self._lock:
                    self._raise_if_over()
                    found = await self._collect(max_records)
                if found or last_look or timeout_ms <= 0:
                    return found
                if not expired:
                    await self._changed.wait()
        finally:
            timer.cancel()

    def seek(self, position: Position, offset: int) -> None:
        """See `Reader.seek`."""
        if position in self._next:
            self._next[position] = offset
            self._caught_up.pop(position, None)
            self._changed.set()

    def pause(self, partitions: frozenset[int]) -> None:
        """See `Reader.pause`."""
        self._paused |= partitions

    def resume(self, partitions: frozenset[int]) -> None:
        """See `Reader.resume`."""
        self._paused -= partitions
        self._changed.set()

    def caught_up_at(self, position: Position) -> int | None:
        """See `Reader.caught_up_at`."""
        return self._caught_up.get(position)

    def read_to(self, position: Position) -> int | None:
        """See `Reader.read_to`."""
        return self._next.get(position)

    def end_offset(self, position: Position) -> int | None:
        """See `Reader.end_offset`."""
        return self._ends.get(position)

    async def commit(self, offsets: Mapping[Position, int]) -> None:
        """See `Reader.commit`."""
        try:
            await self._group.store(offsets)
        except LogError as error:
            log.warning("eventlog.group_commit_failed", extra={"group": self._group.name, "reason": str(error)})

    async def close(self) -> None:
        """See `Reader.close`."""
        if self._closed:
            return
        self._closed = True
        self._changed.set()
        try:
            if self._failure is None:
                await self.release(self._owned)
        finally:
            self._group.leave(self)

    def notice(self, grown: frozenset[int]) -> None:
        """Streams grew: a waiting poll looks again if one of them is its own."""
        if not self._ids.isdisjoint(grown):
            self._changed.set()

    def fail(self, error: BaseException) -> None:
        """End this reader: its next poll raises `error`."""
        self._failure = error
        self._changed.set()

    async def release(self, partitions: frozenset[int]) -> None:
        """Give partitions up, once the listener is done with them."""
        async with self._lock:
            if partitions := partitions & self._owned:
                try:
                    await self._listener.revoked(partitions)
                finally:
                    self._owned -= partitions
                    for position in [position for position in self._next if position.partition in partitions]:
                        for known in (self._next, self._ends, self._caught_up):
                            known.pop(position, None)

    async def take(self, partitions: frozenset[int]) -> None:
        """Own more partitions, from the offsets that the listener answers."""
        async with self._lock:
            if self._closed or not partitions:
                return
            offsets = await self._listener.assigned(partitions)
            for position in self._streams:
                if position.partition in partitions:
                    if position not in offsets:
                        raise OffsetOutOfRange(
                            f"The listener gave no offset for {position.topic}/{position.partition}."
                        )
                    self._next[position] = offsets[position]
            self._owned |= partitions
            self._changed.set()

    def _raise_if_over(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._closed:
            raise LogClosed

    async def _collect(self, max_records: int) -> dict[Position, Sequence[StoredRecord]]:
        positions = [position for position in self._next if position.partition not in self._paused]
        if not positions:
            return {}
        self._turn = (self._turn + 1) % len(positions)
        positions = positions[self._turn :] + positions[: self._turn]
        wants = [Want(self._streams[position], self._next[position]) for position in positions]
        looked_at = self._clock()
        answers = await self._fetch(wants, max_records)
        found: dict[Position, Sequence[StoredRecord]] = {}
        for position, want, answer in zip(positions, wants, answers, strict=True):
            if self._next.get(position) != want.offset or position.partition in self._paused:
                continue  # it was sought or paused meanwhile
            if answer.records:
                found[position] = answer.records
                self._next[position] = answer.records[-1].offset + 1
            self._ends[position] = answer.end
            if self._next[position] == answer.end:
                self._caught_up[position] = looked_at
        return found


class Group:
    """The members of one group, and who owns which partitions."""

    def __init__(
        self, name: str, topics: Sequence[Topic], store: Callable[[str, Mapping[Position, int]], Awaitable[None]]
    ) -> None:
        """All `topics` have the same number of partitions; `store` keeps group offsets."""
        self.name = name
        self.topics = tuple(topic.name for topic in topics)
        self._partitions = len(topics[0].streams)
        self._store = store
        self._members: list[EmbeddedReader] = []
        self._task: asyncio.Task[None] | None = None
        self._stale = False

    @property
    def members(self) -> Sequence[EmbeddedReader]:
        """Those who share the partitions now."""
        return self._members

    def join(self, member: EmbeddedReader) -> None:
        """Add a member; the shares are dealt anew beside the caller."""
        self._members.append(member)
        self._deal()

    def leave(self, member: EmbeddedReader) -> None:
        """Remove a member that has released what it owned."""
        if member in self._members:
            self._members.remove(member)
            self._deal()

    async def store(self, offsets: Mapping[Position, int]) -> None:
        """Keep the group's offsets."""
        await self._store(self.name, offsets)

    async def close(self) -> None:
        """End every member."""
        for member in tuple(self._members):
            try:
                await member.close()
            except Exception as error:
                log.warning("eventlog.close_failed", extra={"group": self.name, "reason": str(error)})
        if self._task is not None:
            await self._task

    def _deal(self) -> None:
        self._stale = True
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._rebalance(), name=f"rebalance {self.name}")

    async def _rebalance(self) -> None:
        while self._stale:
            self._stale = False
            members = tuple(self._members)
            if not members:
                return
            shares = range_shares(self._partitions, len(members))
            for member, share in zip(members, shares, strict=True):
                await self._step(member, member.release(member.assignment - share))
            if self._stale:
                continue  # somebody came or went meanwhile: nobody owns too much, so deal again
            for member, share in zip(members, shares, strict=True):
                await self._step(member, member.take(share - member.assignment))

    async def _step(self, member: EmbeddedReader, step: Awaitable[None]) -> None:
        """An error of a listener ends its reader; the others take over what it had."""
        try:
            await step
        except Exception as error:
            member.fail(error)
            self.leave(member)
