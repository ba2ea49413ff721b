"""What each service of a process consists of: its workers, its senders, and the application that it serves."""

import asyncio
from collections.abc import Callable

from fastapi import FastAPI
from starlette.types import ASGIApp

from services.processes.system import System
from services.runtime.processor import Processor
from services.storage.keys import KeyRing
from services.web.auth import Auth
from services.web.operations import Metric, operations_router
from services.web.problems import install_problems

__all__ = ["assemble"]


async def assemble(system: System, say: Callable[[str], None] | None) -> None:
    """Give a system the parts of its services; `say` is told what became of the first event.

    Raises `InvalidDefinition`, `StorageError`, `OSError` when keys cannot be written.
    """
    makers = {"stage_engine": _stage_engine, "segmenter": _segmenter, "notifier": _notifier}
    for service in system.services:
        if service in makers:
            await asyncio.to_thread(makers[service], system)
    if "ingest" in system.services:
        from services.web.create import create_app

        container, address = system.container, system.address
        web = await create_app(
            container, address=address, health=system.health, metrics=lambda: _metrics(system), say=say
        )
        system.welcome = web.welcome
        system.add(senders=[web.seen, web.rejected])
        system.serve(web.app)
    else:
        system.serve(_operations(system))


def _add(system: System, processor: Processor) -> None:
    system.add(system.container.workers(processor))


def _stage_engine(system: System) -> None:
    from services.definitions import load_lifecycles
    from stage_engine.handlers import StageProcessor

    settings = system.settings
    processor = StageProcessor(
        load_lifecycles(settings.definitions_dir),
        settle=settings.settle,
        settle_history=settings.settle_history,
        partitions=settings.partitions,
    )
    _add(system, processor)
    system.engines.append(processor)


def _segmenter(system: System) -> None:
    from segmenter.handlers import SegmentProcessor
    from services.definitions import load_segments

    settings = system.settings
    processor = SegmentProcessor(
        load_segments(settings.definitions_dir),
        settle=settings.settle,
        settle_history=settings.settle_history,
        partitions=settings.partitions,
    )
    _add(system, processor)
    system.engines.append(processor)


def _notifier(system: System) -> None:
    from notifier.channels.email import EmailChannel, parse_smtp_url
    from notifier.composer import Composer
    from notifier.definitions import load_definitions
    from notifier.handlers import NotifierProcessor
    from notifier.sender import Sender

    container, settings = system.container, system.settings
    campaigns, templates = load_definitions(settings.definitions_dir)
    smtp = settings.smtp_url is not None
    composer = Composer(campaigns, templates, settings.mail_from, smtp=smtp)
    processor = NotifierProcessor(composer, settings.effects_within, settings.settle)
    _add(system, processor)
    # Without SMTP the sender still runs: it ends what an earlier start with SMTP left ready.
    channels = []
    if settings.smtp_url is not None:
        channels.append(EmailChannel(parse_smtp_url(settings.smtp_url), settings.mail_from))
    database, owner = container.databases["notifier"], container.ids.uuid7()
    system.add(senders=[Sender(database, channels, container.clock.now, owner, processor.poke)])


def _operations(system: System) -> ASGIApp:
    container, settings = system.container, system.settings
    app = FastAPI(title="Parcours", docs_url=None, redoc_url=None, openapi_url=None)
    install_problems(app, container.ids.uuid7)
    auth = None
    if not settings.public_operations:
        auth = Auth(KeyRing.of(settings, container.databases["ingest"], container.clock.now))
    app.include_router(operations_router(system.health, lambda: _metrics(system), auth))
    return app


def _metrics(system: System) -> list[Metric]:
    lag = system.loop_lag.seconds
    contradicted = [({"processor": engine.name}, float(engine.conflicts)) for engine in system.engines]
    return [
        Metric("loop_lag_seconds", "gauge", "the greatest recent delay of the event loop", [({}, lag)]),
        Metric("duplicate_id_conflicts_total", "counter", "ids that came again with another content", contradicted),
    ]
