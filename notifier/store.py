"""Statements of the notifier's processor. Each runs in the caller's transaction."""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Final, NamedTuple

import msgspec
from sqlalchemy import Table, bindparam, delete, exists, func, select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from notifier.domain.model import OPEN_STATUSES, Decision, Key, Message, Pending
from notifier.domain.profiles import Profile
from notifier.ports import Transaction
from notifier.tables import attempts, decisions, messages, pending, profiles

__all__ = ["Attempt", "Outcome", "Subject", "delete_pending", "has_outstanding", "load_decisions", "load_outcomes"]
__all__ += ["load_parked", "load_parked_due", "load_profiles", "load_undecided", "mark_announced"]
__all__ += ["next_parked_deadline", "save_attempts", "save_decisions", "save_messages", "save_pending", "save_profiles"]
__all__ += ["upsert"]

Subject = tuple[str, str]
"""Workspace and subject."""

_CHUNK: Final = 500
_encode = msgspec.msgpack.Encoder().encode
_decode_profile = msgspec.msgpack.Decoder(Profile).decode
_decode_pending = msgspec.msgpack.Decoder(Pending).decode


class Attempt(NamedTuple):
    """A new attempt of a decision through a channel. `status` is ``ready``, or ``sent`` when it needs no sender."""

    decision_id: str
    channel: str
    partition: int
    status: str
    now: int


class Outcome(NamedTuple):
    """How an attempt ended, to be announced; `finished_at` in ms."""

    decision: Decision
    channel: str
    status: str
    finished_at: int


def upsert(transaction: Transaction, table: Table, rows: list[dict[str, Any]]) -> None:
    """Insert rows, or overwrite those with the same primary key."""
    if not rows:
        return
    keys = [column.name for column in table.primary_key]
    insert: Callable[[Table], Any] = sqlite_insert if transaction.dialect == "sqlite" else postgresql_insert
    statement = insert(table)
    changed = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    transaction.connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed), rows)


def _by_workspace(subjects: Collection[Subject]) -> Iterator[tuple[str, list[str]]]:
    grouped: dict[str, list[str]] = {}
    for workspace, subject in sorted(set(subjects)):
        grouped.setdefault(workspace, []).append(subject)
    for workspace, names in grouped.items():
        for start in range(0, len(names), _CHUNK):
            yield workspace, names[start : start + _CHUNK]


def load_profiles(transaction: Transaction, subjects: Collection[Subject]) -> dict[Subject, Profile]:
    """What is known of these subjects; an empty profile for those of whom nothing is."""
    found: dict[Subject, Profile] = {subject: {} for subject in subjects}
    for workspace, names in _by_workspace(subjects):
        query = select(profiles.c.subject, profiles.c.traits).where(
            profiles.c.workspace == workspace, profiles.c.subject.in_(names)
        )
        for subject, traits in transaction.connection.execute(query):
            found[(workspace, subject)] = _decode_profile(traits)
    return found


def save_profiles(transaction: Transaction, found: dict[Subject, Profile]) -> None:
    """Overwrite these profiles."""
    rows = [
        {"workspace": workspace, "subject": subject, "traits": _encode(profile)}
        for (workspace, subject), profile in found.items()
    ]
    upsert(transaction, profiles, rows)


def load_undecided(transaction: Transaction, partition: int) -> list[Pending]:
    """News of a partition that waits for the reading of events, in the order in which it came."""
    query = select(pending.c.data).where(pending.c.partition == partition, pending.c.parked.is_(False))
    found = [_decode_pending(data) for (data,) in transaction.connection.execute(query)]
    return sorted(found, key=lambda each: (each.topic, each.offset))


def load_parked(transaction: Transaction, subjects: Collection[Subject]) -> list[Pending]:
    """News of these subjects that waits for an address."""
    found: list[Pending] = []
    for workspace, names in _by_workspace(subjects):
        query = select(pending.c.data).where(
            pending.c.workspace == workspace, pending.c.subject.in_(names), pending.c.parked.is_(True)
        )
        found += [_decode_pending(data) for (data,) in transaction.connection.execute(query)]
    return found


def load_parked_due(transaction: Transaction, partition: int, before: int, limit: int) -> list[Pending]:
    """News that waited for an address and was valid only until before the instant `before`; the oldest first."""
    query = (
        select(pending.c.data)
        .where(pending.c.partition == partition, pending.c.parked.is_(True), pending.c.expires_at < before)
        .order_by(pending.c.expires_at)
        .limit(limit)
    )
    return [_decode_pending(data) for (data,) in transaction.connection.execute(query)]


def next_parked_deadline(transaction: Transaction, partition: int) -> int | None:
    """Until when (ms) the first of the news that waits for an address is valid."""
    query = select(func.min(pending.c.expires_at)).where(pending.c.partition == partition, pending.c.parked.is_(True))
    found: int | None = transaction.connection.execute(query).scalar_one()
    return found


def save_pending(transaction: Transaction, partition: int, rows: Iterable[Pending]) -> None:
    """Keep news that is not decided yet."""
    values = [
        {
            "workspace": row.workspace,
            "subject": row.subject,
            "change_id": row.change_id,
            "campaign": row.campaign,
            "partition": partition,
            "parked": row.parked,
            "expires_at": row.expires_at,
            "data": _encode(row),
        }
        for row in rows
    ]
    upsert(transaction, pending, values)


def delete_pending(transaction: Transaction, keys: Iterable[Key]) -> None:
    """Forget news: it was decided, or taken back."""
    rows = [dict(zip(("a", "b", "c", "d"), key, strict=True)) for key in keys]
    if not rows:
        return
    statement = delete(pending).where(
        pending.c.workspace == bindparam("a"),
        pending.c.subject == bindparam("b"),
        pending.c.change_id == bindparam("c"),
        pending.c.campaign == bindparam("d"),
    )
    transaction.connection.execute(statement, rows)


def load_decisions(transaction: Transaction, subjects: Collection[Subject]) -> dict[Subject, list[Decision]]:
    """Every decision about these subjects, locked until the transaction ends: no attempt of theirs ends meanwhile."""
    found: dict[Subject, list[Decision]] = {subject: [] for subject in subjects}
    for workspace, names in _by_workspace(subjects):
        query = (
            select(decisions)
            .where(decisions.c.workspace == workspace, decisions.c.subject.in_(names))
            .order_by(decisions.c.decision_id)
            .with_for_update()
        )
        for row in transaction.connection.execute(query).mappings():
            found[(workspace, row["subject"])].append(Decision(**row))
    return found


def save_decisions(transaction: Transaction, rows: Iterable[Decision]) -> None:
    """Insert or overwrite decisions."""
    upsert(transaction, decisions, [msgspec.structs.asdict(row) for row in rows])


def save_attempts(transaction: Transaction, rows: Iterable[Attempt]) -> None:
    """Insert attempts; one that was given up before (its decision was suppressed since) begins anew."""
    values = [
        {
            "decision_id": row.decision_id,
            "channel": row.channel,
            "partition": row.partition,
            "status": row.status,
            "tries": 0,
            "not_before": row.now,
            "lease_owner": None,
            "lease_until": None,
            "detail": None,
            "created_at": row.now,
            "finished_at": None if row.status in OPEN_STATUSES else row.now,
            "announced": row.status not in OPEN_STATUSES,
        }
        for row in rows
    ]
    upsert(transaction, attempts, values)


def save_messages(transaction: Transaction, rows: Iterable[Message]) -> None:
    """Insert or overwrite rendered messages."""
    upsert(transaction, messages, [msgspec.structs.asdict(row) for row in rows])


def has_outstanding(transaction: Transaction, partition: int) -> bool:
    """Whether an attempt of the partition is not over, or its end is not announced."""
    query = select(exists().where(attempts.c.partition == partition, attempts.c.announced.is_(False)))
    return bool(transaction.connection.execute(query).scalar_one())


def load_outcomes(transaction: Transaction, partition: int, limit: int) -> list[Outcome]:
    """Ends of attempts that are not announced yet."""
    query = (
        select(decisions, attempts.c.channel.label("via"), attempts.c.status.label("end"), attempts.c.finished_at)
        .join(attempts, attempts.c.decision_id == decisions.c.decision_id)
        .where(
            attempts.c.partition == partition,
            attempts.c.announced.is_(False),
            attempts.c.status.not_in(OPEN_STATUSES),
        )
        .order_by(attempts.c.finished_at, attempts.c.decision_id)
        .limit(limit)
    )
    found: list[Outcome] = []
    for row in transaction.connection.execute(query).mappings():
        values = dict(row)
        via, end, finished_at = values.pop("via"), values.pop("end"), values.pop("finished_at")
        found.append(Outcome(Decision(**values), via, end, finished_at))
    return found


def mark_announced(transaction: Transaction, outcomes: Iterable[Outcome]) -> None:
    """Note that these ends of attempts stand in the outbox of the event log."""
    for outcome in outcomes:
        transaction.connection.execute(
            update(attempts)
            .where(
                attempts.c.decision_id == outcome.decision.decision_id,
                attempts.c.channel == outcome.channel,
                attempts.c.status == outcome.status,
            )
            .values(announced=True)
        )
