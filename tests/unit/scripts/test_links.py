"""The link check finds the links that lead nowhere, and only those."""

from pathlib import Path

import pytest

from scripts.links import anchors, broken_links, markdown_files

PAGE = """# The `first` page: an [index](other.md)

## A part
## A part
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "other.md").write_text(PAGE)
    return tmp_path


@pytest.mark.parametrize(
    "line",
    [
        "[a](missing.md)",
        "see [a](other.md) and [b](sub/missing.md)",
        "[a](other.md#no-such-part)",
        "[a](#nothing-here)",
        "![a picture](missing.png)",
        "[a]: missing.md",
        '[a](missing.md "with a title")',
        "see `tests/no-such-folder/`",
        "run `make no-such-target`",
    ],
)
def test_a_link_that_leads_nowhere_is_found_with_its_line(folder: Path, line: str) -> None:
    page = folder / "page.md"
    page.write_text(f"# Page\n\n{line}\n")
    assert [number for number, _ in broken_links(page)] == [3]


@pytest.mark.parametrize(
    "line",
    [
        "[a](other.md)",
        "[a](other.md#a-part-1)",
        "[a](#page)",
        "[a](https://example.org/missing)",
        "[a](mailto:someone@example.org)",
        "`[a](missing.md)`",
        "```\n[a](missing.md)\n```",
        "[a]: other.md",
        "see `tests/unit/`, `https://example.org/a` and `parcours.stage-changes`",
        "run `make test ARGS=-q`, then `curl`",
    ],
)
def test_a_link_that_leads_somewhere_is_left_alone(folder: Path, line: str) -> None:
    page = folder / "page.md"
    page.write_text(f"# Page\n\n{line}\n")
    assert list(broken_links(page)) == []


def test_headings_become_anchors_and_repeated_ones_are_numbered() -> None:
    assert anchors(PAGE) == {"the-first-page-an-index", "a-part", "a-part-1"}


def test_the_readme_and_the_docs_are_among_the_files_checked() -> None:
    assert {"README.md", "glossary.md"} <= {path.name for path in markdown_files()}
