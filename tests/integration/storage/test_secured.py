"""PostgreSQL with a password and TLS whose certificate is checked: it stores, or says why it does not let us in."""

from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, select

from localservers import Certificates
from services.storage.database import Database
from services.storage.errors import StorageRefused
from services.storage.reaching import unreachable
from tests.support.secured import PASSWORD, SecuredPostgres, certificates, secured_postgres

__all__ = ["certificates", "secured_postgres"]

metadata = MetaData()
notes = Table("notes", metadata, Column("id", Integer, primary_key=True), Column("text", Text))


def refusal(url: str) -> str:
    """What a database at that address says when it is asked first."""
    database = Database(url)
    try:
        with pytest.raises(StorageRefused) as refused:
            database.ping()
    finally:
        database.close()
    assert refused.value.code == "storage_refused"
    said = str(refused.value)
    assert PASSWORD not in said
    assert "sslrootcert=/tmp" not in said.partition("cannot be used")[0]
    return said


def test_rows_are_stored_and_read_over_a_connection_that_checked_the_server(secured_postgres: SecuredPostgres) -> None:
    database = Database(secured_postgres.url())
    database.ping()
    assert database.create(metadata) == ["notes"]
    with database.transaction() as transaction:
        transaction.connection.execute(notes.insert().values(id=1, text="stored"))
    with database.reading() as transaction:
        assert transaction.driver.pgconn.ssl_in_use
        assert transaction.driver.pgconn.used_password
        assert list(transaction.connection.execute(select(notes.c.text)).scalars()) == ["stored"]
    assert database.place == f"postgresql://postgres:***@localhost:{secured_postgres.port}/postgres"
    database.close()


def test_a_wrong_password_is_refused(secured_postgres: SecuredPostgres) -> None:
    assert "Correct the user name and the password in DATABASE_URL" in refusal(secured_postgres.url("Wrong7"))


def test_a_missing_password_is_refused(secured_postgres: SecuredPostgres) -> None:
    url = secured_postgres.url().replace(f":{PASSWORD}", "")
    assert "Put the password into DATABASE_URL" in refusal(url)


def test_a_certificate_of_another_authority_is_refused(secured_postgres: SecuredPostgres, tmp_path: Path) -> None:
    other = Certificates.make(tmp_path, "localhost").authority
    said = refusal(secured_postgres.url(authority=other))
    assert "certificate verify failed. Name the certificate of its authority in DATABASE_URL: ?sslrootcert=" in said


def test_a_certificate_for_another_name_is_refused(secured_postgres: SecuredPostgres) -> None:
    said = refusal(secured_postgres.url(host="127.0.0.1"))
    assert 'certificate for "localhost" does not match host name "127.0.0.1". Use the name that is in its' in said


def test_a_missing_file_of_authorities_is_named(secured_postgres: SecuredPostgres) -> None:
    said = refusal(secured_postgres.url(authority=Path("/no/such/file.pem")))
    assert '"/no/such/file.pem" does not exist. Name a PEM file in DATABASE_URL' in said


def test_a_server_that_wants_tls_says_so_to_who_does_not_use_it(secured_postgres: SecuredPostgres) -> None:
    assert "no encryption. Ask for TLS in DATABASE_URL: ?sslmode=verify-full" in refusal(
        secured_postgres.url(mode="disable")
    )


def test_a_server_without_tls_is_refused_by_who_wants_it(secured_postgres: SecuredPostgres) -> None:
    url = secured_postgres.url().replace(str(secured_postgres.port), str(secured_postgres.plain_port))
    assert "does not support SSL, but SSL was required. Turn on TLS at the server" in refusal(url)


@pytest.mark.parametrize("options", ["sslmode=very", "sslmod=verify-full"])
def test_an_option_that_does_not_exist_is_named(options: str) -> None:
    said = refusal(f"postgresql://postgres@127.0.0.1:9/postgres?{options}")
    assert "invalid" in said
    assert said.endswith("Correct DATABASE_URL.")


def test_of_several_addresses_the_one_that_answered_counts() -> None:
    said = (
        'connection to server at "::1", port 5432 failed: Connection refused\n'
        'connection to server at "127.0.0.1", port 5432 failed: FATAL:  password authentication failed for user "x"'
    )
    assert isinstance(unreachable("somewhere", said), StorageRefused)
    assert "127.0.0.1" in str(unreachable("somewhere", said))
