"""Settings: read once from the environment (prefix ``PARCOURS_``) or a `.env` file; its only reader."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from schemas.times import DAY, InvalidTime, parse_duration
from services.errors import InvalidSetting
from services.kafka_settings import kafka_settings
from services.web.addresses import parse_networks

__all__ = ["DEFAULT_PORT", "InvalidSetting", "Settings", "load_settings"]


DEFAULT_PORT = 8080


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set from outside. Durations are in milliseconds.

    `write_key`, `api_token`: None unless given; then the first start creates them. `database_url`,
    `kafka_bootstrap_servers`: None means the embedded shape. `smtp_url`: None means the local outbox only.
    `events_retention`: how long `parcours.events` keeps records. `workers`: group members per engine in one process.
    `kafka_sasl_...`, `kafka_ssl_...`: count for the protocols whose names they bear.
    `topic_prefix`: put before every name on Apache Kafka, so that several installations can share one.
    `..._events_per_second`, `..._burst`: what may come from one key and from one address. `trusted_proxies`: addresses
    and networks with commas between. `max_body`, `max_event`: bytes. `public_operations`: whether metrics and the API's
    description are for everybody. `share_port`: whether several processes may listen on the same port.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    data_dir: Path = Path("data")
    definitions_dir: Path = Path("definitions")
    write_key: str | None = field(default=None, repr=False)
    api_token: str | None = field(default=None, repr=False)
    partitions: int = 4
    workers: int = 1
    smtp_url: str | None = field(default=None, repr=False)
    mail_from: str = "Parcours <parcours@localhost>"
    log_level: str = "INFO"
    log_format: str = "text"
    settle: int = 5_000
    settle_history: int = 60_000
    effects_within: int = DAY
    events_retention: int = 30 * DAY
    database_url: str | None = field(default=None, repr=False)
    kafka_bootstrap_servers: str | None = None
    kafka_security_protocol: str = "PLAINTEXT"
    kafka_sasl_mechanism: str = "SCRAM-SHA-512"
    kafka_sasl_username: str | None = field(default=None, repr=False)
    kafka_sasl_password: str | None = field(default=None, repr=False)
    kafka_ssl_cafile: Path | None = None
    kafka_ssl_certfile: Path | None = None
    kafka_ssl_keyfile: Path | None = None
    topic_prefix: str = ""
    key_events_per_second: int = 20_000
    key_burst: int = 400_000
    address_events_per_second: int = 20_000
    address_burst: int = 400_000
    trusted_proxies: str = ""
    max_body: int = 4 * 1024 * 1024
    max_event: int = 256 * 1024
    public_operations: bool = True
    share_port: bool = False

    @property
    def cluster(self) -> bool:
        """Whether state is on PostgreSQL and the log on Kafka (both or neither)."""
        return self.database_url is not None

    @property
    def address(self) -> str:
        """Where the HTTP server listens, as a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


_DURATIONS = ("settle", "settle_history", "effects_within", "events_retention")
_NUMBERS = {
    "port": (0, 65_535),
    "partitions": (1, 1_024),
    "workers": (1, 64),
    **dict.fromkeys(
        ("key_events_per_second", "key_burst", "address_events_per_second", "address_burst"), (1, 1_000_000_000)
    ),
    "max_body": (64 * 1024, 16 * 1024 * 1024),
    "max_event": (1024, 900 * 1024),
}
_YES_OR_NO = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_PATHS = ("data_dir", "definitions_dir")
_TEXTS = ("host", "write_key", "api_token", "smtp_url", "mail_from")
_PREFIX = re.compile(r"[A-Za-z0-9._-]{1,40}")
_DATABASE = re.compile(r"postgres(?:ql)?(?:\+[a-z0-9]+)?://")
_BROKER = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?")
_KAFKA_PORT = 9_092
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_FORMATS = ("text", "json")


def _dot_env(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    found: dict[str, str] = {}
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        name, equals, value = text.removeprefix("export ").partition("=")
        if not equals:
            raise InvalidSetting(f"{path}, line {number}: expected NAME=value.")
        found[name.strip()] = value.strip().strip("\"'")
    return found


def _number(name: str, text: str) -> int:
    low, high = _NUMBERS[name]
    if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
        raise InvalidSetting(f"PARCOURS_{name.upper()} must be a whole number from {low} to {high}, not {text[:64]!r}.")
    return int(text)


def _duration(name: str, text: str) -> int:
    try:
        return parse_duration(text)
    except InvalidTime as error:
        raise InvalidSetting(f"PARCOURS_{name.upper()}: {error}") from error


def _level(_name: str, text: str) -> str:
    if text.upper() not in _LEVELS:
        raise InvalidSetting(f"PARCOURS_LOG_LEVEL must be one of {', '.join(_LEVELS)}.")
    return text.upper()


def _format(_name: str, text: str) -> str:
    if text.lower() not in _FORMATS:
        raise InvalidSetting(f"PARCOURS_LOG_FORMAT must be one of {', '.join(_FORMATS)}.")
    return text.lower()


def _proxies(_name: str, text: str) -> str:
    try:
        parse_networks(text)
    except ValueError as error:
        raise InvalidSetting(
            f"PARCOURS_TRUSTED_PROXIES must be addresses and networks like 127.0.0.1,10.0.0.0/8: {error}."
        ) from error
    return text


def _yes_or_no(name: str, text: str) -> bool:
    if text.lower() not in _YES_OR_NO:
        raise InvalidSetting(f"PARCOURS_{name.upper()} must be true or false, not {text[:64]!r}.")
    return _YES_OR_NO[text.lower()]


def _prefix(_name: str, text: str) -> str:
    if not _PREFIX.fullmatch(text):
        raise InvalidSetting("PARCOURS_TOPIC_PREFIX must be at most 40 letters, digits, dots, dashes or underscores.")
    return text


def _database_url(text: str) -> str:
    if not _DATABASE.match(text):
        raise InvalidSetting("DATABASE_URL must be an address like postgresql://user:password@host:5432/name.")
    return text


def _brokers(text: str) -> str:
    for address in text.split(","):
        found = _BROKER.fullmatch(address.strip())
        if found is None or not 0 < int(found["port"] or _KAFKA_PORT) <= 65_535:
            raise InvalidSetting(
                "KAFKA_BOOTSTRAP_SERVERS must be addresses like host1:9092,host2:9092,"
                f" not {address.strip()[:64]!r} among them."
            )
    return text


def _text(_name: str, text: str) -> str:
    return text


def _path(_name: str, text: str) -> Path:
    return Path(text)


_READERS: dict[str, Callable[[str, str], object]] = {
    **dict.fromkeys(_TEXTS, _text),
    **dict.fromkeys(_NUMBERS, _number),
    **dict.fromkeys(_DURATIONS, _duration),
    **dict.fromkeys(_PATHS, _path),
    "log_level": _level,
    "log_format": _format,
    "topic_prefix": _prefix,
    "trusted_proxies": _proxies,
    "public_operations": _yes_or_no,
    "share_port": _yes_or_no,
}


def load_settings(
    environment: Mapping[str, str] | None = None, dot_env: Path = Path(".env"), default_port: int = DEFAULT_PORT
) -> Settings:
    """Settings from `environment` (default: the process's) over the `.env` file over the defaults.

    `default_port` counts where no port is set (0: any free one). Raises `InvalidSetting` with a sentence that names
    the variable.
    """
    source = {**_dot_env(dot_env), **(os.environ if environment is None else environment)}
    values: dict[str, object] = {"port": default_port}

    def given(name: str) -> str | None:
        return source.get(f"PARCOURS_{name.upper()}") or None

    for name, read in _READERS.items():
        if (text := given(name)) is not None:
            values[name] = read(name, text)
    database_url, brokers = source.get("DATABASE_URL"), source.get("KAFKA_BOOTSTRAP_SERVERS")
    values["database_url"] = _database_url(database_url) if database_url else None
    values["kafka_bootstrap_servers"] = _brokers(brokers) if brokers else None
    values |= kafka_settings(source)
    if bool(database_url) != bool(brokers):
        raise InvalidSetting("DATABASE_URL and KAFKA_BOOTSTRAP_SERVERS belong together: set both, or neither.")
    return Settings(**values)  # type: ignore[arg-type]  # each name is a field, checked just above
