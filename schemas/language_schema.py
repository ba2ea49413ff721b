"""The JSON Schema of a definition file: what may be written, not what the models make of it.

The models read durations, names and targets with functions; what each of those functions takes stands here.
"""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

__all__ = ["definition_schema"]

_TEXT: Final = {"type": "string", "minLength": 1}
_IDENTIFIER: Final = {"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_-]{0,63}$"}
_EVENT: Final = {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^(?!\\$stage:)"}
_SCALAR: Final = {"type": ["string", "number", "boolean"]}
_DURATION: Final = {"type": "string", "pattern": "^\\s*[0-9]{1,9}(ms|s|m|h|d|w)\\s*$"}


def _one_or_more(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "array", "items": schema, "minItems": 1}]}


_TAKES: Final[Mapping[str, Mapping[str, Any]]] = {
    "_identifier": _IDENTIFIER,
    "_event_name": _EVENT,
    "_event_names": _one_or_more(_EVENT),
    "_duration": _DURATION,
    "_number": {"type": "number"},
    "_property_name": {**_TEXT, "maxLength": 128},
    "_since": {"const": "entry"},
    "_language": {"type": "string", "pattern": "^[a-z]{2}(-[A-Z]{2})?$"},
    "_scalar": _SCALAR,
    "_ordered": {"type": ["string", "number"]},
    "_scalars": {"type": "array", "items": _SCALAR, "minItems": 1},
    "names_or_one": _one_or_more(_IDENTIFIER),
    "_sources": {"anyOf": [{"const": "*"}, _IDENTIFIER, {"type": "array", "items": _IDENTIFIER, "minItems": 1}]},
}
"""What each reading function takes. Those that only wrap a single value in a larger form are told by `_WRAPS`."""

_WRAPS: Final[Mapping[str, Mapping[str, Any]]] = {"_property_test": _SCALAR, "_target": _IDENTIFIER}


class _Written(GenerateJsonSchema):
    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        """What is written where a function reads; a function that nobody described is an error, not a guess."""
        name = schema["function"]["function"].__name__
        if name in _WRAPS:
            return {"anyOf": [dict(_WRAPS[name]), self.generate_inner(schema["schema"])]}
        return dict(_TAKES[name])


def definition_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The schema of files that `model` reads. Raises `KeyError` for a reading function that is not described here."""
    return model.model_json_schema(schema_generator=_Written)
