"""The sender: makes the attempts that decisions left ready, each at most once at a time, and records how they ended."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from notifier.attempts import Claim, claim, expire_leases, has_work, record
from notifier.ports import Channel, Database, Delivery, Now
from schemas.times import MINUTE

__all__ = ["LEASE", "Sender"]

LEASE: Final = 3 * MINUTE
"""How long an attempt may take, in ms: longer than any channel's own limit."""

_AT_ONCE: Final = 8
_PAUSE_SECONDS: Final = 0.5
_RECORD_PAUSES: Final = (0.1, 0.5, 2.0, 5.0, 10.0, 20.0)
_PASSING: Final = "storage_unavailable"
_EXPIRED_AT_ONCE: Final = 100

log = logging.getLogger(__name__)


class Sender:
    """Makes attempts until it is stopped. Any number of senders, in any number of processes, share the work.

    A row is claimed, with a lease, before the outside world is touched. When a sender dies in between, the lease ends
    and the attempt's outcome is unknown: it is not made again.
    """

    def __init__(
        self,
        database: Database,
        channels: Sequence[Channel],
        now: Now,
        owner: str,
        on_end: Callable[[int], None],
    ) -> None:
        """`now`: wall time in ms; `owner`: unique to this sender; `on_end`: told the partition of an ended attempt."""
        self._database = database
        self._channels = {channel.name: channel for channel in channels}
        self._now = now
        self._owner = owner
        self._on_end = on_end
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Send what is ready, again and again, until `stop`. A database that is away for a while is waited for.

        Raises what an unfit database raises.
        """
        while not self._stopping.is_set():
            try:
                made = await self.once()
            except Exception as error:
                _raise_unless_passing(error)
                made = 0
            if made:
                continue
            try:
                async with asyncio.timeout(_PAUSE_SECONDS):
                    await self._stopping.wait()
            except TimeoutError:
                continue

    def stop(self) -> None:
        """Claim nothing more; `run` returns when what is under way is recorded."""
        self._stopping.set()

    async def once(self) -> int:
        """Claim, send and record one round; return how many attempts it made."""
        claims = await asyncio.to_thread(self._claim)
        await asyncio.gather(*(self._attempt(each) for each in claims))
        return len(claims)

    def _claim(self) -> list[Claim]:
        now = self._now()
        with self._database.reading() as transaction:
            if not has_work(transaction, now):
                return []
        with self._database.transaction() as transaction:
            ended = expire_leases(transaction, now, _EXPIRED_AT_ONCE)
            found = claim(transaction, self._channels.keys(), self._owner, now, LEASE, _AT_ONCE)
        for partition in ended | found.ended:
            self._on_end(partition)
        return found.claims

    async def _attempt(self, claimed: Claim) -> None:
        delivery = await self._channels[claimed.channel].deliver(claimed.message)
        if delivery.outcome != "sent":
            log.warning(
                "notifier.not_sent",
                extra={"decision": claimed.message.decision_id, "outcome": delivery.outcome, "tries": claimed.tries},
            )
        # Until the lease ends nobody else touches the row, so a database that is away for a while loses no outcome.
        for pause in _RECORD_PAUSES:
            try:
                await asyncio.to_thread(self._record, claimed, delivery)
            except Exception as error:
                _raise_unless_passing(error)
                await asyncio.sleep(pause)
            else:
                return
        log.error("notifier.outcome_not_recorded", extra={"decision": claimed.message.decision_id})

    def _record(self, claimed: Claim, delivery: Delivery) -> None:
        with self._database.transaction() as transaction:
            over = record(transaction, claimed, self._owner, delivery, self._now())
        if over:
            self._on_end(claimed.partition)


def _raise_unless_passing(error: Exception) -> None:
    if getattr(error, "code", None) != _PASSING:
        raise error
