"""The settings of secured brokers: which go together, and sentences for those that do not."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from services.errors import InvalidSetting

__all__ = ["KAFKA_SETTINGS", "kafka_settings"]

_PROTOCOLS: Final = ("PLAINTEXT", "SASL_PLAINTEXT", "SSL", "SASL_SSL")
_MECHANISMS: Final = ("SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN")
_NAMES: Final = ("kafka_sasl_username", "kafka_sasl_password")
_FILES: Final = ("kafka_ssl_cafile", "kafka_ssl_certfile", "kafka_ssl_keyfile")
KAFKA_SETTINGS: Final = ("kafka_security_protocol", "kafka_sasl_mechanism", *_NAMES, *_FILES)


def kafka_settings(source: Mapping[str, str]) -> dict[str, object]:
    """The values of those that are set, by field of `Settings`. Raises `InvalidSetting`."""
    given = {name: text for name in KAFKA_SETTINGS if (text := source.get(name.upper()))}
    protocol = given.get("kafka_security_protocol", _PROTOCOLS[0])
    _one_of("kafka_security_protocol", protocol, _PROTOCOLS)
    named, encrypted = protocol.startswith("SASL_"), protocol.endswith("SSL")
    if "kafka_sasl_mechanism" in given:
        _one_of("kafka_sasl_mechanism", given["kafka_sasl_mechanism"], _MECHANISMS)
    for name in _NAMES:
        if named and name not in given:
            raise InvalidSetting(f"KAFKA_SECURITY_PROTOCOL={protocol} needs {name.upper()} too.")
    for name in given:
        # What is given and not used would be trusted in vain.
        if (name.startswith("kafka_sasl_") and not named) or (name in _FILES and not encrypted):
            other = "SASL_SSL" if name.startswith("kafka_sasl_") else "SSL or SASL_SSL"
            raise InvalidSetting(f"{name.upper()} is set and not used: set KAFKA_SECURITY_PROTOCOL={other}.")
    if "kafka_ssl_keyfile" in given and "kafka_ssl_certfile" not in given:
        raise InvalidSetting("KAFKA_SSL_KEYFILE is the key of KAFKA_SSL_CERTFILE: set both.")
    return {name: Path(text) if name in _FILES else text for name, text in given.items()}


def _one_of(name: str, text: str, allowed: tuple[str, ...]) -> None:
    if text not in allowed:
        raise InvalidSetting(f"{name.upper()} must be one of {', '.join(allowed)}, not {text[:64]!r}.")
