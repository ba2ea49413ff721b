"""How clients of Apache Kafka show who they are, and how they check who answers."""

import ssl
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from services.eventlog.port import LogRefused

__all__ = ["PLAINTEXT", "Security"]


@dataclass(frozen=True, slots=True)
class Security:
    """The protocol of the brokers' listener, and what it needs.

    `protocol`: PLAINTEXT, SASL_PLAINTEXT, SSL or SASL_SSL. `mechanism`, `username` and `password` count for the two
    with SASL; the files (PEM) for the two with SSL. Without `cafile` the system's authorities count.
    """

    protocol: str = "PLAINTEXT"
    mechanism: str = "SCRAM-SHA-512"
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    cafile: Path | None = None
    certfile: Path | None = None
    keyfile: Path | None = None

    @property
    def encrypted(self) -> bool:
        """Whether the listener speaks TLS."""
        return self.protocol in ("SSL", "SASL_SSL")

    @property
    def named(self) -> bool:
        """Whether the listener asks for a name and a password."""
        return self.protocol in ("SASL_PLAINTEXT", "SASL_SSL")

    def options(self) -> dict[str, Any]:
        """Arguments of every client. Raises `LogRefused` when a file cannot be used."""
        options: dict[str, Any] = {"security_protocol": self.protocol}
        if self.encrypted:
            options["ssl_context"] = _context(self.cafile, self.certfile, self.keyfile)
        if self.named:
            options |= {
                "sasl_mechanism": self.mechanism,
                "sasl_plain_username": self.username,
                "sasl_plain_password": self.password,
            }
        return options


PLAINTEXT = Security()


@lru_cache(maxsize=8)
def _context(cafile: Path | None, certfile: Path | None, keyfile: Path | None) -> ssl.SSLContext:
    """One context for all clients of a process: it checks the certificate and the name in it."""
    try:
        context = ssl.create_default_context(cafile=cafile)
    except (OSError, ValueError) as error:
        raise LogRefused(
            f"KAFKA_SSL_CAFILE {cafile} cannot be used ({_reason(error)}). Name a file with PEM certificates."
        ) from error
    if certfile is not None:
        try:
            # An encrypted key would make OpenSSL ask the terminal.
            context.load_cert_chain(certfile, keyfile, password=lambda: "")
        except (OSError, ValueError) as error:
            raise LogRefused(
                f"KAFKA_SSL_CERTFILE {certfile} and its key cannot be used ({_reason(error)})."
                " Name PEM files of a certificate and of its unencrypted key."
            ) from error
    return context


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "no PEM").lower().replace("_", " ")
    return (error.strerror if isinstance(error, OSError) else None) or "no PEM"
