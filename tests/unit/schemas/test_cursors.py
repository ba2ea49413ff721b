"""Cursors bring a list back to where it stopped, and nothing else."""

from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.cursors import Cursors
from schemas.problems import ProblemError

PAGES = Cursors(b"secret").of("customers", "default")
steadily = settings(derandomize=True, deadline=None, database=None)


class At(NamedTuple):
    """A place of several parts."""

    time: int
    sequence: int | None
    name: str


def refused(cursor: str) -> bool:
    try:
        PAGES.read(cursor, str)
    except ProblemError as refusal:
        return refusal.code == "bad_cursor"
    return False


@steadily
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_place_comes_back_as_it_was_written(name: str) -> None:
    cursor = PAGES.write(name)
    assert cursor.isascii()
    assert PAGES.read(cursor, str) == name


def test_a_place_of_several_parts_comes_back_with_all_of_them() -> None:
    for place in (At(5, None, "m1"), At(5, -3, "m1")):
        assert PAGES.read(PAGES.write(place), At) == place


def test_no_cursor_is_no_place() -> None:
    assert PAGES.read(None, str) is None


@steadily
@given(st.text(max_size=30), st.data())
def test_a_cursor_that_differs_in_one_character_is_refused(name: str, data: st.DataObject) -> None:
    cursor = PAGES.write(name.encode("utf-8", "replace").decode())
    place = data.draw(st.integers(0, len(cursor) - 1))
    other = data.draw(st.sampled_from("ABab01-_.=").filter(lambda sign: sign != cursor[place]))
    assert refused(cursor[:place] + other + cursor[place + 1 :])


@pytest.mark.parametrize(
    "cursor", ["", "!", "é", "eyJh", PAGES.write("ada")[:-1], PAGES.write("ada") + "=", PAGES.write(5), "A" * 5_000]
)
def test_anything_else_is_refused(cursor: str) -> None:
    assert refused(cursor)


def test_cursors_of_other_systems_lists_and_workspaces_are_refused() -> None:
    for foreign in (
        Cursors(b"other").of("customers", "default"),
        Cursors(b"secret").of("members", "default"),
        Cursors(b"secret").of("customers", "other"),
    ):
        assert refused(foreign.write("ada"))
