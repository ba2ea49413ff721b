"""Cursors bring a list back to where it stopped, and nothing else."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.problems import ProblemError
from stage_engine.cursors import read_cursor, write_cursor
from tracks.reads import ActivityPlace

steadily = settings(derandomize=True, deadline=None, database=None)


@steadily
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_place_comes_back_as_it_was_written(name: str) -> None:
    cursor = write_cursor(name)
    assert cursor.isascii()
    assert read_cursor(cursor, str) == name


def test_a_place_in_an_activity_comes_back_with_all_its_parts() -> None:
    for place in (ActivityPlace(5, None, "m1"), ActivityPlace(5, -3, "m1")):
        assert read_cursor(write_cursor(place), ActivityPlace) == place


def test_no_cursor_is_no_place() -> None:
    assert read_cursor(None, str) is None


@pytest.mark.parametrize("cursor", ["", "!", "é", "eyJh", write_cursor(5), "A" * 5_000])
def test_anything_else_is_refused(cursor: str) -> None:
    with pytest.raises(ProblemError) as refusal:
        read_cursor(cursor, str)
    assert refusal.value.code == "bad_cursor"
