"""The HTTP application of a running system, and what its start says: fitted together from the container."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from fastapi import APIRouter, FastAPI
from starlette.types import ASGIApp

from ingest.browser_settings import browser_settings_router
from ingest.documentation import add_door_documentation
from ingest.domain.plan import TrackingPlan
from ingest.domain.seen import Seen
from ingest.handlers import Door, Policy
from ingest.http import DoorApp
from ingest.limiting import Rate, TokenLimits
from ingest.native import NativeDoor
from ingest.native_documentation import add_native_documentation
from ingest.ports import FirstEvent, Plan
from notifier.http import messages_router
from notifier.reads import MessageReads
from schemas.cursors import Cursors
from schemas.ids import DEFAULT_WORKSPACE
from segmenter.handlers import SegmentProcessor
from segmenter.http import segments_router
from segmenter.tables import tables as segment_tables
from services.bootstrap import Container
from services.definitions import load_lifecycles, load_segments
from services.event_catalog import load_catalog
from services.rejected_index import RejectedIndex
from services.runtime.clock import Clock
from services.storage.first_keys import Created, ensure_keys
from services.storage.keys import ALL_SCOPES, KeyRing, WriteKeys
from services.storage.seen import SeenReads, SeenWriter
from services.storage.signing import SigningSecret
from services.web.addresses import Proxies, parse_networks
from services.web.admin import administration
from services.web.app import WebParts, assemble
from services.web.event_catalog_http import event_catalog_router
from services.web.first_minute import FirstMinute, Welcome, curl_line
from services.web.native_route import native_metrics, native_routes
from services.web.operations import HealthReader, Metric
from services.web.sessions import Sessions
from services.web.store_reads import StoreReads
from stage_engine.handlers import StageProcessor
from stage_engine.http import customers_router, lifecycles_router
from stage_engine.tables import tables as stage_tables
from tracks.reads import TrackReads

__all__ = ["Web", "create_app"]


@dataclass(frozen=True, slots=True)
class Web:
    """The application, and what belongs to its start. `created` tells which keys this start made.

    `seen` and `rejected` are to run beside it: they write down which events came, and which were rejected.
    """

    app: ASGIApp
    created: Created
    sessions: Sessions
    container: Container
    address: str
    seen: SeenWriter
    rejected: RejectedIndex

    def welcome(self) -> Sequence[str]:
        """The lines to print once the server answers. Each call makes a new sign-in link; call it in a thread."""
        link = self.sessions.make_link(DEFAULT_WORKSPACE, ALL_SCOPES)
        return Welcome(self.container.settings, self.address, self.created, link).lines()


async def create_app(
    container: Container,
    *,
    address: str,
    health: HealthReader,
    metrics: Callable[[], Iterable[Metric]] = tuple,
    say: Callable[[str], None] | None = None,
) -> Web:
    """The application of a process with the door: tracking, API, pages, probes. Tables and topics exist.

    `address` is where it will answer, as a URL; `say` prints what became of the first event (None: nobody is told).
    Makes the first keys. Raises `StorageError`, `InvalidDefinition`, and `OSError` when the keys cannot be written.
    """
    settings, clock, ids = container.settings, container.clock, container.ids
    database = container.databases["ingest"]
    created = await asyncio.to_thread(ensure_keys, settings, database, clock.now, ids.secret)
    keys = KeyRing.of(settings, database, clock.now)
    sessions = Sessions(database, clock, ids)
    secret = SigningSecret(database, ids, "cursor")
    cursors = Cursors((await asyncio.to_thread(lambda: secret.value)).encode())
    reads = await asyncio.to_thread(_reads, container)
    page_reads = StoreReads(reads.stages, reads.segments, reads.messages, clock)
    # A log of objects is read by programs: nothing else may stand between them, and no customer in them.
    told = FirstMinute(page_reads, clock, say if settings.log_format == "text" else None)
    hook = told.on_first_event if say is not None else None
    catalog = await asyncio.to_thread(load_catalog, settings.definitions_dir)
    seen = Seen(frozenset((*catalog.entries, *catalog.aliases)))
    door = _door(container, keys, hook, TrackingPlan(catalog, seen))
    admin = administration(container, keys, door, cursors)
    events = event_catalog_router(catalog, SeenReads(database), reads.stages.definitions, clock.now)
    native = NativeDoor(door)
    routes = native_routes(native, container)
    parts = WebParts(
        clock=clock,
        ids=ids,
        keys=keys,
        sessions=sessions,
        page_reads=page_reads,
        health=health,
        api=[*_routers(reads, clock, cursors), events],
        door=lambda app: DoorApp(app, door, routes),
        document=_document,
        metrics=lambda: [*metrics(), *_door_metrics(door), *native_metrics(native), _flagged(seen)],
        first_line=curl_line(settings, address),
        public=[browser_settings_router(door.source)],
        guarded=admin.routers,
        public_operations=settings.public_operations,
    )
    seen_writer = SeenWriter(database, seen, catalog, clock.now)
    return Web(assemble(parts), created, sessions, container, address, seen_writer, admin.index)


def _document(app: FastAPI) -> None:
    add_door_documentation(app)
    add_native_documentation(app)


def _door(container: Container, keys: KeyRing, hook: Callable[[FirstEvent], None] | None, plan: Plan) -> Door:
    settings, clock = container.settings, container.clock
    policy = Policy(
        plan=plan,
        limits=TokenLimits(
            clock.monotonic,
            Rate(settings.key_events_per_second, settings.key_burst),
            Rate(settings.address_events_per_second, settings.address_burst),
        ),
        addresses=Proxies(parse_networks(settings.trusted_proxies)).address,
        max_body=settings.max_body,
        max_event=settings.max_event,
        monotonic=clock.monotonic,
    )
    return Door(container.log.writer(), WriteKeys(keys), clock.now, settings.partitions, hook, policy)


@dataclass(frozen=True, slots=True)
class _Reads:
    """What the API and the pages read, whichever process writes it."""

    stages: TrackReads
    segments: TrackReads
    messages: MessageReads


def _reads(container: Container) -> _Reads:
    """Raises `InvalidDefinition`."""
    databases, folder = container.databases, container.settings.definitions_dir
    lifecycles, segments = StageProcessor(load_lifecycles(folder)), SegmentProcessor(load_segments(folder))
    return _Reads(
        TrackReads(databases["stage_engine"], stage_tables, lifecycles.engine),
        TrackReads(databases["segmenter"], segment_tables, segments.engine),
        MessageReads(databases["notifier"]),
    )


def _routers(reads: _Reads, clock: Clock, cursors: Cursors) -> list[APIRouter]:
    return [
        customers_router(reads.stages, clock.now, cursors, reads.segments),
        lifecycles_router(reads.stages, clock.now),
        segments_router(reads.segments, clock.now, cursors),
        messages_router(reads.messages, cursors),
    ]


def _door_metrics(door: Door) -> list[Metric]:
    return [Metric(*family) for family in door.counts.families(door.in_flight.bytes)]


def _flagged(seen: Seen) -> Metric:
    samples = [({"flag": flag}, float(number)) for flag, number in sorted(seen.flags.items())]
    return Metric(
        "events_flagged_total", "counter", "events that the catalog does not know or describes otherwise", samples
    )
