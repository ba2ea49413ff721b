"""The relay of one (processor, partition): publishes its outbox exactly once, in order, while the next batch runs."""

import asyncio
import logging
from contextlib import suppress

from services.errors import code_of, sentence_of
from services.eventlog.port import (
    Fenced,
    HistoryLost,
    LogError,
    LogUnavailable,
    PublisherState,
    SequencedPublisher,
    SequencedRecord,
)
from services.runtime.options import Runtime
from services.runtime.processor import Processor
from services.runtime.threads import Backoff
from services.storage import outbox, positions
from services.storage.database import Transaction
from services.storage.errors import StorageUnavailable

__all__ = ["Relay"]

log = logging.getLogger(__name__)

_CHUNKS = 8


class Relay:
    """Moves records from the outbox to the log. Its owner tells it of every new one by `added`."""

    def __init__(self, runtime: Runtime, processor: Processor, partition: int, owned: positions.Ownership) -> None:
        """`owned` is what was stored when the partition was taken: its epoch proves the ownership from now on."""
        self._runtime = runtime
        self._processor = processor
        self._partition = partition
        self._epoch = owned.epoch
        self._highest = owned.highest
        self._published = self._marked = owned.published_through
        self._marking: asyncio.Task[None] | None = None
        self._signal = asyncio.Event()
        self._opened = asyncio.Event()
        self._room = asyncio.Event()
        self._stopping = False
        self._mind_the_room()

    def added(self, highest: int) -> None:
        """The outbox now holds records up to the sequence `highest`."""
        self._highest = max(self._highest, highest)
        self._mind_the_room()
        self._signal.set()

    @property
    def backlog(self) -> int:
        """Records that are stored but not yet published."""
        return max(0, self._highest - self._published)

    async def room(self) -> None:
        """Wait until log and database are known to agree, and while the backlog is over its limit.

        A database that was rolled back must not give the lost sequences anew before anybody notices.
        """
        await self._opened.wait()
        await self._room.wait()

    def stop_waiting(self) -> None:
        """Let go whoever waits for room: its lane ends."""
        self._opened.set()
        self._room.set()

    def stop(self) -> None:
        """Publish what is there and end; the caller bounds the time."""
        self._stopping = True
        self._signal.set()
        self._room.set()

    def _mind_the_room(self) -> None:
        if self.backlog > self._runtime.options.outbox_limit and not self._stopping:
            self._room.clear()
        else:
            self._room.set()

    async def run(self) -> None:
        """Publish until stopped, with a new publisher after each failure whose outcome is unknown.

        Raises `HistoryLost` when log and database disagree, `OwnershipLost` when another worker took the partition
        over, and other `LogError`s that no retry can mend.
        """
        backoff = Backoff(self._runtime.options.first_backoff, self._runtime.options.last_backoff)
        while True:
            publisher: SequencedPublisher | None = None
            try:
                stored = await self._runtime.relays.run(self._stored_while_owned)
                self._published = max(self._published, stored.published_through)
                self.added(stored.highest)
                publisher = self._runtime.event_log.publisher(self._processor.name, self._partition)
                await self._open(publisher)
                backoff.reset()
                await self._publish_all(publisher)
                return
            except (Fenced, LogUnavailable, StorageUnavailable) as error:
                fields = {"processor": self._processor.name, "partition": self._partition, "code": code_of(error)}
                log.warning("relay.restarted", extra={**fields, "reason": sentence_of(error)})
            finally:
                with suppress(StorageUnavailable):
                    await self._end_marking()
                if publisher is not None:
                    with suppress(LogError):
                        await publisher.close()
            if self._stopping:
                return
            await backoff.wait()

    def _stored_while_owned(self) -> positions.Ownership:
        with self._runtime.database.reading() as transaction:
            return self._owned(transaction)

    def _owned(self, transaction: Transaction) -> positions.Ownership:
        stored = positions.load(transaction, self._processor.name, self._partition, self._processor.inputs)
        if stored.epoch != self._epoch:
            raise positions.OwnershipLost(
                f"Partition {self._partition} of {self._processor.name} was taken over by another worker."
            )
        return stored

    async def _open(self, publisher: SequencedPublisher) -> None:
        last = await publisher.open(PublisherState(self._highest, self._published))
        self._published = max(self._published, last)
        self._mind_the_room()
        self._opened.set()
        await self._mark()

    async def _publish_all(self, publisher: SequencedPublisher) -> None:
        clock, options = self._runtime.clock, self._runtime.options
        earliest = 0.0
        while True:
            if self._published >= self._highest:
                if self._stopping:
                    break
                self._signal.clear()
                await self._signal.wait()
                continue
            pause = earliest - clock.monotonic()
            if pause > 0 and not self._stopping:
                await asyncio.sleep(pause)
            earliest = clock.monotonic() + options.publish_every
            records = await self._runtime.relays.run(self._read)
            await publisher.publish(records)
            self._published = records[-1].sequence
            self._mind_the_room()
            self._mark_soon()
        await self._end_marking()
        await self._mark()

    def _read(self) -> list[SequencedRecord]:
        with self._runtime.database.reading() as transaction:
            chunks = outbox.read(transaction, self._processor.name, self._partition, self._published, _CHUNKS)
            rows = [
                SequencedRecord(sequence, record)
                for chunk in chunks
                for sequence, record in enumerate(chunk.records, start=chunk.first)
                if sequence > self._published
            ]
            complete = bool(rows) and rows[0].sequence == self._published + 1
            if not complete:
                # A successor may have published and deleted them while this process was frozen.
                self._owned(transaction)
        if not complete:
            missing = self._published + 1
            raise HistoryLost(
                f"The outbox of {self._processor.name}, partition {self._partition}, lacks the record {missing}: the"
                " database was rolled back or edited. Restore it from the backup that belongs to this log."
            )
        return rows

    def _mark_soon(self) -> None:
        if self._marking is not None:
            if not self._marking.done():
                return
            self._marking.result()
        self._marking = asyncio.create_task(self._mark())

    async def _end_marking(self) -> None:
        if self._marking is not None:
            await self._marking
            self._marking = None

    async def _mark(self) -> None:
        while self._published > self._marked:
            through = self._published
            await self._runtime.relays.run(self._store_mark, through)
            self._marked = through

    def _store_mark(self, through: int) -> None:
        with self._runtime.database.transaction() as transaction:
            outbox.mark_published(transaction, self._processor.name, self._partition, through)
