"""What comes next for a subject if nothing happens, and what to explain."""

from typing import NamedTuple

from behavior import Definition, Explanation, State, Transition, advance, explain

__all__ = ["Outlook", "explained", "next_change"]

_MOST_LOOKS = 500


class Outlook(NamedTuple):
    """The next change that silence alone will bring: when (ms), where, and by which transition."""

    at: int
    track: str
    transition: str
    to: str


def next_change(definition: Definition, state: State) -> Outlook | None:
    """The earliest transition that time alone brings about, or None when there is none within sight."""
    twin = State.load(definition, state.dump())
    for _ in range(_MOST_LOOKS):
        due = twin.next_due_at
        if due is None:
            return None
        made: list[Transition] = advance(definition, twin, due)
        if made:
            return Outlook(due, made[0].track, made[0].transition, made[0].to)
    return None


def explained(definition: Definition, state: State, now: int) -> Explanation:
    """Why the subject is where it is stored to be; a change that is due but not made yet is not anticipated."""
    due = state.next_due_at
    at = now if due is None else min(now, due - 1)
    return explain(definition, state, max(at, state.last_instant))
