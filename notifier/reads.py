"""What the API and the pages read of the notifier: decisions with their messages and attempts. Synchronous."""

from typing import NamedTuple

from sqlalchemy import Select, and_, func, or_, select

from notifier.domain.model import Decision
from notifier.ports import Database, Transaction
from notifier.tables import attempts, decisions, messages

__all__ = ["AttemptMade", "MessageFilter", "MessageReads", "MessageSeen", "Place"]


class Place(NamedTuple):
    """Where a list goes on: after the message decided at `decided_at` (ms) with this id, towards older ones."""

    decided_at: int
    decision_id: str


class MessageFilter(NamedTuple):
    """Which messages to list; None: whichever. `status` is one of `notifier.domain.model.Status`."""

    subject: str | None = None
    campaign: str | None = None
    status: str | None = None


class AttemptMade(NamedTuple):
    """An attempt through a channel. Times in ms; `detail` is what the other side said."""

    channel: str
    status: str
    tries: int
    created_at: int
    finished_at: int | None
    not_before: int
    detail: str | None


class MessageSeen(NamedTuple):
    """A decision with its message, if one was written, and its attempts."""

    decision: Decision
    recipient: str | None
    subject_line: str | None
    text: str | None
    html: str | None
    attempts: tuple[AttemptMade, ...]


class MessageReads:
    """Reads of one notifier's tables. Raises what the database raises."""

    def __init__(self, database: Database) -> None:
        """`database` holds the notifier's tables."""
        self._database = database

    def recent(self, workspace: str, wanted: MessageFilter, after: Place | None, limit: int) -> list[MessageSeen]:
        """Messages of a workspace, the one decided last first."""
        query = _query().where(decisions.c.workspace == workspace)
        if wanted.subject is not None:
            query = query.where(decisions.c.subject == wanted.subject)
        if wanted.campaign is not None:
            query = query.where(decisions.c.campaign == wanted.campaign)
        if wanted.status is not None:
            query = query.where(decisions.c.status == wanted.status)
        if after is not None:
            earlier = decisions.c.decided_at < after.decided_at
            same = and_(decisions.c.decided_at == after.decided_at, decisions.c.decision_id < after.decision_id)
            query = query.where(or_(earlier, same))
        query = query.order_by(decisions.c.decided_at.desc(), decisions.c.decision_id.desc()).limit(limit)
        with self._database.reading() as transaction:
            return _seen(transaction, query)

    def one(self, workspace: str, decision_id: str) -> MessageSeen | None:
        """The message of a decision, or None."""
        query = _query().where(decisions.c.workspace == workspace, decisions.c.decision_id == decision_id)
        with self._database.reading() as transaction:
            found = _seen(transaction, query)
        return found[0] if found else None

    def counts(self, workspace: str) -> dict[str, int]:
        """How many decisions of a workspace have each status."""
        query = (
            select(decisions.c.status, func.count())
            .where(decisions.c.workspace == workspace)
            .group_by(decisions.c.status)
        )
        with self._database.reading() as transaction:
            return {row[0]: row[1] for row in transaction.connection.execute(query)}


def _query() -> Select[tuple[object, ...]]:
    columns = (messages.c.recipient, messages.c.subject_line, messages.c.text, messages.c.html)
    # What was written for a decision that was suppressed afterwards was never sent; it is not shown as a message.
    joined = and_(messages.c.decision_id == decisions.c.decision_id, decisions.c.status != "suppressed")
    return select(decisions, *columns).outerjoin(messages, joined)


def _seen(transaction: Transaction, query: Select[tuple[object, ...]]) -> list[MessageSeen]:
    rows = [dict(row) for row in transaction.connection.execute(query).mappings()]
    made: dict[str, list[AttemptMade]] = {row["decision_id"]: [] for row in rows}
    listed = select(
        attempts.c.decision_id, attempts.c.channel, attempts.c.status, attempts.c.tries, attempts.c.created_at,
        attempts.c.finished_at, attempts.c.not_before, attempts.c.detail,
    ).where(attempts.c.decision_id.in_(list(made))).order_by(attempts.c.channel)  # fmt: skip
    for decision_id, *values in transaction.connection.execute(listed):
        made[decision_id].append(AttemptMade(*values))
    found: list[MessageSeen] = []
    for row in rows:
        parts = {name: row.pop(name) for name in ("recipient", "subject_line", "text", "html")}
        decision = Decision(**row)
        found.append(MessageSeen(decision, attempts=tuple(made[decision.decision_id]), **parts))
    return found
