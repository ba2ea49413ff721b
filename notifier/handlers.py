"""The notifier's processor: from changes of stages and segments to decisions, each with its row before its effect."""

from typing import Final

from notifier import store
from notifier.composer import Composer
from notifier.domain.gates import Moment
from notifier.domain.reading import INPUTS, Entered, read_records
from notifier.memory import Memory
from notifier.outcomes import announce_end
from notifier.ports import Transaction
from notifier.work import Work
from schemas.processing import Batch, BatchResult, Wake
from schemas.times import SECOND

__all__ = ["NotifierProcessor"]

_LOOK_EVERY: Final = SECOND


class NotifierProcessor:
    """Decides, for each change that sets a campaign off, whether its message goes out; keeps every decision.

    A message to the local outbox is delivered by the decision's own transaction. One that leaves the house gets an
    attempt in that transaction, which `notifier.sender.Sender` makes; how it ended is announced by `wake`.
    """

    name = "notifier"
    inputs = INPUTS
    progress_topic: str | None = None
    progress_type: str | None = None

    def __init__(self, composer: Composer, effects_within: int, settle: int = 5 * SECOND) -> None:
        """`effects_within`: how old a change may be to have any effect; `settle`: how far clocks stay behind (ms)."""
        self._composer = composer
        self._campaigns = tuple(composer.campaigns.values())
        self._effects_within = effects_within
        self._settle = settle
        self._memories: dict[int, Memory] = {}
        self._poked: set[int] = set()

    def take(self, transaction: Transaction, partition: int) -> None:
        """Begin to own a partition."""
        self._memories.pop(partition, None)
        self._memory(transaction, partition)

    def forget(self, partition: int) -> None:
        """Drop everything cached of a partition; the next call reads it again."""
        self._memories.pop(partition, None)

    def poke(self, partition: int) -> None:
        """An attempt of this partition is over: announce it soon. Called by the sender, from any thread."""
        self._poked.add(partition)

    def next_wake(self, partition: int) -> int | None:
        """When `wake` has something to do: an unknown cache, an end to announce, or parked news that is over."""
        memory = self._memories.get(partition)
        if memory is None or partition in self._poked:
            return 0
        due: list[int] = []
        if memory.deadline is not None:
            due.append(memory.deadline + 1)
        if memory.outstanding:
            due.append(0 if memory.looked_at is None else memory.looked_at + _LOOK_EVERY)
        return min(due, default=None)

    def process(self, transaction: Transaction, batch: Batch) -> BatchResult:
        """Read a batch, and decide what can be decided after it."""
        memory = self._memory(transaction, batch.partition)
        memory.positions.update(batch.positions)
        reading = read_records(batch.records, self._campaigns)
        memory.received = max(memory.received, min(reading.received, batch.now) - self._settle)
        work = self._work(transaction, memory, batch)
        learned = work.learn(reading.identified)
        news = [step for step in reading.steps if isinstance(step, Entered)]
        if memory.deadline is not None:
            concerned = {subject for step in news for subject in step.subjects}
            memory.adopt(store.load_parked(transaction, concerned | learned))
        withdrawn = [row for step in reading.steps for row in memory.apply(step)]
        work.decide(withdrawn, [each for step in news for each in step.retracted])
        return BatchResult(outputs=work.outputs, dead_letters=reading.dead_letters)

    def wake(self, transaction: Transaction, wake: Wake) -> BatchResult:
        """Announce how attempts ended, and give up parked news that is not valid any more."""
        memory = self._memory(transaction, wake.partition)
        memory.positions.update(wake.positions)
        self._poked.discard(wake.partition)
        parked = store.load_parked_due(transaction, wake.partition, wake.clock, wake.limit)
        memory.adopt(parked)
        work = self._work(transaction, memory, wake)
        work.decide([], [])
        ended = store.load_outcomes(transaction, wake.partition, wake.limit)
        work.outputs.extend(announce_end(outcome, wake.now) for outcome in ended)
        store.mark_announced(transaction, ended)
        memory.looked_at = wake.clock
        memory.deadline = store.next_parked_deadline(transaction, wake.partition)
        memory.outstanding = store.has_outstanding(transaction, wake.partition)
        return BatchResult(outputs=work.outputs, more=wake.limit in (len(parked), len(ended)))

    def _work(self, transaction: Transaction, memory: Memory, given: Batch | Wake) -> Work:
        clock = max(given.clock, memory.received)
        moment = Moment(max(given.now, clock), clock, self._effects_within)
        return Work(self._composer, transaction, memory, given.partition, moment)

    def _memory(self, transaction: Transaction, partition: int) -> Memory:
        memory = self._memories.get(partition)
        if memory is None:
            memory = Memory(
                store.load_undecided(transaction, partition),
                store.next_parked_deadline(transaction, partition),
                outstanding=store.has_outstanding(transaction, partition),
            )
            self._memories[partition] = memory
        return memory
