"""The database adapter: transactions, errors told apart, versions."""

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy.exc
from sqlalchemy import Column, Integer, MetaData, Table, Text, select

from services.storage.database import SCHEMA_VERSION, Database
from services.storage.errors import (
    StorageBroken,
    StorageMissing,
    StorageNewer,
    StorageUnavailable,
    StorageUnreachable,
)
from tests.support.databases import BOTH, made_database

metadata = MetaData()
notes = Table("notes", metadata, Column("id", Integer, primary_key=True), Column("text", Text))


@pytest.fixture(params=BOTH)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database of each kind with one table."""
    yield from made_database(request, tmp_path, metadata)


def texts(database: Database) -> list[str | None]:
    """What is stored."""
    with database.reading() as transaction:
        return list(transaction.connection.execute(select(notes.c.text).order_by(notes.c.id)).scalars())


def write(database: Database, number: int, text: str) -> None:
    """Store one row."""
    with database.transaction() as transaction:
        transaction.connection.execute(notes.insert().values(id=number, text=text))


def test_statements_of_the_driver_and_of_sqlalchemy_share_one_transaction(database: Database) -> None:
    with database.transaction() as transaction:
        transaction.driver.execute("INSERT INTO notes VALUES (1, 'driver')")
        transaction.connection.execute(notes.insert().values(id=2, text="sqlalchemy"))
    assert texts(database) == ["driver", "sqlalchemy"]


def test_an_error_in_the_block_undoes_everything_and_passes_through(database: Database) -> None:
    def fails() -> None:
        with database.transaction() as transaction:
            transaction.driver.execute("INSERT INTO notes VALUES (1, 'driver')")
            raise LookupError

    with pytest.raises(LookupError):
        fails()
    assert texts(database) == []


def test_an_error_in_the_data_is_not_the_databases_fault(database: Database) -> None:
    write(database, 1, "first")
    with pytest.raises(sqlalchemy.exc.IntegrityError):
        write(database, 1, "again")
    with (
        pytest.raises((sqlite3.IntegrityError, psycopg.errors.UniqueViolation)),
        database.transaction() as transaction,
    ):
        transaction.driver.execute("INSERT INTO notes VALUES (1, 'again')")
    assert texts(database) == ["first"]


def test_a_reading_transaction_refuses_to_write(database: Database) -> None:
    with pytest.raises((StorageUnavailable, StorageBroken)), database.reading() as transaction:
        transaction.driver.execute("INSERT INTO notes VALUES (1, 'x')")
    assert texts(database) == []


def test_a_reading_transaction_sees_one_snapshot(database: Database) -> None:
    write(database, 1, "first")
    with database.reading() as transaction:
        query = select(sqlalchemy.func.count()).select_from(notes)
        assert transaction.connection.execute(query).scalar_one() == 1
        write(database, 2, "second")
        assert transaction.connection.execute(query).scalar_one() == 1
    assert len(texts(database)) == 2


def test_writers_wait_for_each_other(database: Database) -> None:
    def add(number: int) -> None:
        for row in range(20):
            write(database, number * 100 + row, "x")

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(texts(database)) == 80


def test_tables_are_created_once_and_named(database: Database) -> None:
    more = MetaData()
    Table("b_more", more, Column("id", Integer))
    Table("a_more", more, Column("id", Integer))
    assert database.create(more) == ["a_more", "b_more"]
    assert database.create(more) == []
    database.check(more)


def test_missing_tables_are_named_with_the_way_out(database: Database) -> None:
    more = MetaData()
    table = Table("nowhere", more, Column("id", Integer))
    with pytest.raises(StorageMissing, match=r"lacks the tables nowhere\. Create them with `parcours migrate`"):
        database.check(more)
    with pytest.raises(StorageMissing, match="parcours migrate"), database.reading() as transaction:
        transaction.connection.execute(select(table))


def test_a_foreign_table_of_the_same_name_is_refused(database: Database) -> None:
    more = MetaData()
    Table("notes", more, Column("id", Integer), Column("other", Text, nullable=False))
    with pytest.raises(StorageBroken, match=r"notes .* lacks the columns other"):
        database.create(more)


def test_a_column_that_an_earlier_version_did_not_have_is_added_and_what_was_stored_stays(database: Database) -> None:
    earlier, later = MetaData(), MetaData()
    Table("grows", earlier, Column("id", Integer, primary_key=True))
    grown = Table("grows", later, Column("id", Integer, primary_key=True), Column("later", Text))
    database.create(earlier)
    with database.transaction() as transaction:
        transaction.connection.exec_driver_sql("INSERT INTO grows (id) VALUES (1)")
    with pytest.raises(StorageMissing, match=r"The table grows .* lacks the columns later\. .*parcours migrate"):
        database.check(later)
    assert database.create(later) == []
    database.check(later)
    with database.transaction() as transaction:
        transaction.connection.execute(grown.insert().values(id=2, later="text"))
    with database.reading() as transaction:
        assert transaction.connection.execute(select(grown).order_by(grown.c.id)).all() == [(1, None), (2, "text")]


def test_data_of_a_newer_version_is_refused(database: Database) -> None:
    with database.transaction() as transaction:
        transaction.driver.execute(f"UPDATE schema_version SET version = {SCHEMA_VERSION + 1}")
    for refused in (database.create, database.check):
        with pytest.raises(StorageNewer, match=r"written by a newer version of Parcours .* Start the newer program"):
            refused(metadata)


def test_closing_twice_and_using_it_again_is_allowed(database: Database) -> None:
    database.close()
    database.close()
    assert texts(database) == []


def test_a_full_sqlite_file_is_unavailable_and_serves_again_when_there_is_room(tmp_path: Path) -> None:
    database = Database(tmp_path / "small.db", max_bytes=200_000)
    database.create(metadata)

    def fill() -> None:
        for number in range(1_000):
            write(database, number, "x" * 2_000)

    with pytest.raises(StorageUnavailable, match="full"):
        fill()
    stored = len(texts(database))
    assert 0 < stored < 100
    with database.transaction() as transaction:
        transaction.driver.execute("DELETE FROM notes WHERE id < 20")
    write(database, 5_000, "again")
    assert len(texts(database)) == stored - 20 + 1
    database.close()


def test_a_file_that_is_no_database_is_broken(tmp_path: Path) -> None:
    (tmp_path / "other.db").write_bytes(b"this is not a database, but it is long enough to look like one" * 100)
    with pytest.raises(StorageUnreachable, match=r"other\.db cannot be reached.*not a database"):
        Database(tmp_path / "other.db").ping()


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("mysql://localhost/x", r"must begin with postgresql://, not mysql://"),
        ("postgresql://localhost:port/x", r"DATABASE_URL is not a URL"),
        (
            "postgresql://nobody:hidden@127.0.0.1:9/x",
            r"cannot be reached: .*\. Check that it runs, and check DATABASE_URL",
        ),
    ],
)
def test_a_database_that_cannot_be_had_is_said_without_its_password(url: str, sentence: str) -> None:
    with pytest.raises(StorageUnreachable, match=sentence) as caught:
        Database(url).ping()
    assert "hidden" not in str(caught.value)


@pytest.mark.postgres
def test_a_connection_lost_behind_its_back_is_unavailable_once_and_then_replaced(
    request: pytest.FixtureRequest,
) -> None:
    database = Database(request.getfixturevalue("fresh_database")())
    database.create(metadata)

    def cut_off() -> None:
        with database.transaction() as transaction:
            process = transaction.driver.info.backend_pid
            with database.transaction() as other:
                other.driver.execute("SELECT pg_terminate_backend(%s)", (process,))
            transaction.driver.execute("INSERT INTO notes VALUES (1, 'x')")

    with pytest.raises(StorageUnavailable):
        cut_off()
    write(database, 2, "after")
    assert texts(database) == ["after"]
    database.close()
