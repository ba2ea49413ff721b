"""The rules hold in every file of this checkout."""

import subprocess
from pathlib import Path

import pytest

from tests.architecture.errors import exception_offenses
from tests.architecture.rules import HOMES, PRODUCT, Module, offenses
from tests.architecture.words import word_offenses

ROOT = Path(__file__).resolve().parents[2]
GENERATED = ("requirements/", "schemas/published/")


def tracked_files() -> list[str]:
    """Paths of all files that are, or would be, committed."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return sorted(path for path in listed.stdout.splitlines() if (ROOT / path).is_file())


def text_of(path: str) -> str | None:
    """The text of a file; None for a binary one."""
    try:
        return (ROOT / path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


FILES = tracked_files()
MODULES = [Module(path, text_of(path) or "") for path in FILES if path.endswith(".py")]


def test_the_checkout_is_seen_whole() -> None:
    assert {"Makefile", "pyproject.toml"} <= set(FILES)
    assert {path.partition("/")[0] for path in FILES if path.endswith(".py")} >= {*PRODUCT, "bench", "scripts", "tests"}


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.path)
def test_the_module_keeps_the_rules(module: Module) -> None:
    found = [f"{module.path}:{offense.line}: {offense.rule}: {offense.advice}" for offense in offenses(module)]
    assert found == []


def test_every_exception_is_a_sentence_with_a_code() -> None:
    product = [module for module in MODULES if module.path.partition("/")[0] in PRODUCT]
    assert [f"{path}:{line}: {advice}" for path, line, advice in exception_offenses(product)] == []


def test_no_file_holds_a_forbidden_word() -> None:
    found = [
        f"{path}:{line}: {meaning}"
        for path in FILES
        if not path.startswith(GENERATED) and (text := text_of(path)) is not None
        for line, meaning in word_offenses(path, text)
    ]
    assert found == []


def test_no_pinned_requirement_names_an_index() -> None:
    pinned = [path for path in FILES if path.startswith("requirements/")]
    assert len(pinned) == 8
    for path in pinned:
        assert "://" not in (text_of(path) or ""), path


@pytest.mark.parametrize("thing", HOMES)
def test_every_home_exists(thing: str) -> None:
    assert any(module.matches(HOMES[thing]) for module in MODULES)
