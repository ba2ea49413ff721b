"""What the machine says happened."""

from typing import Any

import msgspec

__all__ = ["CLOCK", "INITIAL", "Transition"]

CLOCK = "clock"
"""The cause of a transition that no event of its instant caused."""

INITIAL = "initial"
"""The id of everybody's first transition in a track."""


class Transition(msgspec.Struct, frozen=True, gc=False):
    """One entry of a stage at the instant `at` (ms).

    `ordinal` orders the transitions of one track at one instant, `step` is for display. `from_` is None for the initial
    one. `visit` counts the entries of `to`. `cause` is a message id or ``clock``; `message_ids` are the events that
    caused it, `evidence` those that its condition and reason rest on (at most ten). `actions` is the entered stage's
    `on_enter` list as declared.
    """

    track: str
    ordinal: int
    step: int
    from_: str | None
    to: str
    transition: str
    visit: int
    at: int
    reason: str | None
    cause: str
    message_ids: tuple[str, ...]
    evidence: tuple[str, ...]
    actions: tuple[dict[str, Any], ...]
