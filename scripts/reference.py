"""Write docs/reference/ from the code: `make docs`. With --check a stale page is named, exit code 1."""

import ast
import dataclasses
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from schemas.catalog import CatalogEntry
from schemas.problems import PROBLEMS
from schemas.times import DAY, HOUR, MINUTE, SECOND
from schemas.topics import RECORD_OVERHEAD, TOPICS, TopicSpec
from services.event_catalog import load_catalog
from services.kafka_settings import KAFKA_SETTINGS
from services.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "reference"
PACKAGES = ("schemas", "behavior", "tracks", "ingest", "stage_engine", "segmenter", "notifier", "services")
GENERATED = "<!-- Written by `make docs` from the code. Edit the code instead. -->"
UNPREFIXED = {"database_url", "kafka_bootstrap_servers", *KAFKA_SETTINGS}
DURATIONS = {"settle", "settle_history", "effects_within", "events_retention"}
MEANINGS = {
    "host": "The address to listen on.",
    "port": "The port to listen on.",
    "data_dir": "Where the embedded log, the states, the keys and the lock are kept.",
    "definitions_dir": "Where the lifecycles, segments, campaigns and the event catalog are read from.",
    "write_key": "What applications send events with. Without it the first start makes one.",
    "api_token": "What reads and administers. Without it the first start makes one.",
    "partitions": "How many shares the customers are divided into. Fixed at the first start.",
    "workers": "How many workers of each engine one process runs.",
    "smtp_url": "The mail server, as `smtp://user:password@host:port`. Without it mail stays in the local outbox.",
    "mail_from": "Who mail is from.",
    "log_level": "What is logged: `DEBUG`, `INFO`, `WARNING` or `ERROR`.",
    "log_format": "How a line of the log is written: `text` for people, `json` for programs.",
    "settle": "How long silence waits for events that are still on their way.",
    "settle_history": "The same for a customer whose old history is being sent.",
    "effects_within": "How old a transition may be for messages to be sent because of it.",
    "events_retention": "How long the topics of events and rejected items keep records.",
    "database_url": "PostgreSQL, as `postgresql://user:password@host:port/name`. Given together with the next one.",
    "kafka_bootstrap_servers": "Apache Kafka, as `host:port,host:port`. Neither given: the embedded shape.",
    "kafka_security_protocol": "What the brokers' listener speaks: `PLAINTEXT`, `SASL_PLAINTEXT`, `SSL` or `SASL_SSL`.",
    "kafka_sasl_mechanism": "How the password is shown: `SCRAM-SHA-512`, `SCRAM-SHA-256` or `PLAIN`.",
    "kafka_sasl_username": "The user on Apache Kafka. Needed with `SASL_...`.",
    "kafka_sasl_password": "Its password. Needed with `SASL_...`.",
    "kafka_ssl_cafile": "Certificates (PEM) of the authorities that may vouch for brokers. Default: the system's.",
    "kafka_ssl_certfile": "The certificate (PEM) of this client, where brokers ask for one.",
    "kafka_ssl_keyfile": "Its unencrypted key (PEM), unless it is in the same file.",
    "topic_prefix": "Put before every name on Apache Kafka, so that several installations can share one.",
    "key_events_per_second": "How many events a second one write key may send on average; a source may have its own.",
    "key_burst": "How many it may send at once after a pause.",
    "address_events_per_second": "How many events a second may come from one address (of IPv6: from one network).",
    "address_burst": "How many may come from it at once after a pause.",
    "trusted_proxies": "Whose `X-Forwarded-...` headers count: addresses and networks with commas between them.",
    "max_body": "The largest body of a request in bytes, once decoded: 65536 to 16777216.",
    "max_event": "The largest event in bytes: 1024 to 921600.",
    "public_operations": "`false`: `/metrics`, `/docs` and `/openapi.json` need a token, `/readyz` tells no details.",
    "share_port": "`true`: several `parcours ingest` listen on one port, and the system deals out connections.",
}
SETTINGS_HEAD = """# Settings

Read once at the start: from the environment, then from a file `.env` in the folder it is started in, then the default.
With make the prefix may be left out: `make run PORT=9000`. A duration is a whole number and a unit: `ms`, `s`, `m`,
`h`, `d`, `w`.

"""
TOPICS_HEAD = f"""# Topics

Records are CloudEvents 1.0 in the binary mode of the Kafka binding: attributes in headers, the data as the value. All
topics have the same number of partitions. The size of a record is key, value, headers and {RECORD_OVERHEAD} bytes. The
topics for events and rejected items are kept for as long as [`PARCOURS_EVENTS_RETENTION`](settings.md) says.

"""
PROBLEMS_HEAD = """# Problem codes

Errors are RFC 9457 problems. The code of an error never changes its meaning; the sentence may be improved.

## Answers to a request

"""
ITEMS_HEAD = """

## Reasons for a single event

Such an event is kept on `parcours.rejected` under this code; the others of its batch are accepted.

"""
CATALOG_HEAD = """# The event catalog

The events that Parcours knows when it is installed, from `definitions/catalog/`. Names follow Segment's specifications
where these have one. Any event may carry further properties, and any other event is accepted too; how to add your own:
[plan your tracking](../how-to/plan-your-tracking.md). A running Parcours serves its catalog at `/v1/catalog`, with
schemas and examples.

In bold: required. *pii*: about a person. *sentiment*: what someone feels, not to be used for review requests.

"""
ERRORS_HEAD = """# Errors

The errors of the code, by their code: what commands end with and what stands in the log. The answers of the HTTP
interface are [problem codes](problems.md).

"""


def duration_text(milliseconds: int) -> str:
    """A duration as it is written in a setting, such as 30d."""
    for unit, name in ((DAY, "d"), (HOUR, "h"), (MINUTE, "m"), (SECOND, "s")):
        if milliseconds % unit == 0:
            return f"{milliseconds // unit}{name}"
    return f"{milliseconds}ms"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; a bar inside a cell is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def settings_page() -> str:
    """Every setting with its default and meaning. Raises KeyError for a setting that has no meaning yet."""

    def default_of(field: dataclasses.Field[object]) -> str:
        if field.default is None:
            return ""
        if field.name in DURATIONS and isinstance(field.default, int):
            return f"`{duration_text(field.default)}`"
        if isinstance(field.default, bool):
            return f"`{str(field.default).lower()}`"
        return f"`{field.default}`" if field.default != "" else ""

    rows = [
        (
            f"`{field.name.upper() if field.name in UNPREFIXED else 'PARCOURS_' + field.name.upper()}`",
            default_of(field),
            MEANINGS[field.name],
        )
        for field in dataclasses.fields(Settings)
    ]
    return SETTINGS_HEAD + table(("setting", "default", "meaning"), rows)


def topics_page() -> str:
    """Every topic with its key, limits and contents."""

    def keeps(topic: TopicSpec) -> str:
        kept = "for ever" if topic.retention is None else duration_text(topic.retention)
        return f"{kept}, {topic.cleanup.value}"

    rows = [
        (
            f"`{topic.name}`",
            topic.key,
            keeps(topic),
            f"{topic.max_record_bytes // 1024:,} KiB",
            topic.carries + "".join(f"<br>`{kind}`" for kind in topic.types),
        )
        for topic in TOPICS
    ]
    return TOPICS_HEAD + table(("topic", "key", "keeps", "largest record", "carries"), rows)


def problems_page() -> str:
    """Every code with which the HTTP interface refuses something."""
    kinds = sorted(PROBLEMS.values(), key=lambda kind: kind.code)
    answers = [(f"`{kind.code}`", str(kind.status), kind.sentence) for kind in kinds if kind.status]
    items = [(f"`{kind.code}`", kind.sentence) for kind in kinds if not kind.status]
    answered = table(("code", "status", "what it says"), answers)
    return PROBLEMS_HEAD + answered + ITEMS_HEAD + table(("code", "what it says"), items)


def product_errors() -> Iterator[tuple[str, str, str]]:
    """(code, name, sentence) of every exception class of the product that has a code of its own."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.ClassDef) or not node.bases:
                    continue
                for statement in node.body:
                    if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "code":
                        sentence = " ".join((ast.get_docstring(node) or "").split())
                        yield str(ast.literal_eval(statement.value)), node.name, sentence


def errors_page() -> str:
    """Every error that a program using the packages, or a reader of the log, can meet."""
    rows = sorted((f"`{code}`", f"`{name}`", sentence) for code, name, sentence in product_errors())
    return ERRORS_HEAD + table(("code", "error", "what it says"), rows)


def catalog_page() -> str:
    """Every event of the shipped catalog, by group."""

    def properties(entry: CatalogEntry) -> str:
        event = entry.event
        return ", ".join(
            (f"**`{name}`**" if name in event.required else f"`{name}`")
            + "".join(f" *{mark}*" for mark in ("pii", "sentiment") if getattr(each, mark))
            for name, each in event.properties.items()
        )

    groups: dict[str, list[CatalogEntry]] = {}
    for entry in load_catalog(ROOT / "definitions").entries.values():
        groups.setdefault(entry.group, []).append(entry)
    head = ("event", "phase", "means", "properties", "also called")
    sections = [
        f"## {group.capitalize()}\n\n"
        + table(
            head,
            [
                (
                    f"`{entry.name}`",
                    entry.event.phase,
                    entry.event.description["en"],
                    properties(entry),
                    ", ".join(f"`{alias}`" for alias in entry.event.aliases),
                )
                for entry in entries
            ],
        )
        for group, entries in groups.items()
    ]
    return CATALOG_HEAD + "\n\n".join(sections)


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings_page,
    "topics.md": topics_page,
    "problems.md": problems_page,
    "errors.md": errors_page,
    "catalog.md": catalog_page,
}


def render(name: str) -> str:
    """The whole text of one page."""
    title, _, rest = PAGES[name]().partition("\n")
    return f"{title}\n\n{GENERATED}\n{rest}\n"


def is_current(name: str) -> bool:
    """Whether the page on disk is what the code says now."""
    page = FOLDER / name
    return page.is_file() and page.read_text(encoding="utf-8") == render(name)


def main(arguments: list[str]) -> int:
    """Write or check all pages; returns the exit code."""
    stale = [name for name in PAGES if not is_current(name)]
    if "--check" in arguments:
        print("\n".join(f"docs/reference/{name} is stale: run make docs" for name in stale))
        return 1 if stale else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in stale:
        (FOLDER / name).write_text(render(name), encoding="utf-8")
        print(f"docs/reference/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
