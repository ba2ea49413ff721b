"""The pure machine: digests of what a subject did, the conditions asked of them, the tracks."""

from behavior.definition import Definition, compile_definition
from behavior.errors import OutOfOrder, RunawayDefinition, StaleState, StateOverflow, UnreadableEvent
from behavior.events import Event, canonical_order
from behavior.explain import Checked, EnteredBy, Explanation, Outgoing, TrackExplanation, Verdict, explain
from behavior.machine import advance, apply, fold, step
from behavior.names import Names
from behavior.state import State, TrackState
from behavior.transitions import Transition

__all__ = [
    "Checked",
    "Definition",
    "EnteredBy",
    "Event",
    "Explanation",
    "Names",
    "OutOfOrder",
    "Outgoing",
    "RunawayDefinition",
    "StaleState",
    "State",
    "StateOverflow",
    "TrackExplanation",
    "TrackState",
    "Transition",
    "UnreadableEvent",
    "Verdict",
    "advance",
    "apply",
    "canonical_order",
    "compile_definition",
    "explain",
    "fold",
    "step",
]
