"""The reference pages are written from the code, and a stale one is noticed."""

import dataclasses
from pathlib import Path

import pytest

from scripts import reference
from services.settings import Settings


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(reference, "FOLDER", tmp_path / "reference")
    return tmp_path / "reference"


def test_pages_are_written_once_and_then_current(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert reference.main(["--check"]) == 1
    assert reference.main([]) == 0
    capsys.readouterr()
    assert reference.main([]) == 0
    assert reference.main(["--check"]) == 0
    assert capsys.readouterr().out == "\n"


def test_an_edited_page_is_named_and_mended(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reference.main([])
    page = folder / "topics.md"
    written = page.read_text()
    page.write_text(written + "more\n")
    assert reference.main(["--check"]) == 1
    assert "docs/reference/topics.md is stale: run make docs" in capsys.readouterr().out
    assert reference.main([]) == 0
    assert page.read_text() == written


def test_every_setting_has_a_line_with_its_meaning() -> None:
    rows = [line for line in reference.settings_page().splitlines() if line.startswith("| `")]
    assert len(rows) == len(dataclasses.fields(Settings))
    assert set(reference.MEANINGS) == {field.name for field in dataclasses.fields(Settings)}


def test_a_bar_in_a_cell_does_not_break_the_table() -> None:
    assert reference.table(("a", "b"), [("x | y", "z")]).splitlines()[-1] == "| x \\| y | z |"


@pytest.mark.parametrize(
    ("milliseconds", "text"), [(250, "250ms"), (90_000, "90s"), (7_200_000, "2h"), (172_800_000, "2d")]
)
def test_a_duration_is_shown_as_it_is_written_in_a_setting(milliseconds: int, text: str) -> None:
    assert reference.duration_text(milliseconds) == text
