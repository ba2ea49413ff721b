"""The native route of a process: put together from its door and its database."""

from collections.abc import Mapping

from starlette.types import ASGIApp

from ingest.idempotency import Idempotency
from ingest.native import PATH, NativeApp, NativeDoor
from services.bootstrap import Container
from services.storage.replays import StoredReplays
from services.web.operations import Metric

__all__ = ["native_metrics", "native_routes"]


def native_routes(native: NativeDoor, container: Container) -> Mapping[bytes, ASGIApp]:
    """The raw paths that the native route answers. The table of its answers exists."""
    replays = StoredReplays(container.databases["ingest"], container.clock.now)
    return {PATH.encode(): NativeApp(native, Idempotency(replays), container.ids.uuid7)}


def native_metrics(native: NativeDoor) -> list[Metric]:
    """What the native route counts."""
    return [
        Metric("events_duplicate_total", "counter", "events whose id was acknowledged before, with the same content or"
               " another one", [
            ({"content": "same"}, float(native.duplicates - native.conflicts)),
            ({"content": "other"}, float(native.conflicts)),
        ]),
    ]  # fmt: skip
