"""What tracks need from outside: an open transaction of the database."""

from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

from sqlalchemy import Connection

__all__ = ["Reading", "Transaction"]


class Transaction(Protocol):
    """An open transaction. `driver` is the driver's own connection, for the hand-written statements."""

    @property
    def connection(self) -> Connection:
        """The transaction for queries built with SQLAlchemy Core."""

    @property
    def dialect(self) -> Literal["sqlite", "postgresql"]:
        """Which database it is."""

    @property
    def driver(self) -> Any:
        """The `sqlite3.Connection` or `psycopg.Connection` under `connection`, in the same transaction."""


class Reading(Protocol):
    """A database that can be read."""

    def reading(self) -> AbstractContextManager[Transaction]:
        """A read-only transaction on one snapshot."""
