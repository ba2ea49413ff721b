"""What the runtime runs: a processor of batches. The engines and the notifier implement it."""

from typing import Protocol

from schemas.processing import Batch, BatchResult, Wake
from services.storage.database import Transaction

__all__ = ["Processor"]


class Processor(Protocol):
    """Processes batches of one partition inside the database transaction that also stores its position and outputs.

    All methods run in a worker thread, never two at once for one partition. An exception rolls the transaction back,
    the runtime calls `forget`, and tries again (alone, record by record, when the error is not transient).
    """

    name: str
    inputs: tuple[str, ...]
    progress_topic: str | None
    progress_type: str | None

    def take(self, transaction: Transaction, partition: int) -> None:
        """Begin to own a partition: nothing may be cached from an earlier ownership."""

    def process(self, transaction: Transaction, batch: Batch) -> BatchResult:
        """Apply the records of a batch. Records that can never be processed come back as dead letters."""

    def wake(self, transaction: Transaction, wake: Wake) -> BatchResult:
        """Run what is due by `wake.clock`."""

    def next_wake(self, partition: int) -> int | None:
        """The earliest instant (ms, by the partition's clock) at which `wake` has something to do; None: nothing."""

    def forget(self, partition: int) -> None:
        """Drop everything cached of a partition: the last transaction's outcome is unknown, or ownership ended."""
