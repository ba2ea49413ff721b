"""Every exception of the product is a sentence with a stable code: the class docstring, and `code`."""

import ast
import builtins
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tests.architecture.rules import Module

__all__ = ["exception_offenses"]

BUILTIN = {
    name for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, BaseException)
}
CODE = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class _Class:
    path: str
    node: ast.ClassDef

    @property
    def bases(self) -> list[str]:
        return [ast.unparse(base).rpartition(".")[2] for base in self.node.bases]

    @property
    def code(self) -> str | None:
        for statement in self.node.body:
            targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
            value = getattr(statement, "value", None)
            for target in targets:
                if isinstance(target, ast.Name) and target.id == "code" and isinstance(value, ast.Constant):
                    return str(value.value)
        return None

    @property
    def instance_code(self) -> bool:
        """Whether the class says that each instance brings its own code (`code: str`, or `self.code = ...`)."""
        return any(
            (isinstance(node, ast.AnnAssign) and ast.unparse(node.target) in ("code", "self.code"))
            or (isinstance(node, ast.Attribute) and node.attr == "code" and isinstance(node.ctx, ast.Store))
            for node in ast.walk(self.node)
        )


def exception_offenses(modules: Iterable[Module]) -> Iterator[tuple[str, int, str]]:
    """(path, line, advice) of every public exception without a sentence or a code. Private ones never reach a user."""
    classes = [
        _Class(module.path, node)
        for module in modules
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef)
    ]
    by_name = {found.node.name: found for found in classes}

    def is_exception(found: _Class) -> bool:
        return any(base in BUILTIN or (base in by_name and is_exception(by_name[base])) for base in found.bases)

    def has_code(found: _Class) -> bool:
        if found.code is not None:
            return CODE.fullmatch(found.code) is not None
        return found.instance_code or any(base in by_name and has_code(by_name[base]) for base in found.bases)

    for found in classes:
        if found.node.name.startswith("_") or not is_exception(found):
            continue
        sentence = (ast.get_docstring(found.node) or "").strip()
        if not sentence.endswith("."):
            yield found.path, found.node.lineno, f"{found.node.name}: its docstring is the sentence that a user reads"
        if not has_code(found):
            yield found.path, found.node.lineno, f"{found.node.name} has no `code`: stable, lower case, underscores"
