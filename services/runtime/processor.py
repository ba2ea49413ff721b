"""What the runtime runs: a processor of batches. The engines and the notifier implement it."""

from typing import Protocol

from schemas.processing import Batch, BatchResult, Wake
from services.storage.database import Transaction

__all__ = ["Processor"]


class Processor(Protocol):
    """Processes batches of one partition inside the database transaction that also stores its position and outputs.

    All methods but `next_wake` run in worker threads, never two at once for one partition, but two partitions may be at
    work at the same time. An exception rolls the transaction back; the runtime then calls `forget` and `take`, and
    tries again (in smaller parts down to the record at fault, when the database is not to blame).
    """

    @property
    def name(self) -> str:
        """Name of the processor, of its group and of its relays."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Topics that it reads. Within a batch, their records come in this order."""

    @property
    def progress_topic(self) -> str | None:
        """Topic on which its progress is told, if any."""

    @property
    def progress_type(self) -> str | None:
        """CloudEvents type of its progress records."""

    def take(self, transaction: Transaction, partition: int) -> None:
        """Begin to own a partition, or begin anew after `forget`: nothing may be cached from before."""

    def process(self, transaction: Transaction, batch: Batch) -> BatchResult:
        """Apply the records of a batch. Records that can never be processed come back as dead letters."""

    def wake(self, transaction: Transaction, wake: Wake) -> BatchResult:
        """Run what is due by `wake.clock`, for at most `wake.limit` subjects."""

    def next_wake(self, partition: int) -> int | None:
        """The earliest instant (ms, by the partition's clock) at which `wake` has something to do; None: nothing.

        Asked often, on the event loop, while no other method runs for the partition: answer at once.
        """

    def forget(self, partition: int) -> None:
        """Drop everything cached of a partition: the last transaction's outcome is unknown, or ownership ended."""
