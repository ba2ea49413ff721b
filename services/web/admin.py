"""What administrators and tools ask of this process's own database: keys, sources."""

from collections.abc import Callable, Sequence

from fastapi import APIRouter

from services.bootstrap import Container
from services.storage.key_admin import KeyAdmin
from services.storage.keys import KeyRing, given_keys
from services.web.auth import Auth
from services.web.keys_http import keys_router
from services.web.sources_http import sources_router

__all__ = ["admin_routers"]


def admin_routers(container: Container, keys: KeyRing) -> Sequence[Callable[[Auth], APIRouter]]:
    """Makers of the routers, which check by themselves who asks."""
    given = given_keys(container.settings)
    admin = KeyAdmin(container.databases["ingest"], container.clock, container.ids, given)
    return [
        lambda auth: keys_router(auth, admin, container.clock, keys.forget),
        lambda auth: sources_router(auth, admin, keys.forget),
    ]
