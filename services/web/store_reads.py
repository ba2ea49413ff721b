"""The pages' facts from the stores of the stage engine, the segmenter and the notifier."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, RowMapping, func, select

from notifier.reads import MessageFilter, MessageReads
from schemas.ids import DEFAULT_WORKSPACE, display_id, parse_customer_id
from services.storage.database import Database
from services.web.catalog import Catalog
from services.web.facts import ChangeFact, MemberFact, MessageFact, Place, StageCount
from services.web.first_minute import Applied
from tracks.tables import TrackTables

__all__ = ["ListReads"]

_ESCAPE: Final = "\\"


def _like(query: str) -> str:
    for special in (_ESCAPE, "%", "_"):
        query = query.replace(special, _ESCAPE + special)
    return f"%{query}%"


def _member(row: RowMapping) -> MemberFact:
    place = Place(row["lifecycle"], row["track"], row["stage"])
    return MemberFact(display_id(row["subject"]), place, row["since"], row["visit"], row["reason"])


class ListReads:
    """The lists of the pages: counts, members, latest changes, messages. Raises `StorageError`, `InvalidId`."""

    def __init__(self, catalog: Catalog, stage_engine: Database, tables: TrackTables, messages: MessageReads) -> None:
        """`stage_engine` holds `tables`; `messages` reads the notifier's."""
        self.catalog = catalog
        self._database = stage_engine
        self._stages = tables.stages
        self._transitions = tables.transitions
        self._activity = tables.activity
        self._messages = messages

    def _rows(self, query: Any) -> Sequence[RowMapping]:
        with self._database.reading() as transaction:
            return transaction.connection.execute(query).mappings().all()

    def counts(self) -> Sequence[StageCount]:
        """How many customers are in each stage of each lifecycle track; empty stages are missing."""
        place = (self._stages.c.lifecycle, self._stages.c.track, self._stages.c.stage)
        query = (
            select(*place, func.count().label("customers"))
            .where(self._stages.c.workspace == DEFAULT_WORKSPACE)
            .group_by(*place)
        )
        return [
            StageCount(Place(row["lifecycle"], row["track"], row["stage"]), row["customers"])
            for row in self._rows(query)
        ]

    def _listed(self, conditions: Sequence[ColumnElement[bool]], after: str | None, limit: int) -> list[MemberFact]:
        query = select(self._stages).where(self._stages.c.workspace == DEFAULT_WORKSPACE, *conditions)
        if after is not None:
            query = query.where(self._stages.c.subject > parse_customer_id(after))
        return [_member(row) for row in self._rows(query.order_by(self._stages.c.subject).limit(limit))]

    def members(self, place: Place, after: str | None, limit: int) -> Sequence[MemberFact]:
        """Customers in a stage in order of their ids, after the customer `after`."""
        columns = self._stages.c
        here = (columns.lifecycle == place.lifecycle, columns.track == place.track, columns.stage == place.stage)
        return self._listed(here, after, limit)

    def find(self, query: str, after: str | None, limit: int) -> Sequence[MemberFact]:
        """Customers whose id holds `query`, in order of their ids, each with their primary stage."""
        primary = self.catalog.primary
        if primary is None:
            return []
        columns = self._stages.c
        conditions = [columns.lifecycle == primary.lifecycle, columns.track == primary.track]
        if query:
            conditions.append(columns.subject.like(_like(query), escape=_ESCAPE))
        return self._listed(conditions, after, limit)

    def latest(self, limit: int) -> Sequence[ChangeFact]:
        """The changes that were recorded last, latest first, entries into initial stages left out."""
        columns = self._transitions.c
        query = (
            select(self._transitions)
            .where(
                columns.workspace == DEFAULT_WORKSPACE,
                columns.superseded_at.is_(None),
                columns.from_stage.is_not(None),
            )
            .order_by(columns.recorded_at.desc(), columns.effective_at.desc(), columns.step.desc())
            .limit(limit)
        )
        return [change_fact(row) for row in self._rows(query)]

    def applied(self, subject: str, event: str, since: int) -> Applied | None:
        """What the latest event of that name, received since `since` (ms), changed on the primary track.

        None: the stage engine has not applied it yet.
        """
        primary = self.catalog.primary
        seen, moved = self._activity.c, self._transitions.c
        latest = (
            select(seen.occurred_at)
            .where(
                seen.workspace == DEFAULT_WORKSPACE, seen.subject == subject, seen.name == event,
                seen.received_at >= since,
            )
            .order_by(seen.received_at.desc())
            .limit(1)
        )  # fmt: skip
        with self._database.reading() as transaction:
            at = transaction.connection.execute(latest).scalar_one_or_none()
            if at is None or primary is None:
                return None
            turns = transaction.connection.execute(
                select(moved.from_stage, moved.to_stage)
                .where(
                    moved.workspace == DEFAULT_WORKSPACE, moved.subject == subject, moved.superseded_at.is_(None),
                    moved.lifecycle == primary.lifecycle, moved.track == primary.track, moved.effective_at == at,
                )
                .order_by(moved.ordinal)
            ).all()  # fmt: skip
            if turns:
                return Applied(primary.lifecycle, primary.track, turns[0].from_stage, turns[-1].to_stage)
            here = self._stages.c
            stage = transaction.connection.execute(
                select(here.stage).where(
                    here.workspace == DEFAULT_WORKSPACE, here.subject == subject,
                    here.lifecycle == primary.lifecycle, here.track == primary.track,
                )
            ).scalar_one_or_none()  # fmt: skip
        return None if stage is None else Applied(primary.lifecycle, primary.track, stage, stage)

    def messages(self, customer: str | None, limit: int) -> Sequence[MessageFact]:
        """The latest messages, of one customer or of all, latest first."""
        subject = None if customer is None else parse_customer_id(customer)
        seen = self._messages.recent(DEFAULT_WORKSPACE, MessageFilter(subject), None, limit)
        return [
            MessageFact(
                display_id(item.decision.subject),
                item.decision.campaign,
                item.decision.status,
                item.decision.reason,
                item.subject_line,
                item.text,
                item.decision.decided_at,
            )
            for item in seen
        ]


def change_fact(row: RowMapping) -> ChangeFact:
    """A stored transition as a fact."""
    return ChangeFact(
        display_id(row["subject"]),
        row["lifecycle"],
        row["track"],
        row["from_stage"],
        row["to_stage"],
        row["transition"],
        row["reason"],
        row["effective_at"],
        row["step"],
    )
