"""The database: SQLite or PostgreSQL behind one object. The only home of database commits."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import psycopg
import sqlalchemy
from sqlalchemy import Column, Connection, Engine, Integer, MetaData, Table, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from services.errors import sentence_of
from services.storage.errors import (
    Severity,
    StorageBroken,
    StorageError,
    StorageMissing,
    StorageNewer,
    StorageUnavailable,
    StorageUnreachable,
    cause_of,
    severity_of,
)
from services.storage.reaching import unreachable

__all__ = ["SCHEMA_VERSION", "Database", "Transaction"]

SCHEMA_VERSION: Final = 1
"""Version of all stored tables. A data folder or database with a greater one is refused."""

_BUSY_SECONDS: Final = 10.0
_STATEMENT_MS: Final = 30_000
_LOCK_MS: Final = 10_000
_IDLE_MS: Final = 60_000
_CONNECT_SECONDS: Final = 5
_READERS: Final = 8
_MIGRATION_LOCK: Final = 0x70617263
_PAGE_BYTES: Final = 4096
_CACHE_KIBIBYTES: Final = 32_768
_JOURNAL_BYTES: Final = 256 * 1_048_576
# A batch changes pages all over the file; a checkpoint after every few of them would write most pages again and again.
_CHECKPOINT_PAGES: Final = 32_000

_versions = MetaData()
_schema_version = Table("schema_version", _versions, Column("version", Integer, nullable=False))

Dialect = Literal["sqlite", "postgresql"]


@dataclass(slots=True)
class Transaction:
    """An open transaction. `driver` is the driver's own connection (`sqlite3.Connection` or `psycopg.Connection`).

    Statements given to `driver` belong to the same transaction; never end it there.
    """

    connection: Connection
    dialect: Dialect
    driver: Any


def _sqlite_engine(path: Path, *, read_only: bool, max_bytes: int | None) -> Engine:
    engine = sqlalchemy.create_engine(
        URL.create("sqlite", database=str(path)),
        connect_args={"timeout": _BUSY_SECONDS, "isolation_level": None, "cached_statements": 256},
        pool_size=_READERS if read_only else 1,
        max_overflow=0,
        pool_timeout=_BUSY_SECONDS * 3,
    )

    @event.listens_for(engine, "connect")
    def _prepare(driver: Any, _record: object) -> None:
        driver.execute("PRAGMA journal_mode=WAL")
        driver.execute("PRAGMA synchronous=FULL")
        driver.execute("PRAGMA foreign_keys=OFF")
        driver.execute("PRAGMA temp_store=MEMORY")
        driver.execute(f"PRAGMA journal_size_limit={_JOURNAL_BYTES}")
        driver.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
        if not read_only:
            driver.execute(f"PRAGMA cache_size=-{_CACHE_KIBIBYTES}")
        if max_bytes is not None:
            driver.execute(f"PRAGMA max_page_count={max(1, max_bytes // _PAGE_BYTES)}")
        if read_only:
            driver.execute("PRAGMA query_only=ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


def _postgresql_engine(url: URL) -> Engine:
    engine = sqlalchemy.create_engine(
        url.set(drivername="postgresql+psycopg"),
        connect_args={
            "connect_timeout": _CONNECT_SECONDS,
            "fallback_application_name": "parcours",
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": _STATEMENT_MS,
        },
        pool_size=_READERS,
        max_overflow=_READERS,
        pool_timeout=_BUSY_SECONDS * 3,
        pool_pre_ping=True,
    )

    @event.listens_for(engine, "connect")
    def _prepare(driver: psycopg.Connection[Any], _record: object) -> None:
        driver.execute(
            f"SET statement_timeout = {_STATEMENT_MS}; SET lock_timeout = {_LOCK_MS};"
            f" SET idle_in_transaction_session_timeout = {_IDLE_MS};"
            " SET synchronous_commit = on; SET timezone = 'UTC'; SET client_min_messages = warning"
        )
        driver.commit()

    return engine


class Database:
    """One SQLite file or one PostgreSQL database; every use of it is a short transaction in the calling thread.

    `where` is the path of an SQLite file, or a URL ``postgresql://user:password@host:port/name``. SQLite runs with WAL,
    synchronous=FULL and one writer at a time; PostgreSQL with synchronous_commit=on and bounded statements and locks.
    `max_bytes` bounds an SQLite file (a full file is a `StorageUnavailable`). Safe to share between threads.
    """

    def __init__(self, where: str | Path, *, max_bytes: int | None = None) -> None:
        """Connects lazily. Raises `StorageUnreachable` when `where` is neither a path nor a PostgreSQL URL."""
        self.dialect: Dialect
        if isinstance(where, str) and "://" in where:
            self.dialect = "postgresql"
            try:
                self._url = make_url(where)
            except (ArgumentError, ValueError) as error:
                raise StorageUnreachable(
                    "DATABASE_URL is not a URL. Give postgresql://user:password@host/name."
                ) from error
            if self._url.drivername.partition("+")[0] not in ("postgresql", "postgres"):
                kind = self._url.drivername[:32]
                raise StorageUnreachable(f"DATABASE_URL must begin with postgresql://, not {kind}://.")
            self._writing = self._reading = _postgresql_engine(self._url)
        else:
            self.dialect = "sqlite"
            self._url = URL.create("sqlite", database=str(where))
            self._writing = _sqlite_engine(Path(where), read_only=False, max_bytes=max_bytes)
            self._reading = _sqlite_engine(Path(where), read_only=True, max_bytes=None)

    @property
    def place(self) -> str:
        """Where the data is, for people: a path, or a URL without its password and options."""
        if self.dialect == "sqlite":
            return str(self._url.database)
        return self._url.set(drivername="postgresql", query={}).render_as_string(hide_password=True)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """A read-write transaction: committed durably when the block ends, rolled back when it raises.

        Raises `StorageUnavailable` when the database is busy, full or lost (also when the outcome of the commit is
        unknown), `StorageBroken`, `StorageMissing`; every other error of the block passes through unchanged.
        """
        with self._run(self._writing, read_only=False) as transaction:
            yield transaction

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        """A read-only transaction on one snapshot. Raises as `transaction`."""
        with self._run(self._reading, read_only=True) as transaction:
            yield transaction

    @contextmanager
    def _run(self, engine: Engine, *, read_only: bool) -> Iterator[Transaction]:
        connection: Connection | None = None
        try:
            connection = engine.connect()
            if read_only and self.dialect == "postgresql":
                connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            connection.begin()
            yield Transaction(connection, self.dialect, connection.connection.driver_connection)
            connection.commit()
        except BaseException as error:
            translated = self._translated(error)
            if connection is not None and isinstance(translated, StorageError):
                # Statements given to the driver itself fail behind SQLAlchemy's back: never pool that connection again.
                with suppress(Exception):
                    connection.invalidate()
            if translated is error:
                raise
            raise translated from error
        finally:
            if connection is not None:
                with suppress(sqlalchemy.exc.SQLAlchemyError, psycopg.Error):
                    connection.close()

    def _translated(self, error: BaseException) -> BaseException:
        severity = severity_of(error)
        if severity is Severity.TRANSIENT:
            return StorageUnavailable(
                f"The database {self.place} is unavailable for now: {sentence_of(cause_of(error))}"
            )
        if severity is Severity.BROKEN:
            return StorageBroken(
                f"The database {self.place} cannot be used: {sentence_of(cause_of(error))}."
                " Check its address, its rights and its health."
            )
        if severity is Severity.MISSING:
            return StorageMissing(
                f"The database {self.place} lacks tables ({sentence_of(cause_of(error))})."
                " Create them with `parcours migrate`."
            )
        return error

    def ping(self) -> None:
        """Ask the database a trivial question.

        Raises `StorageUnreachable` with a way out when it does not answer, of it `StorageRefused` when it never will.
        """
        try:
            with self.reading() as transaction:
                transaction.connection.exec_driver_sql("SELECT 1")
        except (StorageError, sqlalchemy.exc.DBAPIError) as error:
            said = str(cause_of(error.__cause__ or error)).strip()
            if self.dialect == "postgresql":
                raise unreachable(self.place, said) from error
            cause = said.partition("\n")[0].rstrip(". ")
            raise StorageUnreachable(
                f"The database {self.place} cannot be reached: {cause}. Check the data folder."
            ) from error

    def create(self, metadata: MetaData) -> list[str]:
        """Create the tables of `metadata` that are missing; return their names, sorted.

        A column that may be empty is added to a table of an earlier version. Raises `StorageNewer`, or `StorageBroken`
        when an existing table lacks a column that no earlier version was without.
        """
        with self.transaction() as transaction:
            connection = transaction.connection
            if self.dialect == "postgresql":
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
            existing = set(sqlalchemy.inspect(connection).get_table_names())
            if _schema_version.name in existing:
                self._refuse_newer(connection)
            else:
                _versions.create_all(connection)
                connection.execute(_schema_version.insert().values(version=SCHEMA_VERSION))
            wanted = {table.name: table for table in metadata.sorted_tables}
            for name in sorted(wanted.keys() & existing):
                self._add_columns(connection, wanted[name])
            metadata.create_all(connection)
            return sorted(wanted.keys() - existing)

    def check(self, metadata: MetaData) -> None:
        """Check that every table and column of `metadata` exists. Raises `StorageMissing`, `StorageNewer`."""
        with self.reading() as transaction:
            inspector = sqlalchemy.inspect(transaction.connection)
            existing = set(inspector.get_table_names())
            missing = sorted({table.name for table in metadata.sorted_tables} - existing)
            if missing or _schema_version.name not in existing:
                names = ", ".join(missing) or _schema_version.name
                raise StorageMissing(
                    f"The database {self.place} lacks the tables {names}. Create them with `parcours migrate`."
                )
            self._refuse_newer(transaction.connection)
            for table in metadata.sorted_tables:
                if columns := _missing_columns(inspector, table):
                    names = ", ".join(sorted(column.name for column in columns))
                    raise StorageMissing(
                        f"The table {table.name} in {self.place} lacks the columns {names}."
                        " Create them with `parcours migrate`."
                    )

    def _refuse_newer(self, connection: Connection) -> None:
        found = connection.execute(sqlalchemy.select(sqlalchemy.func.max(_schema_version.c.version))).scalar_one()
        if found is not None and found > SCHEMA_VERSION:
            raise StorageNewer(
                f"{self.place} was written by a newer version of Parcours (its tables have version {found}, this"
                f" program knows {SCHEMA_VERSION}). Start the newer program, or choose another PARCOURS_DATA_DIR."
            )

    def _add_columns(self, connection: Connection, table: Table) -> None:
        missing = _missing_columns(sqlalchemy.inspect(connection), table)
        if names := ", ".join(sorted(column.name for column in missing if not column.nullable)):
            raise StorageBroken(
                f"The table {table.name} in {self.place} lacks the columns {names}."
                " It is not one of Parcours's own; rename it, or use another database."
            )
        quote = connection.dialect.identifier_preparer.quote
        for column in missing:
            kind = column.type.compile(connection.dialect)
            connection.exec_driver_sql(f"ALTER TABLE {quote(table.name)} ADD COLUMN {quote(column.name)} {kind}")

    def close(self) -> None:
        """Close every pooled connection. Idempotent; a later use opens new ones."""
        self._writing.dispose()
        self._reading.dispose()


def _missing_columns(inspector: sqlalchemy.Inspector, table: Table) -> list[sqlalchemy.Column[Any]]:
    found = {column["name"] for column in inspector.get_columns(table.name)}
    return [column for column in table.columns if column.name not in found]
