"""What a running or stopped system has stored, read beside it: journeys, activity, positions, decisions."""

import hashlib
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg

__all__ = ["Activity", "Journeys", "StoredState", "differing"]

Journeys = dict[str, str]
"""Per subject (``engine workspace subject``) the fingerprint of its standing transitions."""

Activity = Mapping[str, frozenset[str]]
"""Message ids by subject."""

Rows = list[tuple[Any, ...]]

_STANDING = (
    "SELECT workspace, subject, id, lifecycle, version, track, ordinal, from_stage, to_stage, transition, visit,"
    " effective_at, reason, cause FROM {prefix}transitions WHERE superseded_at IS NULL AND effective_at <= {cutoff}"
    " ORDER BY workspace, subject, lifecycle, track, effective_at, ordinal, id"
)
ENGINES = {"stage_engine": "stage_engine_", "segmenter": "segmenter_"}
"""Processors that run tracks, and the prefix of their tables."""


class StoredState:
    """Reads the tables of every service. Each call opens and closes its own connection."""

    def __init__(self, where: Path | str) -> None:
        """`where` is the data folder of the embedded shape, or the URL of the cluster's database."""
        self._where = where

    def rows(self, service: str, query: str) -> Rows:
        """The rows of one query; `service` (``stage_engine``) names whose tables it reads."""
        if isinstance(self._where, str):
            with psycopg.connect(self._where) as connection:
                return connection.execute(query.encode()).fetchall()
        path = self._where / f"{service}.db"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as lite:
            return lite.execute(query).fetchall()

    def journeys(self, cutoff: int) -> Journeys:
        """The standing journey of every subject up to the instant `cutoff` (ms), of both engines."""
        found: Journeys = {}
        for engine, prefix in ENGINES.items():
            for subject, rows in _by_subject(self.rows(engine, _STANDING.format(prefix=prefix, cutoff=cutoff))):
                found[f"{engine} {subject}"] = hashlib.sha256(repr(rows).encode()).hexdigest()
        return found

    def journey(self, engine: str, subject: str, cutoff: int) -> Rows:
        """The standing transitions of one subject, for messages."""
        query = f"SELECT * FROM ({_STANDING.format(prefix=ENGINES[engine], cutoff=cutoff)}) AS standing"
        return [row for row in self.rows(engine, query) if row[1] == subject]

    def activity(self, engine: str = "stage_engine", name: Callable[[str], bool] | None = None) -> Activity:
        """Message ids that an engine stored, by subject, of the events whose names fulfill a condition."""
        found: dict[str, set[str]] = {}
        query = f"SELECT subject, message_id, name FROM {ENGINES[engine]}activity"
        for subject, message_id, event in self.rows(engine, query):
            if name is not None and not name(event):
                continue
            found.setdefault(subject, set()).add(message_id)
        return {subject: frozenset(ids) for subject, ids in found.items()}

    def count(self, service: str, table: str, where: str = "true") -> int:
        """How many rows of a table fulfill a condition."""
        return int(self.rows(service, f"SELECT count(*) FROM {table} WHERE {where}")[0][0])


def _by_subject(rows: Rows) -> Iterator[tuple[str, Rows]]:
    start = 0
    for index in range(1, len(rows) + 1):
        if index == len(rows) or rows[index][:2] != rows[start][:2]:
            yield f"{rows[start][0]} {rows[start][1]}", [row[2:] for row in rows[start:index]]
            start = index


def differing(first: Journeys, second: Journeys) -> Sequence[str]:
    """The subjects whose journeys are not equal, or known to one side only; sorted."""
    return sorted(key for key in first.keys() | second.keys() if first.get(key) != second.get(key))
