"""The four models, the odd one, and the golden traces, loaded once."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from behavior import Definition, Event, Transition, compile_definition
from schemas.language import DefinitionFile, load_definition
from schemas.times import format_instant, parse_instant

__all__ = ["DATA", "MODELS", "as_trace", "definition", "definition_file", "golden_traces", "trace_events"]

DATA = Path(__file__).parent.parent / "data"
MODELS = ("default", "retail_loyalty", "saas_trial", "segments")


@lru_cache
def definition_file(name: str) -> DefinitionFile:
    """The parsed file of one of the models, or of ``every_predicate``."""
    folder = "models" if name in MODELS else "odd"
    path = DATA / folder / f"{name}.yaml"
    return load_definition(path.read_bytes(), path.name)


@lru_cache
def definition(name: str) -> Definition:
    """The same, compiled."""
    return compile_definition(definition_file(name))


@lru_cache
def golden_traces() -> list[dict[str, Any]]:
    """The traces: name, model, as_of, events, expected transitions and final stages."""
    traces: list[dict[str, Any]] = json.loads((DATA / "golden" / "golden-traces.json").read_text())
    return traces


def trace_events(trace: dict[str, Any]) -> list[Event]:
    """The events of a trace."""
    return [
        Event(parse_instant(event["timestamp"]), event["messageId"], event["event"], properties=event["properties"])
        for event in trace["events"]
    ]


def as_trace(transitions: list[Transition]) -> list[dict[str, Any]]:
    """Transitions in the form of the traces."""
    return [
        {
            "effective_at": format_instant(each.at),
            "track": each.track,
            "ordinal": each.ordinal,
            "step": each.step,
            "from": each.from_,
            "to": each.to,
            "transition": each.transition,
            "reason": each.reason,
            "cause": each.cause,
        }
        for each in transitions
    ]
