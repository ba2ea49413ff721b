"""`parcours` on Apache Kafka and PostgreSQL that want passwords over TLS: it starts, or says what to set and ends."""

import http.client
import json
from base64 import b64encode
from pathlib import Path

import pytest

from localservers import Certificates
from localservers.processes import LOOPBACK
from services.cli import main
from tests.integration.runtime.test_refusals import environment, refused
from tests.support.secured import PASSWORD, SecuredKafka, SecuredPostgres, certificates, secured_kafka, secured_postgres
from tests.support.services import CHECKOUT, Service

__all__ = ["certificates", "environment", "secured_kafka", "secured_postgres"]

_KEY = "wk_of_a_secured_run"


@pytest.fixture
def settings(secured_kafka: SecuredKafka, secured_postgres: SecuredPostgres) -> dict[str, str]:
    """What lets in."""
    return {"DATABASE_URL": secured_postgres.url(), "PARCOURS_WRITE_KEY": _KEY, **secured_kafka.settings}


@pytest.mark.timeout(120)
def test_a_system_runs_on_secured_servers_and_logs_no_password(
    settings: dict[str, str], environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    settings |= {
        "PARCOURS_DATA_DIR": str(tmp_path / "data"),
        "PARCOURS_DEFINITIONS_DIR": str(CHECKOUT / "definitions"),
        "PARCOURS_LOG_LEVEL": "DEBUG",
    }
    for name, value in settings.items():
        environment.setenv(name, value)
    assert main(["migrate"]) == 0
    migrated = capsys.readouterr()
    assert "created topic parcours.events" in migrated.out
    service = Service("parcours", ["run"], settings, tmp_path)
    try:
        service.start()
        service.wait_ready()
        connection = http.client.HTTPConnection(LOOPBACK, service.port, timeout=10)
        body = json.dumps({"userId": "u-1", "event": "Signed Up", "messageId": "m-1"}).encode()
        authorization = b64encode(f"{_KEY}:".encode()).decode()
        connection.request("POST", "/v1/track", body, {"Authorization": f"Basic {authorization}"})
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())) == (200, {"success": True})
        connection.close()
        service.drain()
    finally:
        service.discard()
    assert PASSWORD not in (tmp_path / "parcours.log").read_text() + migrated.err


@pytest.mark.parametrize("command", ["run", "ingest", "stage-engine", "migrate", "verify"])
def test_a_wrong_password_of_the_broker_ends_every_command_with_a_sentence(
    settings: dict[str, str], environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    for name, value in (settings | {"KAFKA_SASL_PASSWORD": "WrongPassword7"}).items():
        environment.setenv(name, value)
    said = refused(capsys, command)
    assert "refused the user name or the password. Correct KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD. [log_" in said
    assert "Password7" not in said


@pytest.mark.parametrize("command", ["run", "ingest", "stage-engine", "migrate", "verify"])
def test_a_wrong_password_of_the_database_ends_every_command_with_a_sentence(
    settings: dict[str, str],
    environment: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    secured_postgres: SecuredPostgres,
    command: str,
) -> None:
    for name, value in (settings | {"DATABASE_URL": secured_postgres.url("WrongPassword7")}).items():
        environment.setenv(name, value)
    said = refused(capsys, command)
    assert said.endswith("Correct the user name and the password in DATABASE_URL. [storage_refused]")
    assert "Password7" not in said


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("KAFKA_SECURITY_PROTOCOL", "TLS", "must be one of PLAINTEXT, SASL_PLAINTEXT, SSL, SASL_SSL, not 'TLS'"),
        ("KAFKA_SECURITY_PROTOCOL", "SSL", "KAFKA_SASL_MECHANISM is set and not used"),
        ("KAFKA_SASL_MECHANISM", "GSSAPI", "must be one of SCRAM-SHA-256, SCRAM-SHA-512, PLAIN, not 'GSSAPI'"),
        ("KAFKA_SASL_PASSWORD", "", "KAFKA_SECURITY_PROTOCOL=SASL_SSL needs KAFKA_SASL_PASSWORD too"),
        ("KAFKA_SSL_KEYFILE", "key.pem", "KAFKA_SSL_KEYFILE is the key of KAFKA_SSL_CERTFILE: set both"),
        ("KAFKA_SSL_CAFILE", "nowhere.pem", "KAFKA_SSL_CAFILE nowhere.pem cannot be used (No such file or directory)"),
    ],
)
def test_settings_that_do_not_fit_each_other_are_refused(
    settings: dict[str, str],
    environment: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: str,
    sentence: str,
) -> None:
    for each, text in (settings | {name: value}).items():
        environment.setenv(each, text)
    assert sentence in refused(capsys, "run")


def test_a_certificate_of_an_unknown_authority_ends_the_start(
    settings: dict[str, str], environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    other = Certificates.make(tmp_path / "other", "localhost")
    for name, value in (settings | {"KAFKA_SSL_CAFILE": str(other.authority)}).items():
        environment.setenv(name, value)
    assert refused(capsys, "run").endswith("to the certificate of its authority. [log_refused]")
