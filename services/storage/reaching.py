"""Why PostgreSQL cannot be reached, and the way out: read from what its client says, which gives no codes here."""

from typing import Final

from services.storage.errors import StorageRefused, StorageUnreachable

__all__ = ["unreachable"]

# What the client says while it connects, in its own words, and what helps.
_REFUSALS: Final = (
    ("password authentication failed", "Correct the user name and the password in DATABASE_URL"),
    ("no password supplied", "Put the password into DATABASE_URL: postgresql://user:password@host/name"),
    ("authentication failed", "Correct the user name in DATABASE_URL, or what the server asks of this user"),
    ("certificate verify failed", "Name the certificate of its authority in DATABASE_URL: ?sslrootcert=/path/ca.pem"),
    ("does not match host name", "Use the name that is in its certificate, in DATABASE_URL"),
    ("root certificate file", "Name a PEM file in DATABASE_URL: ?sslmode=verify-full&sslrootcert=/path/ca.pem"),
    ("certificate file", "Name PEM files of a certificate and its key in DATABASE_URL: sslcert and sslkey"),
    ("private key file", "Name PEM files of a certificate and its key in DATABASE_URL: sslcert and sslkey"),
    ("does not support SSL", "Turn on TLS at the server, or ask for less with sslmode in DATABASE_URL"),
    ("no encryption", "Ask for TLS in DATABASE_URL: ?sslmode=verify-full&sslrootcert=/path/ca.pem"),
    ("no pg_hba.conf entry", "Let this user and machine in at the server (pg_hba.conf)"),
    ("does not exist", "Create the database or the user, or correct DATABASE_URL"),
    ("invalid", "Correct DATABASE_URL"),
)
_RUNNING: Final = "Check that it runs, and check DATABASE_URL"


def unreachable(place: str, said: str) -> StorageUnreachable:
    """The error for what the client `said`: a refusal that no second attempt mends, or a server that is away."""
    for words, way_out in _REFUSALS:
        # Of several addresses each has its line; one that let us come as far as a refusal tells more than the others.
        for line in said.splitlines():
            if words in line:
                return StorageRefused(f"The database {place} cannot be used: {line.strip().rstrip('. ')}. {way_out}.")
    # The further lines ask what our way out answers.
    first = said.partition("\n")[0].rstrip(". ")
    return StorageUnreachable(f"The database {place} cannot be reached: {first}. {_RUNNING}.")
