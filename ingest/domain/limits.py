"""How much the door takes at once. Sizes are in bytes unless they say otherwise."""

from typing import Final

__all__ = ["MAX_BATCH", "MAX_BODY", "MAX_DEPTH", "MAX_EVENT", "MAX_NAME", "MAX_PROPERTIES"]

MAX_BODY: Final = 4 * 1024 * 1024
"""Of a request's body once decoded."""

MAX_EVENT: Final = 256 * 1024
"""Of one event: SDKs really send events of 200 kB."""

MAX_BATCH: Final = 10_000
"""Events in one request."""

MAX_DEPTH: Final = 16
"""Levels of one event; the event itself is the first."""

MAX_PROPERTIES: Final = 1_000
"""Entries of `properties`, and of each `traits`."""

MAX_NAME: Final = 255
"""Characters of an event's name, and of a messageId."""
