"""The contracts that are published: which type has which version, and the JSON Schema that its model gives.

A published version never changes. Annotations (titles, descriptions, examples) are not part of what is promised.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import msgspec
from pydantic import BaseModel

from schemas.catalog import CatalogFile
from schemas.changes import MessageOutcome, Progress, TrackChange, TrackCorrected
from schemas.cloudevents import Receipt
from schemas.events import INBOUND, RejectedHeaders
from schemas.language_model import DefinitionFile
from schemas.language_schema import definition_schema

__all__ = ["CONTRACTS", "Contract", "promise"]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_ANNOTATIONS: Final = frozenset({"$comment", "$id", "description", "examples", "title"})
_NAMED: Final = frozenset({"$defs", "patternProperties", "properties"})


@dataclass(frozen=True, slots=True)
class Contract:
    """One version of one type. `version` is ``major-minor``: a minor one only adds what readers may ignore."""

    type: str
    version: str
    model: Callable[[], dict[str, Any]]

    @property
    def path(self) -> str:
        """Where it is published, below `schemas/published`."""
        return f"{self.type}/{self.version}.json"

    def schema(self) -> dict[str, Any]:
        """The JSON Schema (2020-12) of the model as it is now."""
        return {"$schema": DIALECT, "$id": f"urn:parcours:schema:{self.type}:{self.version}", **_tidy(self.model())}


def promise(schema: Any, *, names: bool = False) -> Any:
    """What a schema promises: itself without annotations. `names`: the keys are names of properties, not keywords."""
    if isinstance(schema, dict):
        kept = {key: value for key, value in schema.items() if names or key not in _ANNOTATIONS}
        return {key: promise(value, names=not names and key in _NAMED) for key, value in kept.items()}
    if isinstance(schema, list):
        return [promise(value) for value in schema]
    return schema


def _tidy(schema: Any) -> Any:
    """The schema with each description on one line."""
    if isinstance(schema, dict):
        return {
            key: " ".join(value.split()) if key == "description" and isinstance(value, str) else _tidy(value)
            for key, value in schema.items()
        }
    return [_tidy(value) for value in schema] if isinstance(schema, list | tuple) else schema


def _struct(model: type[msgspec.Struct]) -> Callable[[], dict[str, Any]]:
    return partial(msgspec.json.schema, model)


def _pydantic(model: type[BaseModel]) -> Callable[[], dict[str, Any]]:
    return model.model_json_schema


CONTRACTS: Final[tuple[Contract, ...]] = (
    *(Contract(f"parcours.inbound.{call}", "1-0", _pydantic(model)) for call, model in INBOUND.items()),
    Contract("parcours.catalog", "1-0", partial(definition_schema, CatalogFile)),
    Contract("parcours.definition", "1-0", partial(definition_schema, DefinitionFile)),
    Contract("parcours.event.rejected", "1-0", _pydantic(RejectedHeaders)),
    Contract("parcours.receipt", "1-0", _pydantic(Receipt)),
    *(
        Contract(f"parcours.{track}.{what}", "1-0", _struct(model))
        for track in ("stage", "segment")
        for what, model in (("changed", TrackChange), ("corrected", TrackCorrected), ("progress", Progress))
    ),
    *(
        Contract(f"parcours.message.{outcome}", "1-0", _struct(MessageOutcome))
        for outcome in ("sent", "delivered", "bounced", "opened", "clicked", "suppressed")
    ),
)
"""Every contract in its latest version; add a version beside its successor's, never in its place."""
