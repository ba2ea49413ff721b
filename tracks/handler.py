"""The processor of an engine: takes batches of one partition, folds, repairs, and says what to publish."""

from schemas.processing import Batch, BatchResult, Wake
from schemas.records import StoredRecord
from tracks.cache import SubjectCache
from tracks.engine import Engine
from tracks.folds import fold_groups, run_due
from tracks.intake import group_mail, read_records, store_new
from tracks.ports import Transaction
from tracks.reading import Facts
from tracks.results import Results
from tracks.store import TrackStore
from tracks.work import Work

__all__ = ["TrackProcessor"]


class TrackProcessor:
    """Folds the events of the owned partitions under the engine's definitions; what a runtime calls a processor.

    Data never makes it raise: what cannot be processed comes back as dead letters. An engine with further inputs
    overrides `facts`.
    """

    def __init__(self, engine: Engine, store: TrackStore) -> None:
        """`store` has the engine's tables. `conflicts` counts, since then, ids that came with another content."""
        self.engine = engine
        self.conflicts = 0
        self._store = store
        self._cache = SubjectCache(engine)
        self._next: dict[int, int | None] = {}

    @property
    def name(self) -> str:
        """Name of the processor."""
        return self.engine.name

    @property
    def inputs(self) -> tuple[str, ...]:
        """Topics that it reads."""
        return self.engine.inputs

    @property
    def progress_topic(self) -> str | None:
        """Topic on which its progress is told: that of its changes."""
        return self.engine.output_topic

    @property
    def progress_type(self) -> str | None:
        """CloudEvents type of its progress records."""
        return self.engine.progress_type

    def facts(self, record: StoredRecord) -> Facts:
        """What a record that is no event adds to its subject's set, or takes out. Raises `BadRecord`."""
        return Facts()

    def take(self, transaction: Transaction, partition: int) -> None:
        """Begin to own a partition, with nothing cached of it."""
        self._cache.begin(partition)
        self._next[partition] = self._store.earliest_wake(transaction, partition)

    def forget(self, partition: int) -> None:
        """Drop everything cached of a partition."""
        self._cache.forget(partition)
        self._next.pop(partition, None)

    def process(self, transaction: Transaction, batch: Batch) -> BatchResult:
        """Store and fold the events of a batch; late ones repair their subjects' journeys."""
        work = self._work(transaction, batch.partition, batch.now)
        mail = read_records(work, batch.records, self.facts)
        groups = store_new(work, group_mail(work, mail))
        subjects = fold_groups(work, groups)
        self._cache.keep(batch.partition, subjects)
        self.conflicts += work.conflicts
        wakes = [subject.wake_at for subject in subjects if subject.wake_at is not None]
        if wakes and batch.partition in self._next:
            known = self._next[batch.partition]
            earliest = min(wakes)
            self._next[batch.partition] = earliest if known is None else min(known, earliest)
        return BatchResult(work.results.outputs, work.dead)

    def wake(self, transaction: Transaction, wake: Wake) -> BatchResult:
        """Run what is due by the clock, the longest due first."""
        work = self._work(transaction, wake.partition, wake.now)
        rows = self._store.due_subjects(transaction, wake.partition, wake.clock, wake.limit)
        subjects = run_due(work, rows, wake.clock)
        self._cache.keep(wake.partition, subjects)
        self._next[wake.partition] = self._store.earliest_wake(transaction, wake.partition)
        return BatchResult(work.results.outputs, more=len(rows) == wake.limit)

    def next_wake(self, partition: int) -> int | None:
        """The earliest instant (ms) at which `wake` may have something to do; the epoch as long as nothing is known."""
        return self._next.get(partition, 0)

    def _work(self, transaction: Transaction, partition: int, now: int) -> Work:
        return Work(self.engine, self._store, self._cache, transaction, partition, now, Results(self.engine))
