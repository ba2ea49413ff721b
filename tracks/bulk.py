"""Statements over many rows at once: one hand-written form per dialect, values always bound."""

import json
from collections.abc import Iterable, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import BigInteger, Integer, LargeBinary, Table

from tracks.ports import Transaction

__all__ = ["InsertMany", "SelectMany", "UpdateMany"]


# Every statement that the driver runs gives the interpreter's lock away and takes it again.
_ROWS_AT_ONCE: Final = 32


def _postgresql_type(table: Table, column: str) -> str:
    kind = table.c[column].type
    if isinstance(kind, BigInteger):
        return "bigint"
    if isinstance(kind, Integer):
        return "int"
    return "bytea" if isinstance(kind, LargeBinary) else "text"


def _unnest(table: Table, columns: Sequence[str]) -> str:
    # Binary lists: text ones cost the client six times as much.
    return "unnest(" + ", ".join(f"%b::{_postgresql_type(table, column)}[]" for column in columns) + ")"


def _columns_of(rows: Sequence[Sequence[object]]) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)]


class InsertMany:
    """Inserts rows given as tuples in the order of the table's columns; the order of the rows does not matter.

    They are written in the order of the primary key, so that a page of its index is visited once. `on_conflict` is what
    follows ON CONFLICT, for example ``DO NOTHING``.
    """

    def __init__(self, table: Table, on_conflict: str | None = None) -> None:
        """Writes the statements once."""
        names = [column.name for column in table.columns]
        head = f"INSERT INTO {table.name} ({', '.join(names)})"
        tail = f" ON CONFLICT {on_conflict}" if on_conflict else ""
        row = f"({', '.join('?' * len(names))})"
        self._postgresql = f"{head} SELECT * FROM {_unnest(table, names)}{tail}"
        self._sqlite = f"{head} VALUES {row}{tail}"
        self._sqlite_many = f"{head} VALUES {', '.join([row] * _ROWS_AT_ONCE)}{tail}"
        self._primary_key = itemgetter(*(names.index(column.name) for column in table.primary_key))

    def run(self, transaction: Transaction, rows: Sequence[Sequence[object]]) -> int:
        """Insert; returns how many rows were written."""
        if not rows:
            return 0
        driver = transaction.driver
        rows = sorted(rows, key=self._primary_key)
        if transaction.dialect == "postgresql":
            written: int = driver.execute(self._postgresql, _columns_of(rows)).rowcount
            return written
        before: int = driver.total_changes
        whole = len(rows) - len(rows) % _ROWS_AT_ONCE
        many = range(0, whole, _ROWS_AT_ONCE)
        driver.executemany(self._sqlite_many, (list(chain(*rows[at : at + _ROWS_AT_ONCE])) for at in many))
        driver.executemany(self._sqlite, rows[whole:])
        after: int = driver.total_changes
        return after - before

    def run_returning(
        self, transaction: Transaction, rows: Sequence[Sequence[object]], columns: Sequence[str]
    ) -> tuple[int, Iterable[tuple[Any, ...]]]:
        """Insert on PostgreSQL; returns how many rows were written, and lazily those columns of each of them."""
        cursor = transaction.driver.cursor(binary=True)
        ordered = sorted(rows, key=self._primary_key)
        cursor.execute(f"{self._postgresql} RETURNING {', '.join(columns)}", _columns_of(ordered))
        return cursor.rowcount, cursor


class SelectMany:
    """Selects the rows whose `by` columns equal one of many keys."""

    def __init__(self, table: Table, columns: Sequence[str], by: Sequence[str]) -> None:
        """Writes both statements once; a key is a tuple in the order of `by`, or its only value."""
        wanted = ", ".join(f"t.{column}" for column in columns)
        keys = ", ".join(f"k{number}" for number in range(len(by)))
        matches = " AND ".join(f"t.{column} = wanted.k{number}" for number, column in enumerate(by))
        self._postgresql = (
            f"SELECT {wanted} FROM {_unnest(table, by)} AS wanted({keys}) JOIN {table.name} t ON {matches}"
        )
        parts = ", ".join(f"json_extract(value, '$[{number}]') AS k{number}" for number in range(len(by)))
        self._sqlite = (
            f"SELECT {wanted} FROM (SELECT {parts} FROM json_each(?)) AS wanted CROSS JOIN {table.name} t ON {matches}"
        )

    def run(self, transaction: Transaction, keys: Sequence[Sequence[object]]) -> list[tuple[Any, ...]]:
        """The rows of these keys, in no particular order."""
        if not keys:
            return []
        if transaction.dialect == "postgresql":
            # Not prepared: a plan that was made while the table was small reads all of it for ever.
            cursor = transaction.driver.cursor(binary=True)
            cursor.execute(self._postgresql, _columns_of(keys), prepare=False)
            found: list[tuple[Any, ...]] = cursor.fetchall()
        else:
            found = transaction.driver.execute(self._sqlite, (json.dumps(keys),)).fetchall()
        return found


class UpdateMany:
    """Sets columns of the rows whose `by` columns equal the first values of each tuple given."""

    def __init__(self, table: Table, by: Sequence[str], columns: Sequence[str]) -> None:
        """Writes both statements once."""
        names = [*by, *columns]
        given = ", ".join(f"v{number}" for number in range(len(names)))
        first = len(by)
        sets = ", ".join(f"{column} = given.v{first + number}" for number, column in enumerate(columns))
        matches = " AND ".join(f"t.{column} = given.v{number}" for number, column in enumerate(by))
        self._postgresql = (
            f"UPDATE {table.name} t SET {sets} FROM {_unnest(table, names)} AS given({given}) WHERE {matches}"
        )
        bound_sets = ", ".join(f"{column} = ?{first + number + 1}" for number, column in enumerate(columns))
        bound_matches = " AND ".join(f"{column} = ?{number + 1}" for number, column in enumerate(by))
        self._sqlite = f"UPDATE {table.name} SET {bound_sets} WHERE {bound_matches}"

    def run(self, transaction: Transaction, rows: Sequence[Sequence[object]]) -> None:
        """Update; each row holds the key values, then the new ones."""
        if not rows:
            return
        if transaction.dialect == "postgresql":
            transaction.driver.execute(self._postgresql, _columns_of(rows), prepare=False)
        else:
            transaction.driver.executemany(self._sqlite, rows)
