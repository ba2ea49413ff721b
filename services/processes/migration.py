"""`parcours migrate`: creates the topics and tables that are missing, and says which."""

import asyncio

from services.bootstrap import SERVICES, make_container, migrate
from services.processes.all_in_one import say
from services.settings import Settings
from services.storage.data_folder import DataFolder

__all__ = ["run_migration"]


async def run_migration(settings: Settings) -> None:
    """Create what is missing. Raises `TopicMismatch` naming the line that differs, `StorageError`, `LogUnavailable`."""
    folder = DataFolder(settings.data_dir)
    if not settings.cluster:
        folder.lock()
    container = make_container(settings)
    try:
        for service in SERVICES:
            await asyncio.to_thread(container.databases[service].ping)
        await container.log.start()
        try:
            created = await migrate(container)
        finally:
            await container.log.close()
    finally:
        container.close()
        folder.unlock()
    for kind, names in (("topic", created.topics), ("table", created.tables)):
        for name in names:
            say(f"created {kind} {name}")
    if not created.topics and not created.tables:
        say("Nothing to create: all topics and tables are there.")
