"""What a name in a module stands for: `t.monotonic` is `time.monotonic` after `import time as t`."""

import ast
from collections.abc import Iterator

__all__ = ["imported_modules", "references", "resolve"]


def imported_names(tree: ast.Module) -> dict[str, str]:
    """Local name to dotted name, for every import anywhere in the module."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname:
                    names[alias.asname] = alias.name
                else:
                    top = alias.name.partition(".")[0]
                    names[top] = top
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def imported_modules(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every import; `from a import b` counts as `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def resolve(node: ast.expr, names: dict[str, str]) -> str | None:
    """The dotted name that an expression stands for, if it is an imported name or an attribute of one."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        inner = resolve(node.value, names)
        return f"{inner}.{node.attr}" if inner else None
    return None


def references(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every use of something imported, called or not, and of every `from` import of it."""
    names = imported_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"
        elif isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Load):
            dotted = resolve(node, names)
            if dotted:
                yield node.lineno, dotted
