"""The one thread that writes the embedded log, and what it is asked to do.

Whatever is waiting when the thread becomes free is written in one transaction: one synchronous commit answers all.
"""

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Generic, Protocol, TypeVar

from schemas.records import Record
from services.eventlog.embedded_store import Stream, Topic, encoded_record, failure, frame, stream_bounds
from services.eventlog.port import Answered, LogClosed, LogError, LogUnavailable, UnknownTopic
from services.eventlog.topic_lines import size_error

__all__ = ["Committer", "EmbeddedWriter", "Task", "Unit", "stored_form"]

log = logging.getLogger(__name__)

MOST_TASKS = 2_000
MOST_RECORDS = 20_000
_T = TypeVar("_T")
_R = TypeVar("_R", contravariant=True)


class Unit:
    """One transaction in the making: appended records gather here and are written once, at its end."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """`connection` is inside a transaction."""
        self.connection = connection
        self._added: dict[Stream, list[tuple[bytes, int]]] = {}
        self.records = 0

    def append(self, stream: Stream, encoded: tuple[bytes, int]) -> None:
        """Add an encoded record to the end of a stream."""
        self._added.setdefault(stream, []).append(encoded)
        self.records += 1

    def write(self) -> frozenset[int]:
        """Write what was appended; return the ids of the streams that grew."""
        for stream, encoded in self._added.items():
            _, base = stream_bounds(self.connection, stream)
            self.connection.executemany("INSERT INTO segments VALUES (?, ?, ?, ?)", frame(stream, base, encoded))
            self.connection.execute("UPDATE streams SET next_offset = ? WHERE id = ?", (base + len(encoded), stream.id))
        return frozenset(stream.id for stream in self._added)


class Waiter(Protocol[_R]):
    """Whoever waits for an operation: a future, or a `Callback`."""

    def done(self) -> bool:
        """Whether nobody waits any more."""

    def set_result(self, result: _R, /) -> None:
        """It was done, and is durable."""

    def set_exception(self, error: Exception, /) -> None:
        """It was not."""


class Callback:
    """Waits without a task: calls `told` with the error, or with None."""

    def __init__(self, told: Callable[[Exception | None], None]) -> None:
        """`told` is called once."""
        self._told = told

    def done(self) -> bool:
        """It waits for as long as it takes."""
        return False

    def set_result(self, _result: object, /) -> None:
        """It was done, and is durable."""
        self._told(None)

    def set_exception(self, error: Exception, /) -> None:
        """It was not."""
        self._told(error)


class Task(Generic[_T]):
    """An operation on its way through the thread, and whoever waits for it.

    An operation that raises a `LogError` must not have changed anything before.
    """

    def __init__(self, operation: Callable[[Unit], _T], waiter: Waiter[_T]) -> None:
        """`waiter` belongs to the loop of the committer."""
        self._operation = operation
        self._waiter = waiter
        self._result: _T | None = None
        self._error: Exception | None = None

    def run(self, unit: Unit) -> None:
        """Do it unless nobody waits any more. A `LogError` is kept for whoever waits, other errors are raised."""
        if self._waiter.done():
            return
        try:
            self._result = self._operation(unit)
        except LogError as error:
            self._error = error

    def settle(self, failed: Exception | None) -> None:
        """Tell whoever waits, on the loop. `failed` is why the whole transaction was not stored."""
        if self._waiter.done():
            return
        error = failed or self._error
        if error is not None:
            self._waiter.set_exception(error)
        else:
            self._waiter.set_result(self._result)  # type: ignore[arg-type]  # run() has set it


class Committer:
    """Runs operations in batches on a thread of its own; reports on the loop which streams grew."""

    def __init__(self, connection: sqlite3.Connection, grew: Callable[[frozenset[int]], None]) -> None:
        """Takes over `connection`; must be made on the running loop. `grew` is told the ids of streams."""
        self._connection = connection
        self._grew = grew
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[Task[object] | None] = SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="event-log-writer", daemon=True)
        self._thread.start()

    async def run(self, operation: Callable[[Unit], _T], within: float) -> _T:
        """Run an operation and wait until its transaction is durable.

        Raises what the operation raises, `LogUnavailable` when the file fails or `within` seconds pass (then it is
        not known whether it was done), and `LogClosed`.
        """
        if self._closed:
            raise LogClosed
        waiter: asyncio.Future[_T] = self._loop.create_future()
        self._queue.put(Task(operation, waiter))  # type: ignore[arg-type]  # the queue holds tasks of any result
        try:
            async with asyncio.timeout(within):
                return await waiter
        except TimeoutError as error:
            raise LogUnavailable(f"The event log did not answer within {within:g} s.") from error

    def begin(self, operation: Callable[[Unit], None], told: Callable[[Exception | None], None]) -> bool:
        """Have an operation run; `told` is called on the loop, with an error or None when its transaction is durable.

        False: it is closed, and nobody will be told.
        """
        if not self._closed:
            self._queue.put(Task(operation, Callback(told)))
        return not self._closed

    async def close(self) -> None:
        """Finish what is waiting, then close the connection. Idempotent."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        ending = False
        while not ending:
            task = self._queue.get()
            tasks = [] if task is None else [task]
            unit = Unit(self._connection)
            failed: Exception | None = None
            grown: frozenset[int] = frozenset()
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                while task is not None:
                    task.run(unit)
                    if len(tasks) >= MOST_TASKS or unit.records >= MOST_RECORDS or self._queue.empty():
                        break
                    if (task := self._queue.get()) is not None:
                        tasks.append(task)
                grown = unit.write()
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                failed = failure(error)
            except Exception as error:
                failed = error
            if failed is not None:
                self._roll_back()
            ending = task is None
            self._report(tasks, failed, grown)
        self._connection.close()

    def _roll_back(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            log.warning("eventlog.rollback_failed", extra={"reason": str(error)})

    def _report(self, tasks: Sequence[Task[object]], failed: Exception | None, grown: frozenset[int]) -> None:
        def tell() -> None:
            for task in tasks:
                task.settle(failed)
            if grown and failed is None:
                self._grew(grown)

        try:
            self._loop.call_soon_threadsafe(tell)
        except RuntimeError:
            log.warning("eventlog.loop_gone", extra={"tasks": len(tasks)})


def stored_form(topics: dict[str, Topic], record: Record) -> tuple[Stream, tuple[bytes, int]]:
    """The stream of a record and its stored bytes. Raises `UnknownTopic` or `RecordTooLarge`."""
    topic = topics.get(record.topic)
    if topic is None or not 0 <= record.partition < len(topic.streams):
        raise UnknownTopic(
            f"{record.topic}/{record.partition} does not exist. Create the topics with `parcours migrate`."
        )
    encoded = encoded_record(record)
    # The stored bytes hold all that counts, so only a record near the limit needs to be measured exactly.
    if len(encoded[0]) > topic.max_record_bytes // 2 and (error := size_error(record, topic.max_record_bytes)):
        raise error
    return topic.streams[record.partition], encoded


class EmbeddedWriter:
    """The `Writer` of the embedded log."""

    def __init__(self, committer: Committer, topics: dict[str, Topic], within: float) -> None:
        """`within` is the deadline of an append in seconds."""
        self._committer = committer
        self._topics = topics
        self._within = within
        self._closed = False
        self._flying = 0
        self._landed = asyncio.Event()

    async def append(self, records: Sequence[Record]) -> list[LogError | None]:
        """See `Writer.append`."""
        if self._closed:
            raise LogClosed
        answers, accepted = self._prepared(records)

        def add(unit: Unit) -> None:
            for stream, encoded in accepted:
                unit.append(stream, encoded)

        if accepted:
            self._flying += 1
            try:
                await self._committer.run(add, self._within)
            finally:
                self._flying -= 1
                self._landed.set()
        return answers

    def submit(self, records: Sequence[Record], answered: Answered) -> bool:
        """See `Writer.submit`."""
        answers, accepted = self._prepared(records)

        def add(unit: Unit) -> None:
            for stream, encoded in accepted:
                unit.append(stream, encoded)

        def told(error: Exception | None) -> None:
            self._flying -= 1
            self._landed.set()
            if error is not None and not isinstance(error, LogError):
                error = LogUnavailable("The event log failed.")
            answered([found or error for found in answers] if error is not None else answers)

        if self._closed or not self._committer.begin(add, told):
            return False
        self._flying += 1
        return True

    def _prepared(
        self, records: Sequence[Record]
    ) -> tuple[list[LogError | None], list[tuple[Stream, tuple[bytes, int]]]]:
        """For each record None or why it cannot be appended; and those that can, in their stored form."""
        answers: list[LogError | None] = []
        accepted: list[tuple[Stream, tuple[bytes, int]]] = []
        for record in records:
            try:
                accepted.append(stored_form(self._topics, record))
                answers.append(None)
            except LogError as error:
                answers.append(error)
        return answers, accepted

    async def close(self) -> None:
        """See `Writer.close`."""
        self._closed = True
        while self._flying:
            self._landed.clear()
            await self._landed.wait()
