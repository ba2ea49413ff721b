"""Posts a population through `segment-analytics-python`, unmodified, as any application would."""

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from importlib import import_module
from importlib.metadata import version
from typing import Any, Final

from services.demo.life import Act, Customer
from services.errors import ServiceError

__all__ = ["SDK", "EventsLost", "SdkMissing", "in_order_of_posting", "post", "sdk_version"]

SDK: Final = "segment-analytics-python"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BATCH = 100


class SdkMissing(ServiceError):
    """The demonstration posts with segment-analytics-python, which is not installed. Start it with `make demo`."""

    code = "sdk_missing"


class EventsLost(ServiceError):
    """The server did not take all events. Its log says why."""

    code = "events_lost"


def sdk_version() -> str:
    """The installed version of the SDK. Raises `SdkMissing`."""
    try:
        return version(SDK)
    except ModuleNotFoundError as error:
        raise SdkMissing from error


def in_order_of_posting(people: Iterable[Customer]) -> list[tuple[Customer, Act]]:
    """One customer after the other, each in order of time; what an offline device kept back comes at the very end."""
    acts = [(person, act) for person in people for act in person.acts]
    return sorted(acts, key=lambda item: item[1].late)


def post(
    host: str, write_key: str, acts: Sequence[tuple[Customer, Act]], label: str, progressed: Callable[[int], None]
) -> None:
    """Send all acts to `host` and return once the server has answered every request.

    `label` makes the message ids: posting the same acts under the same label again changes nothing. `progressed` is
    told from time to time how many events have been answered. Raises `SdkMissing`, `EventsLost`.
    """
    sdk_version()
    logging.getLogger("segment").setLevel(logging.CRITICAL)  # errors come back through `failed`, as one sentence
    failures: list[str] = []
    client = import_module("segment.analytics.client").Client(
        write_key,
        host=host,
        max_queue_size=len(acts) + _BATCH,
        upload_size=_BATCH,
        max_retries=5,
        on_error=lambda error, items: failures.append(f"{len(items)} events: {error}"),
    )
    for number, (person, act) in enumerate(acts):
        queued, _ = _call(client, person, act, f"{label}-{number}")
        if not queued:
            failures.append("the SDK's queue is full")
        if number % _BATCH == 0:
            progressed(number + 1 - client.queue.qsize())
    while client.queue.unfinished_tasks:
        client.consumers[0].join(0.1)
        progressed(len(acts) - client.queue.qsize())
    client.shutdown()
    if failures:
        raise EventsLost(f"The server did not take all events ({failures[0]}). Its log says why.")
    progressed(len(acts))


def _call(client: Any, person: Customer, act: Act, message_id: str) -> tuple[bool, object]:
    who = {"anonymous_id": person.id} if person.anonymous else {"user_id": person.id}
    common = {
        **who,
        "timestamp": _EPOCH + timedelta(milliseconds=act.at),
        "message_id": message_id,
        "context": {"app": {"name": "parcours-demo"}},
    }
    match act.call:
        case "identify":
            return client.identify(traits=dict(act.properties), **common)  # type: ignore[no-any-return]  # untyped SDK
        case "page":
            return client.page(name=act.name, properties=dict(act.properties), **common)  # type: ignore[no-any-return]  # untyped SDK
        case "track":
            return client.track(event=act.name, properties=dict(act.properties), **common)  # type: ignore[no-any-return]  # untyped SDK
