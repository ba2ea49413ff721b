"""Turns what the models refuse into plain sentences with their place in the file."""

from typing import Any

from pydantic import ValidationError

from schemas.language_yaml import Document, Path, Problem

__all__ = ["explain_errors"]

_LIMIT = 100
_SHOWN = 64

_SENTENCES = {
    "bool_type": "This must be true or false.",
    "dict_type": "This must be a mapping (keys and values).",
    "int_type": "This must be a whole number.",
    "list_type": "This must be a list.",
    "model_type": "This must be a mapping (keys and values).",
    "string_type": "This must be text. Put it in quotes.",
    "string_too_short": "This text is empty.",
    "tuple_type": "This must be a list.",
    "too_short": "This is empty; give at least one entry.",
}


def explain_errors(document: Document, error: ValidationError) -> list[Problem]:
    """One problem for each thing that the models refuse, at most a hundred."""
    return [_explain(document, each) for each in error.errors(include_url=False)[:_LIMIT]]


def _explain(document: Document, error: Any) -> Problem:
    kind: str = error["type"]
    path: Path = tuple(part for part in error["loc"] if part != "[key]")
    if kind == "missing":
        return document.problem(path[:-1], "missing_key", f"`{path[-1]}` is missing here. Add it.")
    if kind == "extra_forbidden":
        sentence = f"The key `{_short(path[-1])}` is not known here. Correct its spelling or remove it."
        return document.problem(path, "unknown_key", sentence, at_key=True)
    return document.problem(path, "invalid_value", _sentence(kind, error), at_key="[key]" in error["loc"])


def _sentence(kind: str, error: Any) -> str:
    bounds: dict[str, Any] = error.get("ctx", {})
    if kind == "value_error":
        return str(bounds["error"])
    if kind in ("greater_than", "greater_than_equal"):
        return f"This must be {'greater than' if kind == 'greater_than' else 'at least'} {_bound(bounds)}."
    if kind in ("less_than", "less_than_equal"):
        return f"This must be {'less than' if kind == 'less_than' else 'at most'} {_bound(bounds)}."
    if kind in ("too_long", "string_too_long"):
        return f"This is too long: at most {bounds['max_length']} are allowed."
    if kind == "literal_error":
        return f"This must be one of: {bounds['expected']}."
    return _SENTENCES.get(kind, f"{error['msg']}.")


def _bound(bounds: dict[str, Any]) -> Any:
    return next(bounds[name] for name in ("gt", "ge", "lt", "le") if name in bounds)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
