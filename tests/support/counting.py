"""A tiny processor for tests of the runtime: counts the records of each key, in its own table, and says so."""

from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, Text

from schemas.processing import Batch, BatchResult, DeadLetter, Output, Wake
from schemas.records import StoredRecord, cloud_event_headers
from schemas.topics import CONTROL, EVENTS, STAGE_CHANGES
from services.storage.database import Transaction

__all__ = ["CountingProcessor", "counts", "metadata", "timers"]

metadata = MetaData()
counts = Table(
    "counts",
    metadata,
    Column("partition", Integer, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("count", BigInteger, nullable=False),
)
timers = Table(
    "timers",
    metadata,
    Column("partition", Integer, primary_key=True),
    Column("due", BigInteger, primary_key=True),
)


@dataclass
class CountingProcessor:
    """Values: ``+`` counts; ``bug`` raises; ``bad`` is a dead letter; ``due:<ms>`` sets a timer.

    Every count is published on the topic `outputs` with the value ``<key>=<count>``; every timer run as
    ``due=<ms>``. `before` is called with every batch and may raise. `batches`, `wakes`, `taken`, `forgotten` keep what
    was asked.
    """

    name: str = "counter"
    inputs: tuple[str, ...] = (EVENTS, CONTROL)
    progress_topic: str | None = STAGE_CHANGES
    progress_type: str | None = "parcours.stage.progress"
    outputs: str = STAGE_CHANGES
    before: Callable[[Batch], None] | None = None
    before_wake: Callable[[Wake], None] | None = None
    cache: dict[tuple[int, str], int] = field(default_factory=dict)
    due: dict[int, int | None] = field(default_factory=dict)
    batches: list[Batch] = field(default_factory=list)
    wakes: list[Wake] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)
    forgotten: list[int] = field(default_factory=list)

    def take(self, transaction: Transaction, partition: int) -> None:
        """Read what is due first."""
        assert not any(owned == partition for owned, _ in self.cache), "something is cached from an earlier ownership"
        self.taken.append(partition)
        self._look(transaction, partition)

    def process(self, transaction: Transaction, batch: Batch) -> BatchResult:
        """Count."""
        self.batches.append(batch)
        outputs: list[Output] = []
        dead: list[DeadLetter] = []
        for record in batch.records:
            value = record.value or b""
            if value == b"bad":
                dead.append(DeadLetter(record, "bad_value", "The value is bad."))
            elif value.startswith(b"due:"):
                row = {"partition": batch.partition, "due": int(value[4:])}
                transaction.connection.execute(timers.insert().values(**row))
            else:
                outputs.append(self._count(transaction, batch, record))
        if self.before is not None:
            self.before(batch)
        self._look(transaction, batch.partition)
        return BatchResult(outputs, dead)

    def _count(self, transaction: Transaction, batch: Batch, record: StoredRecord) -> Output:
        if record.value == b"bug":
            raise LookupError("This record meets a bug.")
        key = (record.key or b"").decode()
        place = (batch.partition, key)
        mine = (counts.c.partition == batch.partition) & (counts.c.key == key)
        execute = transaction.connection.execute
        if place not in self.cache:
            self.cache[place] = execute(counts.select().with_only_columns(counts.c.count).where(mine)).scalar() or 0
        self.cache[place] += 1
        if self.cache[place] == 1:
            execute(counts.insert().values(partition=batch.partition, key=key, count=1))
        else:
            execute(counts.update().where(mine).values(count=self.cache[place]))
        return self._output(record.key or b"", f"{key}={self.cache[place]}", batch.now)

    def wake(self, transaction: Transaction, wake: Wake) -> BatchResult:
        """Run timers."""
        self.wakes.append(wake)
        if self.before_wake is not None:
            self.before_wake(wake)
        mine = (timers.c.partition == wake.partition) & (timers.c.due <= wake.clock)
        query = timers.select().with_only_columns(timers.c.due).where(mine).order_by(timers.c.due).limit(wake.limit)
        ran = list(transaction.connection.execute(query).scalars())
        transaction.connection.execute(timers.delete().where(mine & timers.c.due.in_(ran)))
        self._look(transaction, wake.partition)
        due = self.due[wake.partition]
        more = due is not None and due <= wake.clock
        return BatchResult([self._output(b"timer", f"due={at}", wake.now) for at in ran], more=more)

    def next_wake(self, partition: int) -> int | None:
        """The earliest timer."""
        return self.due.get(partition)

    def forget(self, partition: int) -> None:
        """Drop the counts."""
        self.forgotten.append(partition)
        self.cache = {place: count for place, count in self.cache.items() if place[0] != partition}
        self.due.pop(partition, None)

    def _look(self, transaction: Transaction, partition: int) -> None:
        query = timers.select().with_only_columns(timers.c.due).where(timers.c.partition == partition)
        self.due[partition] = min(transaction.connection.execute(query).scalars(), default=None)

    def _output(self, key: bytes, text: str, now: int) -> Output:
        headers = cloud_event_headers(text, "parcours.stage.changed", "/processors/counter", now, "user:test")
        return Output(self.outputs, key, text.encode(), headers, now)
