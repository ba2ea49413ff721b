"""What the API and the pages read of an engine's tables. Synchronous; raises what the database raises."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, func, literal, or_, select, tuple_

from behavior import Definition, Explanation
from tracks.domain.folding import events_of
from tracks.domain.outlook import Outlook, explained, next_change
from tracks.domain.rows import ActivityRow, StageRow, SubjectRow, TransitionRow
from tracks.domain.subjects import Subject, subject_of_row
from tracks.engine import Engine
from tracks.ports import Reading, Transaction
from tracks.tables import TrackTables

__all__ = ["ActivityPlace", "Explained", "JourneyFilter", "Place", "StageCount", "TrackReads"]

_IDENTIFY = "$identify"
_NO_SEQUENCE = -(2**63)
_ESCAPE = "\\"
_MOST_TRANSITIONS = 10_000


class Place(NamedTuple):
    """A stage of a track of a lifecycle (or of a segments file), by ids."""

    lifecycle: str
    track: str
    stage: str


class StageCount(NamedTuple):
    """How many subjects are in a stage now."""

    place: Place
    subjects: int


class JourneyFilter(NamedTuple):
    """Which transitions to list; times in ms, None: all.

    `as_of` leaves out what took effect later; `as_known_at` tells what stood at that time (None: what stands now).
    """

    lifecycle: str | None = None
    track: str | None = None
    as_of: int | None = None
    as_known_at: int | None = None


class ActivityPlace(NamedTuple):
    """Where a list of events goes on, towards earlier ones: after this event."""

    occurred_at: int
    sequence: int | None
    message_id: str


class Explained(NamedTuple):
    """An explanation, the stored transitions into the present stages by (lifecycle, track), and its evidence by id."""

    explanation: Explanation
    entries: Mapping[tuple[str, str], TransitionRow]
    evidence: Mapping[str, ActivityRow]


class TrackReads:
    """Reads of one engine. Every call is one snapshot."""

    def __init__(self, database: Reading, tables: TrackTables, engine: Engine) -> None:
        """`database` holds `tables`; `engine` knows the active definitions."""
        self.engine = engine
        self._database = database
        self._activity = tables.activity
        self._subjects = tables.subjects
        self._transitions = tables.transitions
        self._stages = tables.stages

    @property
    def definitions(self) -> Sequence[Definition]:
        """The active definitions."""
        return self.engine.definitions

    def _rows(self, query: Select[Any]) -> Sequence[Any]:
        with self._database.reading() as transaction:
            return transaction.connection.execute(query).all()

    def counts(self, workspace: str, lifecycle: str | None = None) -> list[StageCount]:
        """How many subjects are in each stage, of one lifecycle or of all; empty stages are missing."""
        columns = self._stages.c
        place = (columns.lifecycle, columns.track, columns.stage)
        query = select(*place, func.count()).where(columns.workspace == workspace).group_by(*place)
        if lifecycle is not None:
            query = query.where(columns.lifecycle == lifecycle)
        return [StageCount(Place(*row[:3]), row[3]) for row in self._rows(query)]

    def members(self, workspace: str, place: Place, text: str, after: str | None, limit: int) -> list[StageRow]:
        """Subjects in a stage whose name holds `text`, in order, after the subject `after`."""
        columns = self._stages.c
        query = (
            select(self._stages)
            .where(
                columns.workspace == workspace,
                columns.lifecycle == place.lifecycle,
                columns.track == place.track,
                columns.stage == place.stage,
            )
            .order_by(columns.subject)
            .limit(limit)
        )
        return [StageRow(*row) for row in self._rows(query.where(*_listed(columns.subject, text, after)))]

    def subjects(self, workspace: str, text: str, after: str | None, limit: int) -> list[str]:
        """Subjects whose name holds `text`, in order, after the subject `after`."""
        columns = self._subjects.c
        query = select(columns.subject).where(columns.workspace == workspace).order_by(columns.subject).limit(limit)
        return [row[0] for row in self._rows(query.where(*_listed(columns.subject, text, after)))]

    def places(self, workspace: str, subjects: Iterable[str]) -> dict[str, list[StageRow]]:
        """The present stages of subjects on every track; unknown subjects have none."""
        columns = self._stages.c
        found: dict[str, list[StageRow]] = {subject: [] for subject in subjects}
        query = (
            select(self._stages)
            .where(columns.workspace == workspace, columns.subject.in_(list(found)))
            .order_by(columns.lifecycle, columns.track)
        )
        for row in self._rows(query):
            found[row.subject].append(StageRow(*row))
        return found

    def known(self, workspace: str, subject: str) -> bool:
        """Whether anything is stored of a subject."""
        columns = self._subjects.c
        return bool(
            self._rows(select(columns.partition).where(columns.workspace == workspace, columns.subject == subject))
        )

    def traits(self, workspace: str, subject: str) -> dict[str, Any]:
        """The traits of a subject: per trait the latest value in canonical order; null takes it away."""
        columns = self._activity.c
        query = select(self._activity).where(
            columns.workspace == workspace, columns.subject == subject, columns.name == _IDENTIFY
        )
        traits: dict[str, Any] = {}
        for event in events_of(ActivityRow(*row) for row in self._rows(query)):
            traits.update(event.content())
        return {name: value for name, value in traits.items() if value is not None}

    def journey(self, workspace: str, subject: str, wanted: JourneyFilter) -> list[TransitionRow]:
        """The transitions of a subject that stand (or stood), in the order of the journey; the latest 10,000."""
        columns = self._transitions.c
        query = (
            select(self._transitions)
            .where(columns.workspace == workspace, columns.subject == subject, *self._filters(wanted))
            .order_by(columns.effective_at.desc())
            .limit(_MOST_TRANSITIONS)
        )
        return self._in_order(TransitionRow(*row) for row in self._rows(query))

    def _filters(self, wanted: JourneyFilter) -> list[ColumnElement[bool]]:
        columns = self._transitions.c
        filters: list[ColumnElement[bool]] = []
        if wanted.lifecycle is not None:
            filters.append(columns.lifecycle == wanted.lifecycle)
        if wanted.track is not None:
            filters.append(columns.track == wanted.track)
        if wanted.as_of is not None:
            filters.append(columns.effective_at <= wanted.as_of)
        if wanted.as_known_at is None:
            filters.append(columns.superseded_at.is_(None))
        else:
            filters.append(columns.recorded_at <= wanted.as_known_at)
            filters.append(or_(columns.superseded_at.is_(None), columns.superseded_at > wanted.as_known_at))
        return filters

    def _in_order(self, rows: Iterable[TransitionRow]) -> list[TransitionRow]:
        tracks = {
            (definition.name, track.name): (number, track.position)
            for number, definition in enumerate(self.definitions)
            for track in definition.tracks
        }
        last = (len(self.definitions), 0)
        return sorted(
            rows,
            key=lambda row: (row.effective_at, row.step, row.ordinal, tracks.get((row.lifecycle, row.track), last)),
        )

    def latest(self, workspace: str, limit: int) -> list[TransitionRow]:
        """The standing transitions that were recorded last, latest first, without entries into initial stages."""
        columns = self._transitions.c
        query = (
            select(self._transitions)
            .where(columns.workspace == workspace, columns.superseded_at.is_(None), columns.from_stage.is_not(None))
            .order_by(columns.recorded_at.desc(), columns.effective_at.desc(), columns.step.desc())
            .limit(limit)
        )
        return [TransitionRow(*row) for row in self._rows(query)]

    def activity(self, workspace: str, subject: str, after: ActivityPlace | None, limit: int) -> list[ActivityRow]:
        """The events of a subject, latest first, after (earlier than) the place `after`."""
        columns = self._activity.c
        sequence = func.coalesce(columns.sequence, literal(_NO_SEQUENCE))
        position = (columns.occurred_at, sequence, columns.message_id)
        query = (
            select(self._activity)
            .where(columns.workspace == workspace, columns.subject == subject)
            .order_by(*(column.desc() for column in position))
            .limit(limit)
        )
        if after is not None:
            given = _NO_SEQUENCE if after.sequence is None else after.sequence
            query = query.where(
                tuple_(*position) < tuple_(literal(after.occurred_at), literal(given), literal(after.message_id))
            )
        return [ActivityRow(*row) for row in self._rows(query)]

    def subject(self, workspace: str, subject: str) -> Subject | None:
        """The stored states of a subject, or None."""
        with self._database.reading() as transaction:
            return self._subject(transaction, workspace, subject)

    def _subject(self, transaction: Transaction, workspace: str, subject: str) -> Subject | None:
        columns = self._subjects.c
        query = select(self._subjects).where(columns.workspace == workspace, columns.subject == subject)
        row = transaction.connection.execute(query).one_or_none()
        return None if row is None else subject_of_row(SubjectRow(*row), self.engine.definitions_of(subject))

    def next_changes(self, workspace: str, subject: str) -> dict[str, Outlook]:
        """Per lifecycle, what silence alone brings next."""
        stored = self.subject(workspace, subject)
        found: dict[str, Outlook] = {}
        for definition, state in zip(stored.definitions, stored.states, strict=True) if stored is not None else ():
            outlook = None if state is None else next_change(definition, state)
            if outlook is not None:
                found[definition.name] = outlook
        return found

    def explanations(self, workspace: str, subject: str, now: int) -> list[Explained]:
        """Why a subject is where it is, and what leads on, per lifecycle that applies to it; `now` in ms."""
        with self._database.reading() as transaction:
            stored = self._subject(transaction, workspace, subject)
            if stored is None:
                return []
            explanations = [
                explained(definition, state, now)
                for definition, state in zip(stored.definitions, stored.states, strict=True)
                if state is not None and state.tracks
            ]
            evidence = self._events(transaction, stored, _named(explanations))
            entries = self._entries(transaction, stored)
        return [Explained(each, entries, evidence) for each in explanations]

    def _events(self, transaction: Transaction, subject: Subject, ids: set[str]) -> dict[str, ActivityRow]:
        columns = self._activity.c
        query = select(self._activity).where(
            columns.workspace == subject.workspace,
            columns.subject == subject.subject,
            columns.message_id.in_(sorted(ids)),
        )
        return {row.message_id: ActivityRow(*row) for row in transaction.connection.execute(query)}

    def _entries(self, transaction: Transaction, subject: Subject) -> dict[tuple[str, str], TransitionRow]:
        columns = self._transitions.c
        query = select(self._transitions).where(
            columns.workspace == subject.workspace,
            columns.subject == subject.subject,
            columns.superseded_at.is_(None),
        )
        rows = self._in_order(TransitionRow(*row) for row in transaction.connection.execute(query))
        return {(row.lifecycle, row.track): row for row in rows}


def _listed(subject: ColumnElement[str], text: str, after: str | None) -> list[ColumnElement[bool]]:
    filters = [] if after is None else [subject > after]
    if text:
        for special in (_ESCAPE, "%", "_"):
            text = text.replace(special, _ESCAPE + special)
        filters.append(subject.ilike(f"%{text}%", escape=_ESCAPE))
    return filters


def _named(explanations: Iterable[Explanation]) -> set[str]:
    return {
        message_id
        for explanation in explanations
        for track in explanation.tracks
        for ids in (
            track.entered_by.evidence,
            *(check.evidence for way in track.transitions for check in way.checklist),
        )
        for message_id in ids
    }
