"""Reads and writes an engine's tables inside the caller's transaction; every call serves a whole batch."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tracks.bulk import InsertMany, SelectMany, UpdateMany
from tracks.domain.rows import ActivityRow, EventKey, StageRow, SubjectKey, SubjectRow, TransitionRow
from tracks.ports import Transaction
from tracks.tables import TrackTables

__all__ = ["DUPLICATE_ID_CONFLICTS", "Inserted", "TrackStore"]

DUPLICATE_ID_CONFLICTS = "duplicate_id_conflicts"
"""The name of the count of events that came again under a stored id with another content."""

_EVENT = ("workspace", "subject", "message_id")


class Inserted(NamedTuple):
    """The keys of the given events that were stored before, and how many of these had another content."""

    duplicates: frozenset[EventKey]
    conflicts: int


class TrackStore:
    """The tables of one engine. Synchronous; never ends a transaction."""

    def __init__(self, tables: TrackTables) -> None:
        """Writes every statement once."""
        self.tables = tables
        keyed = ("workspace", "subject")
        self._insert_activity = InsertMany(tables.activity, "DO NOTHING")
        self._events = SelectMany(tables.activity, ActivityRow._fields, _EVENT)
        self._flag = UpdateMany(tables.activity, _EVENT, ("flags",))
        self._history = SelectMany(tables.activity, ActivityRow._fields, keyed)
        self._subjects = SelectMany(tables.subjects, SubjectRow._fields, keyed)
        moved = [name for name in SubjectRow._fields if name not in (*keyed, "partition")]
        assignments = ", ".join(f"{name} = excluded.{name}" for name in moved)
        self._save_subjects = InsertMany(tables.subjects, f"(workspace, subject) DO UPDATE SET {assignments}")
        self._move_wakes = UpdateMany(tables.subjects, keyed, ("wake_at",))
        self._append = InsertMany(tables.transitions)
        self._transitions = SelectMany(tables.transitions, TransitionRow._fields, keyed)
        self._supersede = UpdateMany(tables.transitions, (*keyed, "id", "revision"), ("superseded_at",))
        present = ("stage", "since", "visit", "reason")
        staged = ", ".join(f"{name} = excluded.{name}" for name in present)
        self._save_stages = InsertMany(tables.stages, f"(workspace, subject, lifecycle, track) DO UPDATE SET {staged}")

    def insert_activity(self, transaction: Transaction, rows: Sequence[ActivityRow]) -> Inserted:
        """Store events of which no two have one id; what is stored already stays, flagged if it is contradicted."""
        if not rows:
            return Inserted(frozenset(), 0)
        if transaction.dialect == "postgresql":
            written, returned = self._insert_activity.run_returning(transaction, rows, _EVENT)
            fresh = set(returned) if written < len(rows) else set()
        else:
            # The rows of one statement get the next rowids; RETURNING is silently empty under executemany.
            table = self.tables.activity.name
            last = transaction.driver.execute(f"SELECT coalesce(max(rowid), 0) FROM {table}").fetchone()[0]
            written = self._insert_activity.run(transaction, rows)
            fresh = set()
            if written < len(rows):
                statement = f"SELECT {', '.join(_EVENT)} FROM {table} WHERE rowid > ?"
                fresh = set(transaction.driver.execute(statement, (last,)).fetchall())
        if written == len(rows):
            return Inserted(frozenset(), 0)
        duplicates = {row[:3]: row for row in rows if row[:3] not in fresh}
        return Inserted(frozenset(duplicates), self._flag_conflicts(transaction, duplicates))

    def _flag_conflicts(self, transaction: Transaction, duplicates: Mapping[EventKey, ActivityRow]) -> int:
        """How many of the rows contradict the one that is stored under their id."""
        conflicts = 0
        flagged = []
        for stored in map(ActivityRow._make, self._events.run(transaction, list(duplicates))):
            again = duplicates[stored[:3]]
            contradicted = stored.contradicts(again)
            conflicts += contradicted
            marked = stored.in_conflict()
            if marked is not stored and (contradicted or again is again.in_conflict()):
                flagged.append((*stored[:3], marked.flags))
        self._flag.run(transaction, flagged)
        return conflicts

    def delete_activity(self, transaction: Transaction, keys: Sequence[EventKey]) -> list[EventKey]:
        """Take events out again; returns the keys of those that were stored."""
        mark = "%s" if transaction.dialect == "postgresql" else "?"
        statement = (
            f"DELETE FROM {self.tables.activity.name}"
            f" WHERE workspace = {mark} AND subject = {mark} AND message_id = {mark}"
        )
        return [key for key in keys if transaction.driver.execute(statement, key).rowcount > 0]

    def load_history(self, transaction: Transaction, keys: Sequence[SubjectKey]) -> dict[SubjectKey, list[ActivityRow]]:
        """All stored events of these subjects, each list in no particular order."""
        found: dict[SubjectKey, list[ActivityRow]] = {key: [] for key in keys}
        for row in self._history.run(transaction, keys):
            found[row[0], row[1]].append(ActivityRow._make(row))
        return found

    def load_subjects(self, transaction: Transaction, keys: Sequence[SubjectKey]) -> dict[SubjectKey, SubjectRow]:
        """The stored states of these subjects; unknown ones are left out."""
        return {(row[0], row[1]): SubjectRow._make(row) for row in self._subjects.run(transaction, keys)}

    def save_subjects(self, transaction: Transaction, rows: Sequence[SubjectRow]) -> None:
        """Insert or replace states."""
        self._save_subjects.run(transaction, rows)

    def move_wakes(self, transaction: Transaction, wakes: Mapping[SubjectKey, int | None]) -> None:
        """Set `wake_at` of subjects whose states did not change."""
        self._move_wakes.run(transaction, [(*key, wake_at) for key, wake_at in wakes.items()])

    def due_subjects(self, transaction: Transaction, partition: int, clock: int, limit: int) -> list[SubjectRow]:
        """At most `limit` subjects of the partition whose `wake_at` is not later than `clock`, the earliest first."""
        mark = "%s" if transaction.dialect == "postgresql" else "?"
        rows = transaction.driver.execute(
            f"SELECT {', '.join(SubjectRow._fields)} FROM {self.tables.subjects.name}"
            f" WHERE partition = {mark} AND wake_at <= {mark} ORDER BY wake_at LIMIT {mark}",
            (partition, clock, limit),
        ).fetchall()
        return [SubjectRow._make(row) for row in rows]

    def earliest_wake(self, transaction: Transaction, partition: int) -> int | None:
        """The earliest `wake_at` of the partition's subjects, or None."""
        mark = "%s" if transaction.dialect == "postgresql" else "?"
        statement = (
            f"SELECT min(wake_at) FROM {self.tables.subjects.name} WHERE partition = {mark} AND wake_at IS NOT NULL"
        )
        found: int | None = transaction.driver.execute(statement, (partition,)).fetchone()[0]
        return found

    def load_transitions(
        self, transaction: Transaction, keys: Sequence[SubjectKey]
    ) -> dict[SubjectKey, list[TransitionRow]]:
        """All transitions of these subjects, standing and superseded."""
        found: dict[SubjectKey, list[TransitionRow]] = {key: [] for key in keys}
        for row in self._transitions.run(transaction, keys):
            found[row[2], row[3]].append(TransitionRow._make(row))
        return found

    def append_transitions(self, transaction: Transaction, rows: Sequence[TransitionRow]) -> None:
        """Store new transitions."""
        self._append.run(transaction, rows)

    def supersede(self, transaction: Transaction, rows: Sequence[TransitionRow], at: int) -> None:
        """Mark transitions as taken back at `at` (ms)."""
        self._supersede.run(transaction, [(row.workspace, row.subject, row.id, row.revision, at) for row in rows])

    def save_stages(self, transaction: Transaction, rows: Sequence[StageRow]) -> None:
        """Insert or replace present stages; no two rows of one (subject, lifecycle, track)."""
        self._save_stages.run(transaction, rows)

    def add_count(self, transaction: Transaction, name: str, partition: int, amount: int) -> None:
        """Raise a count of the partition by `amount`."""
        mark = "%s" if transaction.dialect == "postgresql" else "?"
        table = self.tables.counts.name
        transaction.driver.execute(
            f"INSERT INTO {table} (name, partition, value) VALUES ({mark}, {mark}, {mark})"
            f" ON CONFLICT (name, partition) DO UPDATE SET value = {table}.value + excluded.value",
            (name, partition, amount),
        )
