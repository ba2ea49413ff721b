"""The log on brokers that let in only who shows a password over TLS: what others promise, and who is refused."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiokafka.errors import TopicAuthorizationFailedError

from localservers import Certificates
from services.eventlog.kafka import KafkaEventLog
from services.eventlog.kafka_client import Cluster, error_of
from services.eventlog.kafka_security import PLAINTEXT, Security
from services.eventlog.port import LogRefused, LogUnavailable
from services.runtime.clock import ManualClock
from tests.conformance.eventlog import test_appending, test_groups, test_publishing, test_reading
from tests.conformance.eventlog.support import NOW, Store
from tests.support.secured import SecuredKafka, certificates, secured_kafka
from tests.support.servers import KafkaAddress

__all__ = ["certificates", "secured_kafka"]


@pytest.fixture
async def store(secured_kafka: SecuredKafka) -> AsyncIterator[Store]:
    """A store on the secured brokers, for the tests of every log."""
    prefix, clock = f"t{uuid.uuid4().hex[:12]}-", ManualClock(NOW)
    address, security = secured_kafka.address, secured_kafka.security
    store = Store("kafka", lambda: KafkaEventLog(address, clock.now, prefix, security), clock, address, prefix)
    yield store
    await store.close()


test_order = test_appending.test_records_of_one_key_keep_their_order
test_bytes = test_appending.test_bytes_headers_and_timestamp_come_back_unchanged
test_one_bad_record = test_appending.test_one_bad_record_does_not_fail_its_batch
test_publishing_again = test_publishing.test_a_publisher_that_opens_again_goes_on_after_what_is_on_the_log
test_zombie = test_publishing.test_a_zombie_is_fenced_and_publishes_nothing_more
test_two_groups = test_reading.test_two_groups_both_see_everything
test_sharing = test_groups.test_three_members_share_four_partitions_of_three_topics_without_overlap
test_own_positions = test_reading.test_an_engine_goes_on_from_its_own_positions


async def refusal(address: str, security: Security) -> str:
    """What starting a log says; it must refuse within the deadline of a start."""
    log = KafkaEventLog(address, ManualClock(NOW).now, "refused-", security)
    try:
        with pytest.raises(LogRefused) as refused:
            async with asyncio.timeout(10):
                await log.start()
    finally:
        await log.close()
    assert refused.value.code == "log_refused"
    return str(refused.value)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"password": "WrongPassword7"}, "refused the user name or the password"),
        ({"username": "somebody"}, "refused the user name or the password"),
        ({"mechanism": "SCRAM-SHA-256"}, "does not offer SCRAM-SHA-256. Set KAFKA_SASL_MECHANISM"),
        ({"cafile": None}, "has a certificate of an unknown authority. Set KAFKA_SSL_CAFILE"),
        ({"protocol": "SSL"}, "wants to know who asks. Set KAFKA_SECURITY_PROTOCOL=SASL_SSL"),
        ({"protocol": "SASL_PLAINTEXT"}, "speaks TLS here. Set KAFKA_SECURITY_PROTOCOL=SASL_SSL or SSL"),
        ({"protocol": "PLAINTEXT"}, "speaks TLS here. Set KAFKA_SECURITY_PROTOCOL=SASL_SSL or SSL"),
        ({"cafile": Path("no-such-file.pem")}, "KAFKA_SSL_CAFILE no-such-file.pem cannot be used (No such file"),
        ({"certfile": Path("no-such-file.pem")}, "KAFKA_SSL_CERTFILE no-such-file.pem and its key cannot be used"),
    ],
    ids=lambda value: "-".join(f"{name}" for name in value) if isinstance(value, dict) else "",
)
async def test_who_is_not_let_in_is_told_why_and_what_to_set(
    secured_kafka: SecuredKafka, change: dict[str, object], sentence: str
) -> None:
    said = await refusal(secured_kafka.address, replace(secured_kafka.security, **change))  # type: ignore[arg-type]  # each case gives a field its own type
    assert sentence in said
    assert "Password7" not in said


async def test_a_certificate_for_another_name_is_refused(secured_kafka: SecuredKafka) -> None:
    address = secured_kafka.address.replace("localhost", "127.0.0.1")
    said = await refusal(address, secured_kafka.security)
    assert "has a certificate for another name. Use the name that is in it" in said


async def test_a_certificate_of_another_authority_is_refused(secured_kafka: SecuredKafka, tmp_path: Path) -> None:
    other = Certificates.make(tmp_path, "localhost")
    said = await refusal(secured_kafka.address, replace(secured_kafka.security, cafile=other.authority))
    assert "has a certificate of an unknown authority" in said


async def test_a_client_is_let_in_by_its_certificate_and_not_without_or_with_another(
    secured_kafka: SecuredKafka, tmp_path: Path
) -> None:
    known = Security("SSL", cafile=secured_kafka.certificates.authority, certfile=secured_kafka.certificates.chain)
    log = KafkaEventLog(secured_kafka.other_address, ManualClock(NOW).now, "let-in-", known)
    await log.start()
    await log.close()
    other = Certificates.make(tmp_path, "localhost")
    for certfile in (None, other.chain):
        said = await refusal(secured_kafka.other_address, replace(known, certfile=certfile))
        assert "wants a certificate of this client" in said
        assert "KAFKA_SSL_CERTFILE" in said
    said = await refusal(secured_kafka.other_address, replace(secured_kafka.security, certfile=known.certfile))
    assert "asks nobody for a password here. Set KAFKA_SECURITY_PROTOCOL=SSL" in said


@pytest.mark.parametrize("protocol", ["SASL_SSL", "SSL", "SASL_PLAINTEXT"])
async def test_a_broker_without_locks_is_not_mistaken_for_one_with(
    kafka_server: KafkaAddress, secured_kafka: SecuredKafka, protocol: str
) -> None:
    said = await refusal(kafka_server.bootstrap_servers, replace(secured_kafka.security, protocol=protocol))
    assert ("asks nobody for a password" if protocol == "SASL_PLAINTEXT" else "does not speak TLS here") in said


async def test_a_broker_that_is_away_is_no_refusal(secured_kafka: SecuredKafka) -> None:
    for security in (PLAINTEXT, secured_kafka.security):
        log = KafkaEventLog("localhost:1", ManualClock(NOW).now, "away-", security)
        with pytest.raises(LogUnavailable, match="Check that it runs"):
            await log.start()
        await log.close()


def test_who_lacks_a_right_is_not_told_that_the_broker_is_away() -> None:
    error = error_of(TopicAuthorizationFailedError("parcours.events"), Cluster("broker:9093"))
    assert isinstance(error, LogUnavailable)
    assert str(error) == (
        "Apache Kafka at broker:9093 forbids this user what it asked for (TopicAuthorizationFailedError)."
        " Give it the rights on its topics, groups and transactional ids."
    )


def test_no_password_is_shown_by_what_holds_it() -> None:
    security = Security("SASL_SSL", username="somebody", password="SecretWord")
    assert "SecretWord" not in repr(security)
    assert "somebody" not in repr(security)
