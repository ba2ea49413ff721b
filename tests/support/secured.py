"""Servers that let in only who shows a password over TLS: an Apache Kafka and a PostgreSQL of one test module."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from localservers import Certificates, KafkaServer, Locks, PostgresServer, TlsFront
from services.eventlog.kafka_security import Security
from tests.support.servers import own

__all__ = ["PASSWORD", "SecuredKafka", "SecuredPostgres", "certificates", "secured_kafka", "secured_postgres"]

PASSWORD = "RightPassword7"
_USER = "parcours"


@dataclass(frozen=True)
class SecuredKafka:
    """`address` speaks SASL_SSL, `other_address` SSL with certificates of clients; the name in its own is localhost."""

    address: str
    other_address: str
    certificates: Certificates

    @property
    def security(self) -> Security:
        """What it lets in."""
        return Security("SASL_SSL", "SCRAM-SHA-512", _USER, PASSWORD, self.certificates.authority)

    @property
    def settings(self) -> dict[str, str]:
        """The same as environment variables."""
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.address,
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
            "KAFKA_SASL_USERNAME": _USER,
            "KAFKA_SASL_PASSWORD": PASSWORD,
            "KAFKA_SSL_CAFILE": str(self.certificates.authority),
        }


@dataclass(frozen=True)
class SecuredPostgres:
    """`port` speaks TLS, `plain_port` is the server behind it; the name in the certificate is localhost."""

    port: int
    plain_port: int
    certificates: Certificates

    def url(
        self,
        password: str = PASSWORD,
        host: str = "localhost",
        authority: Path | None = None,
        mode: str = "verify-full",
    ) -> str:
        """A URL that it lets in, unless something else is given."""
        root = authority or self.certificates.authority
        return f"postgresql://postgres:{password}@{host}:{self.port}/postgres?sslmode={mode}&sslrootcert={root}"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """A certificate for localhost and the authority that signed it."""
    return Certificates.make(tmp_path_factory.mktemp("certificates"), "localhost")


@pytest.fixture(scope="module")
def secured_kafka(certificates: Certificates) -> Iterator[SecuredKafka]:
    """An Apache Kafka without any open listener."""
    with own(KafkaServer(for_tests=True, locks=Locks(certificates, _USER, PASSWORD))) as server:
        port = server.bootstrap_servers.rpartition(":")[2]
        yield SecuredKafka(f"localhost:{port}", f"localhost:{server.other_port}", certificates)


@pytest.fixture(scope="module")
def secured_postgres(certificates: Certificates) -> Iterator[SecuredPostgres]:
    """A PostgreSQL that wants a password, behind TLS."""
    with own(PostgresServer(synced=False, password=PASSWORD)) as server, TlsFront(certificates, server.port) as front:
        yield SecuredPostgres(front.port, server.port, certificates)
