"""Events as the machine sees them, and the one order in which it applies them."""

from collections.abc import Mapping
from typing import Any

import msgspec

from behavior.errors import UnreadableEvent
from schemas.language_types import FACT_PREFIX, IDENTIFY

__all__ = ["Event", "canonical_order", "is_fact"]

_NOTHING: Mapping[str, Any] = {}


class Event(msgspec.Struct, frozen=True, gc=False):
    """Something that happened to a subject at the instant `at` (ms).

    `sequence` is the producer's own number, if it gave one. The content is either `properties` (for ``$identify``: the
    traits) or `raw`, the sender's JSON, decoded only when a definition looks at a property. A fact is named
    ``$stage:<lifecycle>`` and carries `track`, `stage` and, if it is not `at`, `since` (ms).
    """

    at: int
    message_id: str
    name: str
    sequence: int | None = None
    properties: Mapping[str, Any] | None = None
    raw: bytes | None = None

    def content(self) -> Mapping[str, Any]:
        """The properties (of ``$identify``: the traits). Raises `UnreadableEvent` when `raw` cannot be read."""
        if self.properties is not None:
            return self.properties
        if self.raw is None:
            return _NOTHING
        try:
            body = _decoder.decode(self.raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UnreadableEvent from error
        if self.name != IDENTIFY:
            return body.properties or _NOTHING
        nested = body.context.traits if body.context is not None else None
        return {**(nested or _NOTHING), **(body.traits or _NOTHING)}


class _Context(msgspec.Struct):
    traits: dict[str, Any] | None = None


class _Body(msgspec.Struct):
    properties: dict[str, Any] | None = None
    traits: dict[str, Any] | None = None
    context: _Context | None = None


_decoder = msgspec.json.Decoder(_Body)


def is_fact(event: Event) -> bool:
    """Whether the event is a stage of another lifecycle rather than something a sender said."""
    return event.name.startswith(FACT_PREFIX)


def canonical_order(event: Event) -> tuple[int, bool, bool, int, str]:
    """The sort key of events: instant, facts first, then the producer's sequence (none first), then message id."""
    sequence = event.sequence
    return event.at, not event.name.startswith(FACT_PREFIX), sequence is not None, sequence or 0, event.message_id
