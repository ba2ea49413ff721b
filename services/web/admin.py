"""What administrators and tools ask of this process's own database: keys, sources, rejected events."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fastapi import APIRouter

from ingest.handlers import Door
from schemas.cursors import Cursors
from services.bootstrap import Container
from services.redrive import Redriver
from services.rejected_index import RejectedIndex
from services.storage.key_admin import KeyAdmin
from services.storage.keys import KeyRing, given_keys
from services.storage.rejected import RejectedStore
from services.storage.sources import SourceRules
from services.web.auth import Auth
from services.web.keys_http import keys_router
from services.web.rejected_http import RejectedParts, rejected_router
from services.web.sources_http import sources_router

__all__ = ["Administration", "administration"]


@dataclass(frozen=True, slots=True)
class Administration:
    """Makers of routers, which check by themselves who asks; and the index of rejected events, to run beside them."""

    routers: Sequence[Callable[[Auth], APIRouter]]
    index: RejectedIndex


def administration(container: Container, keys: KeyRing, door: Door, cursors: Cursors) -> Administration:
    """The administration of a process with the door. The tables exist."""
    settings, database, log = container.settings, container.databases["ingest"], container.log
    admin = KeyAdmin(database, container.clock, container.ids, given_keys(settings))

    def rules(workspace: str) -> Mapping[str, SourceRules]:
        return {info.name: info.rules for info in admin.sources(workspace)}

    store = RejectedStore(database)
    index = RejectedIndex(log, store, settings.partitions)
    redriver = Redriver(door, log, store, rules, settings.partitions)
    rejected = RejectedParts(index, store, log, redriver, cursors)
    return Administration(
        (
            lambda auth: keys_router(auth, admin, container.clock, keys.forget),
            lambda auth: sources_router(auth, admin, keys.forget),
            lambda auth: rejected_router(auth, rejected),
        ),
        index,
    )
