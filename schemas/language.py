"""The definition language: reads a lifecycle or segments file, or says what is wrong with it, and where."""

from pydantic import ValidationError

from schemas.language_checks import check_definition
from schemas.language_errors import explain_errors
from schemas.language_model import (
    Action,
    DefinitionFile,
    HistoryTarget,
    Reason,
    Score,
    Stage,
    Track,
    Transition,
)
from schemas.language_predicates import Condition
from schemas.language_yaml import InvalidDefinition, Problem, parse_yaml

__all__ = [
    "Action",
    "Condition",
    "DefinitionFile",
    "HistoryTarget",
    "InvalidDefinition",
    "Problem",
    "Reason",
    "Score",
    "Stage",
    "Track",
    "Transition",
    "load_definition",
]


def load_definition(source: str | bytes, file: str = "definition") -> DefinitionFile:
    """Read, validate and check a definition.

    `source` is YAML of at most 256 KiB; `file` is the name to show. Raises `InvalidDefinition` holding every problem
    found, each with file, line, column, a stable code and a sentence.
    """
    document = parse_yaml(source, file)
    if not isinstance(document.data, dict):
        sentence = "A definition is a mapping that begins with `lifecycle:`."
        raise InvalidDefinition([document.problem((), "not_a_mapping", sentence)])
    try:
        definition = DefinitionFile.model_validate(document.data)
    except ValidationError as error:
        raise InvalidDefinition(explain_errors(document, error)) from None
    problems = check_definition(document, definition)
    if problems:
        raise InvalidDefinition(problems)
    return definition
