"""How a worker works: sizes, intervals and patience (tests shorten them), and what it works with."""

from dataclasses import dataclass, field

from services.eventlog.port import EventLog
from services.runtime.clock import Clock
from services.runtime.threads import Threads
from services.storage.database import Database

__all__ = ["Runtime", "WorkerOptions"]


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """Sizes are in records and bytes; `settle` in milliseconds; everything else in seconds unless it says otherwise.

    `batch_records`, `batch_bytes`: bounds of one transaction. `wake_limit`: subjects per transaction of due instants.
    `poll_ms`: how long a poll waits for records. `threads`: transactions at a time. `progress_every`: progress records
    while something moves. `quiet_after`, `quiet_clock_ms`: after so long without a record, progress is sent only when
    the clock has moved so far. `first_backoff`, `last_backoff`: pauses between tries while the database or the log is
    unavailable. `wake_pause`: after due instants failed for good. `publish_every`: at most one publication in so long
    (0: at once). `outbox_limit`: unpublished records of a partition above which it reads no more.
    `take_patience`: how long a new owner waits for the database. `drain_seconds`: how long a stop waits for the batches
    in flight, and again for the outbox. `lag_commit_every`: how often group offsets are committed, for lag tools.
    `rejoins_a_minute`: how often a worker that lost a partition to another may join again before it gives up.
    """

    settle: int = 5_000
    batch_records: int = 4_000
    batch_bytes: int = 4 * 1_048_576
    wake_limit: int = 500
    poll_ms: int = 250
    threads: int = 1
    progress_every: float = 1.0
    quiet_after: float = 60.0
    quiet_clock_ms: int = 10_000
    first_backoff: float = 0.05
    last_backoff: float = 5.0
    wake_pause: float = 60.0
    publish_every: float = 0.0
    outbox_limit: int = 50_000
    take_patience: float = 30.0
    drain_seconds: float = 4.0
    lag_commit_every: float = 5.0
    rejoins_a_minute: int = 5


@dataclass(frozen=True, slots=True)
class Runtime:
    """What a worker, its lanes and its relays work with. `database` holds the processor's tables and the runtime's."""

    event_log: EventLog
    database: Database
    clock: Clock
    options: WorkerOptions = field(default_factory=WorkerOptions)
    batches: Threads = field(default_factory=lambda: Threads(1, "batches"))
    relays: Threads = field(default_factory=lambda: Threads(1, "relays"))
