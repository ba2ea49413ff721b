"""Where the objects of a running system meet: what each service is made of, on either shape."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import MetaData

from schemas.topics import topic_table
from services.eventlog.port import EventLog
from services.runtime.clock import Clock, SystemClock
from services.runtime.ids import Ids, RandomIds
from services.runtime.options import Runtime, WorkerOptions
from services.runtime.processor import Processor
from services.runtime.threads import Threads
from services.runtime.worker import Worker
from services.settings import Settings
from services.storage.database import Database

__all__ = ["ENGINES", "SERVICES", "Container", "Migrated", "Replacements", "check", "make_container", "migrate"]

ENGINES: Final = ("stage_engine", "segmenter", "notifier")
SERVICES: Final = ("ingest", *ENGINES)

_PUBLISH_SECONDS: Final = 0.1
_CLUSTER_THREADS: Final = 2
# Engines that share a process share its memory: what one of them alone reads ahead, three may not.
_SHARED_BATCH: Final = 1_000


@dataclass(frozen=True, slots=True)
class Replacements:
    """What a test puts in the place of the production parts; None keeps these."""

    clock: Clock | None = None
    ids: Ids | None = None
    log: EventLog | None = None
    options: WorkerOptions | None = None


@dataclass(frozen=True, slots=True)
class Container:
    """The parts that services share. `databases` by service: four files, or four times the same PostgreSQL."""

    settings: Settings
    clock: Clock
    ids: Ids
    log: EventLog
    databases: Mapping[str, Database]
    options: WorkerOptions

    def runtime(self, service: str) -> Runtime:
        """What a worker of an engine works with; its threads are its own."""
        options = self.options
        threads = (Threads(options.threads, f"{service}-batch"), Threads(options.threads, f"{service}-relay"))
        return Runtime(self.log, self.databases[service], self.clock, options, *threads)

    def workers(self, processor: Processor) -> list[Worker]:
        """The group members of a processor that one process runs. They share nothing but the processor's memory."""
        runtime = self.runtime(processor.name)
        return [Worker(runtime, processor) for _ in range(self.settings.workers)]

    def close(self) -> None:
        """Close the databases. The log is closed by whoever started it."""
        for database in set(self.databases.values()):
            database.close()


@dataclass(frozen=True, slots=True)
class Migrated:
    """What a migration created: names of topics and of tables."""

    topics: tuple[str, ...]
    tables: tuple[str, ...]


def make_container(
    settings: Settings, replacements: Replacements | None = None, services: Collection[str] = SERVICES
) -> Container:
    """The parts for these settings, in a process that runs `services`; nothing is opened yet."""
    given = replacements or Replacements()
    clock = given.clock or SystemClock()
    return Container(
        settings=settings,
        clock=clock,
        ids=given.ids or RandomIds(clock.now),
        log=given.log or _log(settings, clock),
        databases=_databases(settings),
        options=given.options or _options(settings, services),
    )


def _log(settings: Settings, clock: Clock) -> EventLog:
    if settings.kafka_bootstrap_servers is not None:
        from services.eventlog.kafka import KafkaEventLog
        from services.eventlog.kafka_security import Security

        security = Security(
            settings.kafka_security_protocol,
            settings.kafka_sasl_mechanism,
            settings.kafka_sasl_username,
            settings.kafka_sasl_password,
            settings.kafka_ssl_cafile,
            settings.kafka_ssl_certfile,
            settings.kafka_ssl_keyfile,
        )
        return KafkaEventLog(settings.kafka_bootstrap_servers, clock.now, settings.topic_prefix, security)
    from services.eventlog.embedded import EmbeddedEventLog

    return EmbeddedEventLog(settings.data_dir / "log.db", clock.now)


def _databases(settings: Settings) -> Mapping[str, Database]:
    if settings.database_url is not None:
        return dict.fromkeys(SERVICES, Database(settings.database_url))
    return {service: Database(settings.data_dir / f"{service}.db") for service in SERVICES}


def _options(settings: Settings, services: Collection[str]) -> WorkerOptions:
    options = WorkerOptions(settle=settings.settle, publish_every=_PUBLISH_SECONDS)
    if settings.cluster:
        return replace(options, threads=_CLUSTER_THREADS)
    alone = len(set(ENGINES) & set(services)) == 1
    return options if alone else replace(options, batch_records=_SHARED_BATCH)


def tables_of(service: str) -> tuple[MetaData, ...]:
    """The tables of a service, the runtime's among them for an engine."""
    if service == "ingest":
        from services.storage.keys import keys_metadata
        from services.storage.rejected import metadata as rejected
        from services.storage.replays import replays_metadata
        from services.storage.seen import seen_metadata
        from services.web.sessions import metadata as sessions

        return keys_metadata, replays_metadata, seen_metadata, rejected, sessions
    from services.storage import tables as runtime

    if service == "stage_engine":
        from stage_engine.tables import metadata as own
    elif service == "segmenter":
        from segmenter.tables import metadata as own
    else:
        from notifier.tables import metadata as own
    return runtime.metadata, own


async def migrate(container: Container, services: Iterable[str] = SERVICES) -> Migrated:
    """Create the topics and tables that are missing; the log is started already.

    Raises `TopicMismatch` naming the line that differs, `StorageNewer`, `StorageUnavailable`, `StorageBroken`.
    """
    settings = container.settings
    specs = topic_table(settings.events_retention)
    topics = await container.log.create_topics(specs, settings.partitions)
    created = [
        name
        for service in services
        for metadata in tables_of(service)
        for name in container.databases[service].create(metadata)
    ]
    return Migrated(tuple(topics), tuple(created))


async def check(container: Container, services: Iterable[str] = SERVICES) -> None:
    """Check that the topics and tables exist and fit; the log is started already.

    Raises `UnknownTopic`, `TopicMismatch`, `StorageMissing`, `StorageNewer`.
    """
    settings = container.settings
    for service in services:
        for metadata in tables_of(service):
            container.databases[service].check(metadata)
    await container.log.check_topics(topic_table(settings.events_retention), settings.partitions)
