"""Rows and published changes say the same."""

import msgspec

from behavior import Transition
from schemas.changes import Because, TrackChange, TrackCorrected
from tests.support.models import definition
from tracks.domain.changes import Journey, change_of, encode_change, encode_correction
from tracks.domain.corrections import append
from tracks.domain.rows import TransitionRow

JOURNEY = Journey("default", "user:ada", 3, definition("default"), 1_750_000_000_000)


def rows() -> list[TransitionRow]:
    actions = ({"notify": "welcome"}, {"milestone": "customer"})
    return append(
        JOURNEY,
        [],
        [
            Transition("stage", 0, 0, None, "awareness", "initial", 1, 1_000, None, "m1", ("m1",), (), ()),
            Transition(
                "stage", 1, 0, "awareness", "adoption", "purchase", 1, 1_001, "é\u2028", "m2", ("m2",), ("m2",), actions
            ),
            Transition(
                "stage", 0, 2, "adoption", "at_risk", "never_starts", 2, 9_000, "faded", "clock", (), ("m2",), ()
            ),
        ],
    )


def test_the_bytes_of_a_change_are_those_of_the_contract() -> None:
    for row in rows():
        assert encode_change(row) == msgspec.json.encode(change_of(row))
        assert msgspec.json.decode(encode_change(row), type=TrackChange, strict=True) == change_of(row)


def test_the_bytes_of_a_correction_are_those_of_the_contract() -> None:
    first, second, third = rows()
    expected = TrackCorrected(
        workspace="default",
        subject="user:ada",
        lifecycle="default",
        recorded_at="2025-06-15T15:06:40.000Z",
        cause="m9",
        retracted=(change_of(first),),
        added=(change_of(second), change_of(third)),
    )
    assert encode_correction(JOURNEY, "m9", [first], [second, third]) == msgspec.json.encode(expected)


def test_a_change_says_what_caused_it() -> None:
    first, second, third = (change_of(row) for row in rows())
    assert first.because == Because("event", ("m1",), ())
    assert second.because == Because("event", ("m2",), ("m2",))
    assert third.because == Because("clock", (), ("m2",))
    assert second.actions == ({"notify": "welcome"}, {"milestone": "customer"})
    assert (third.effective_at, third.version) == ("1970-01-01T00:00:09.000Z", 1)
