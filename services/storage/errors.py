"""Errors of the database, and which driver error means what."""

import sqlite3
from enum import Enum
from typing import Final

import psycopg
import sqlalchemy.exc

from services.errors import ServiceError

__all__ = ["Severity", "StorageBroken", "StorageError", "StorageMissing", "StorageNewer", "StorageUnavailable"]
__all__ += ["StorageRefused", "StorageUnreachable", "cause_of", "severity_of"]


class StorageError(ServiceError):
    """The database refused or failed. See the class of the error for the way out."""

    code = "storage_error"


class StorageUnavailable(StorageError):
    """The database is busy, full or out of reach for now. Nothing is known to be stored; try the same work again."""

    code = "storage_unavailable"


class StorageUnreachable(StorageError):
    """The database cannot be used. Check that it runs, and check DATABASE_URL."""

    code = "storage_unreachable"


class StorageRefused(StorageUnreachable):
    """The database does not let this user in, or is not the one that it should be. Correct DATABASE_URL."""

    code = "storage_refused"


class StorageBroken(StorageError):
    """The database is damaged or read-only. Restore it from a backup, or give this user the right to write to it."""

    code = "storage_broken"


class StorageMissing(StorageError):
    """Tables are missing. Create them with `parcours migrate`."""

    code = "storage_missing"


class StorageNewer(StorageError):
    """The stored data was written by a newer version of Parcours. Start that version, or use another data folder."""

    code = "storage_newer"


class Severity(Enum):
    """What an error says: later it may work, the database is unfit, tables are missing, or the work is at fault."""

    TRANSIENT = "transient"
    BROKEN = "broken"
    MISSING = "missing"
    DATA = "data"


_SQLITE: Final = {
    sqlite3.SQLITE_BUSY: Severity.TRANSIENT,
    sqlite3.SQLITE_LOCKED: Severity.TRANSIENT,
    sqlite3.SQLITE_NOMEM: Severity.TRANSIENT,
    sqlite3.SQLITE_INTERRUPT: Severity.TRANSIENT,
    sqlite3.SQLITE_IOERR: Severity.TRANSIENT,
    sqlite3.SQLITE_FULL: Severity.TRANSIENT,
    sqlite3.SQLITE_CANTOPEN: Severity.TRANSIENT,
    sqlite3.SQLITE_PROTOCOL: Severity.TRANSIENT,
    sqlite3.SQLITE_PERM: Severity.BROKEN,
    sqlite3.SQLITE_READONLY: Severity.BROKEN,
    sqlite3.SQLITE_CORRUPT: Severity.BROKEN,
    sqlite3.SQLITE_NOTADB: Severity.BROKEN,
    sqlite3.SQLITE_AUTH: Severity.BROKEN,
}
_SQLSTATES: Final = {
    "25006": Severity.TRANSIENT,  # the server became read-only: a failover is under way
    "40001": Severity.TRANSIENT,
    "40P01": Severity.TRANSIENT,
    "55P03": Severity.TRANSIENT,
    "25P03": Severity.TRANSIENT,
    "42P01": Severity.MISSING,
    "3F000": Severity.MISSING,
    "42501": Severity.BROKEN,
}
_SQLSTATE_CLASSES: Final = {
    "08": Severity.TRANSIENT,
    "53": Severity.TRANSIENT,
    "57": Severity.TRANSIENT,
    "58": Severity.TRANSIENT,
    "28": Severity.BROKEN,
    "3D": Severity.BROKEN,
    "XX": Severity.BROKEN,
}


def cause_of(error: BaseException) -> BaseException:
    """The driver's own error behind one of SQLAlchemy's."""
    if isinstance(error, sqlalchemy.exc.DBAPIError) and error.orig is not None:
        return error.orig
    return error


def _of_sqlite(error: sqlite3.Error) -> Severity:
    code = getattr(error, "sqlite_errorcode", None)
    if isinstance(code, int):
        return _SQLITE.get(code & 0xFF, Severity.MISSING if "no such table" in str(error) else Severity.DATA)
    return Severity.DATA


def _of_postgresql(error: psycopg.Error) -> Severity:
    state = error.sqlstate
    if state is None:
        lost = isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
        return Severity.TRANSIENT if lost else Severity.DATA
    return _SQLSTATES.get(state) or _SQLSTATE_CLASSES.get(state[:2], Severity.DATA)


def severity_of(error: BaseException) -> Severity | None:
    """What a driver's or SQLAlchemy's error says about trying again; None for errors that are not the database's."""
    if isinstance(error, sqlalchemy.exc.TimeoutError):
        return Severity.TRANSIENT
    if isinstance(error, sqlalchemy.exc.DBAPIError) and error.connection_invalidated:
        return Severity.TRANSIENT
    cause = cause_of(error)
    if isinstance(cause, sqlite3.Error):
        return _of_sqlite(cause)
    if isinstance(cause, psycopg.Error):
        return _of_postgresql(cause)
    return Severity.DATA if isinstance(error, sqlalchemy.exc.SQLAlchemyError) else None
