"""When two bodies under one message id are the same event: whatever a sender writes anew at each try is left out."""

from typing import Final

import msgspec

__all__ = ["DUPLICATE_ID_CONFLICT", "content_of", "same_content"]

DUPLICATE_ID_CONFLICT: Final = "duplicate_id_conflict"
"""The flag, and the code, of an event whose id came again with another content. The first content stands."""

_OF_EACH_TRY: Final = ("sentAt", "_metadata")


def content_of(body: bytes) -> bytes:
    """The event in canonical JSON: sorted keys, no `sentAt`, no `_metadata`. What is no JSON stays as it is."""
    try:
        event = msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return body
    if isinstance(event, dict):
        for name in _OF_EACH_TRY:
            event.pop(name, None)
    return msgspec.json.encode(event, order="deterministic")


def same_content(first: bytes, second: bytes) -> bool:
    """Whether both bodies are the same event, sent once or twice."""
    return first == second or content_of(first) == content_of(second)
