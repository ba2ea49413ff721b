"""Whether the brokers let this client in: asked once at the start, because the client itself never says why not.

A refusal that would not mend itself is told with its reason. A broker that is only away is no refusal.
"""

import asyncio
import ssl
from collections.abc import Iterable, Iterator
from typing import Any, Final

from aiokafka.conn import AIOKafkaConnection, collect_hosts
from aiokafka.errors import IllegalSaslStateError, KafkaError, SaslAuthenticationFailed, UnsupportedSaslMechanismError
from aiokafka.protocol.admin import SaslHandShakeRequest
from aiokafka.protocol.metadata import MetadataRequest

from services.eventlog.kafka_client import Cluster
from services.eventlog.kafka_security import PLAINTEXT, Security
from services.eventlog.port import LogRefused

__all__ = ["seek_admission"]

_Address = tuple[str, int]
_FAILURES: Final = (KafkaError, OSError, TimeoutError, ValueError)
_TRY_MS: Final = 4_000
_FAREWELL_SECONDS: Final = 1.0
_NAMES: Final = {62, 63, 64}  # OpenSSL's codes of a name, an address of mail, and an IP address that do not match
_DATES: Final = {9, 10}
_ALERTS: Final = (
    *("CERTIFICATE_REQUIRED", "BAD_CERTIFICATE", "CERTIFICATE_UNKNOWN", "CERTIFICATE_EXPIRED"),
    *("UNKNOWN_CA", "HANDSHAKE_FAILURE", "UNSUPPORTED_CERTIFICATE", "ACCESS_DENIED"),
)


async def seek_admission(cluster: Cluster) -> None:
    """Return when a broker lets us in, or none can be reached. Raises `LogRefused`."""
    bootstrap = [(host, port) for host, port, _family in collect_hosts(cluster.bootstrap_servers)]
    admitted, refusals = await _try_all(bootstrap, cluster.security)
    if admitted is None:
        for refusal in refusals:
            raise refusal
        return
    # Clients talk to the brokers under the names that these give themselves.
    others = [address for address in admitted if address not in bootstrap]
    for refusal in (await _try_all(others, cluster.security))[1]:
        raise refusal


async def _try_all(addresses: Iterable[_Address], security: Security) -> tuple[list[_Address] | None, list[LogRefused]]:
    """What the first broker that lets us in calls the brokers, or None; and why others did not let us in."""
    tries = {asyncio.create_task(_try(address, security)) for address in addresses}
    refusals: list[LogRefused] = []
    try:
        for next_one in asyncio.as_completed(tries):
            try:
                found = await next_one
            except LogRefused as refusal:
                refusals.append(refusal)
            else:
                if found is not None:
                    return found, refusals
    finally:
        for attempt in tries:
            attempt.cancel()
        await asyncio.gather(*tries, return_exceptions=True)
    return None, refusals


async def _try(address: _Address, security: Security) -> list[_Address] | None:
    """What this broker calls the brokers, or None when it cannot be reached. Raises `LogRefused`."""
    options = security.options()
    connection = _connection(address, options)
    try:
        await connection.connect()
        answer = await connection.send(MetadataRequest([]))
    except _FAILURES as error:
        if (reason := _told(error, security) or await _found_out(address, security)) is not None:
            raise LogRefused(f"Apache Kafka at {address[0]}:{address[1]} {reason}") from error
        return None
    finally:
        await _end(connection)
    return [(host, port) for _node, host, port, *_rack in answer.brokers]


def _connection(address: _Address, options: dict[str, Any]) -> AIOKafkaConnection:
    return AIOKafkaConnection(*address, request_timeout_ms=_TRY_MS, **options)


async def _end(connection: AIOKafkaConnection) -> None:
    """Close, and wait a moment for the other side's farewell, which TLS has."""
    closed = connection.close()
    if connection._protocol is not None:  # else it was never open, and nothing will ever end
        await asyncio.wait({closed}, timeout=_FAREWELL_SECONDS)


def _told(error: BaseException, security: Security) -> str | None:
    """The reason that an error of the connection gives, if it gives any."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _of_certificate(cause)
        if isinstance(cause, ssl.SSLError) and any(alert in (cause.reason or "") for alert in _ALERTS):
            return (
                "wants a certificate of this client, or another one than it got."
                " Set KAFKA_SSL_CERTFILE and KAFKA_SSL_KEYFILE to one that it knows."
            )
        if isinstance(cause, SaslAuthenticationFailed):
            return "refused the user name or the password. Correct KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD."
        if isinstance(cause, UnsupportedSaslMechanismError):
            return f"does not offer {security.mechanism}. Set KAFKA_SASL_MECHANISM to one that it offers."
        if isinstance(cause, IllegalSaslStateError):
            other = "SSL" if security.encrypted else "PLAINTEXT"
            return f"asks nobody for a password here. Set KAFKA_SECURITY_PROTOCOL={other}, or use its other port."
    return None


def _of_certificate(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in _NAMES:
        return (
            "has a certificate for another name. Use the name that is in it, in KAFKA_BOOTSTRAP_SERVERS and in the"
            " brokers' advertised.listeners."
        )
    if error.verify_code in _DATES:
        return "has a certificate that is not valid today. Renew it, or set this machine's clock."
    return "has a certificate of an unknown authority. Set KAFKA_SSL_CAFILE to the certificate of its authority."


async def _found_out(address: _Address, security: Security) -> str | None:
    """The reason, found by talking otherwise, when the broker only hung up; None when that does not tell either."""
    if security.encrypted:
        if await _answers(_connection(address, PLAINTEXT.options())):
            return (
                "does not speak TLS here."
                " Set KAFKA_SECURITY_PROTOCOL=PLAINTEXT or SASL_PLAINTEXT, or use its port for TLS."
            )
    elif await _speaks_tls(address):
        return "speaks TLS here. Set KAFKA_SECURITY_PROTOCOL=SASL_SSL or SSL."
    if not security.named and await _asks_for_a_name(_connection(address, security.options())):
        other = "SASL_SSL" if security.encrypted else "SASL_PLAINTEXT"
        return f"wants to know who asks. Set KAFKA_SECURITY_PROTOCOL={other} and KAFKA_SASL_USERNAME."
    return None


async def _answers(connection: AIOKafkaConnection) -> bool:
    """Whether the other side understands the first request that is sent there."""
    try:
        await connection.connect()
    except _FAILURES:
        return False
    finally:
        await _end(connection)
    return True


async def _speaks_tls(address: _Address) -> bool:
    unchecked = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unchecked.check_hostname = False
    unchecked.verify_mode = ssl.CERT_NONE  # nothing is sent: the certificate does not matter
    try:
        async with asyncio.timeout(_TRY_MS / 1_000):
            _reader, writer = await asyncio.open_connection(*address, ssl=unchecked)
    except (OSError, TimeoutError):
        return False
    writer.transport.abort()
    return True


async def _asks_for_a_name(connection: AIOKafkaConnection) -> bool:
    """Whether this is a listener with SASL; the others call the question out of place."""
    try:
        await connection.connect()
        answer = await connection.send(SaslHandShakeRequest("PLAIN"))
    except _FAILURES:
        return False
    finally:
        await _end(connection)
    return bool(answer.error_code != IllegalSaslStateError.errno)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
