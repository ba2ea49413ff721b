"""Statements of the sender: claim attempts with a lease, and record how they ended."""

from collections.abc import Collection
from typing import Final, NamedTuple

from sqlalchemy import and_, exists, or_, select, update

from notifier.domain.model import Message, Reason, Status
from notifier.ports import Delivery, Transaction
from notifier.tables import attempts, decisions, messages
from schemas.times import HOUR, SECOND

__all__ = ["Claim", "Claimed", "claim", "expire_leases", "has_work", "record"]

_FIRST_PAUSE: Final = 30 * SECOND
_LONGEST_PAUSE: Final = HOUR


class Claim(NamedTuple):
    """An attempt that this sender may make until its lease ends; `tries` counts this one. Times in ms."""

    channel: str
    partition: int
    tries: int
    expires_at: int
    message: Message


class Claimed(NamedTuple):
    """What to send, and the partitions of attempts that ended without being made."""

    claims: list[Claim]
    ended: set[int]


class _End(NamedTuple):
    status: Status
    reason: Reason | None
    detail: str | None = None


_ENDS: Final[dict[str, tuple[Status, Reason | None]]] = {
    "sent": ("sent", None),
    "failed": ("failed", "refused"),
    "retry": ("suppressed", "expired"),
    "unknown": ("unknown", "outcome_unknown"),
}


def has_work(transaction: Transaction, now: int) -> bool:
    """Whether there is an attempt whose time has come, or a lease that has ended."""
    ready = and_(attempts.c.status == "ready", attempts.c.not_before <= now)
    dead = and_(attempts.c.status == "claimed", attempts.c.lease_until < now)
    return bool(transaction.connection.execute(select(exists().where(or_(ready, dead)))).scalar_one())


def claim(transaction: Transaction, channels: Collection[str], owner: str, now: int, lease: int, limit: int) -> Claimed:
    """Claim attempts whose time has come, after looking once more whether each is still wanted.

    An attempt whose change was taken back, or that is not valid any more, ends as suppressed. `lease` in ms.
    """
    query = (
        select(
            attempts.c.channel, attempts.c.tries, decisions.c.partition, decisions.c.standing, decisions.c.expires_at,
            messages,
        )
        .join(decisions, decisions.c.decision_id == attempts.c.decision_id)
        .join(messages, messages.c.decision_id == attempts.c.decision_id)
        .where(
            attempts.c.status == "ready",
            attempts.c.not_before <= now,
            or_(attempts.c.channel.in_(channels), decisions.c.expires_at < now),
        )
        .order_by(attempts.c.not_before, attempts.c.decision_id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )  # fmt: skip
    found = Claimed([], set())
    for row in transaction.connection.execute(query).mappings().all():
        values = dict(row)
        channel, tries, partition = values.pop("channel"), values.pop("tries"), values.pop("partition")
        standing, expires_at = values.pop("standing"), values.pop("expires_at")
        message = Message(**values)
        if not standing or now > expires_at:
            reason: Reason = "expired" if standing else "no_longer_eligible"
            _end(transaction, message.decision_id, channel, _End("suppressed", reason), now)
            found.ended.add(partition)
            continue
        transaction.connection.execute(
            update(attempts)
            .where(attempts.c.decision_id == message.decision_id, attempts.c.channel == channel)
            .values(status="claimed", lease_owner=owner, lease_until=now + lease, tries=tries + 1)
        )
        found.claims.append(Claim(channel, partition, tries + 1, expires_at, message))
    return found


def expire_leases(transaction: Transaction, now: int, limit: int) -> set[int]:
    """End as unknown what was claimed and never heard of again; return the partitions concerned."""
    query = (
        select(attempts.c.decision_id, attempts.c.channel, attempts.c.partition)
        .where(attempts.c.status == "claimed", attempts.c.lease_until < now)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    found: set[int] = set()
    for decision_id, channel, partition in transaction.connection.execute(query).all():
        _end(transaction, decision_id, channel, _End("unknown", "outcome_unknown"), now)
        found.add(partition)
    return found


def record(transaction: Transaction, claimed: Claim, owner: str, delivery: Delivery, now: int) -> bool:
    """Write down how an attempt ended, or when to try again; say whether it is over.

    What came back after the lease had ended is still worth more than not knowing. Another owner's row stays as it is.
    """
    decision_id = claimed.message.decision_id
    query = select(attempts.c.lease_owner).where(
        attempts.c.decision_id == decision_id, attempts.c.channel == claimed.channel
    )
    if transaction.connection.execute(query.with_for_update()).scalar_one() != owner:
        return False
    again = now + min(_FIRST_PAUSE << (claimed.tries - 1), _LONGEST_PAUSE)
    if delivery.outcome == "retry" and again <= claimed.expires_at:
        _put_off(transaction, claimed, again, delivery.detail)
        return False
    status, reason = _ENDS[delivery.outcome]
    _end(transaction, decision_id, claimed.channel, _End(status, reason, delivery.detail), now)
    return True


def _put_off(transaction: Transaction, claimed: Claim, again: int, detail: str) -> None:
    decision_id = claimed.message.decision_id
    transaction.connection.execute(
        update(decisions).where(decisions.c.decision_id == decision_id).values(status="sending", reason=None)
    )
    transaction.connection.execute(
        update(attempts)
        .where(attempts.c.decision_id == decision_id, attempts.c.channel == claimed.channel)
        .values(
            status="ready", not_before=again, lease_owner=None, lease_until=None, detail=detail, finished_at=None,
            announced=False,
        )
    )  # fmt: skip


def _end(transaction: Transaction, decision_id: str, channel: str, end: _End, now: int) -> None:
    transaction.connection.execute(
        update(decisions).where(decisions.c.decision_id == decision_id).values(status=end.status, reason=end.reason)
    )
    transaction.connection.execute(
        update(attempts)
        .where(attempts.c.decision_id == decision_id, attempts.c.channel == channel)
        .values(status=end.status, lease_until=None, detail=end.detail, finished_at=now, announced=False)
    )
