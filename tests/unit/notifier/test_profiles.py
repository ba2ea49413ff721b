"""Profiles: the latest word on each trait counts, and an address is one that mail can be sent to."""

import json
import random

import pytest

from notifier.domain.profiles import Position, Profile, address_of, greeting_of, locale_of, merge, traits_of
from schemas.records import BadRecord


def at(time: int, sequence: int | None = None, message_id: str = "m") -> Position:
    """A place in the canonical order."""
    return Position(time, sequence is not None, sequence or 0, message_id)


def having(**traits: str | None) -> Profile:
    """A profile."""
    profile: Profile = {}
    merge(profile, traits, at(1))
    return profile


def test_the_order_of_arrival_does_not_matter() -> None:
    places = [at(1), at(2), at(2, message_id="z"), at(2, 0), at(2, 5, "a"), at(2, 5, "b"), at(3)]
    events = [({"email": f"{number}@example.com"}, place) for number, place in enumerate(places)]
    events[3] = ({"name": "Ada"}, places[3])
    for seed in range(50):
        shuffled = random.Random(seed).sample(events, len(events))
        profile: Profile = {}
        for traits, place in (*shuffled, *shuffled[:3]):
            merge(profile, dict(traits), place)
        assert profile == {"email": ("6@example.com", places[6]), "name": ("Ada", places[3])}


def test_merging_says_whether_a_value_changed() -> None:
    profile = having(email="a@example.com")
    assert not merge(profile, {"email": "a@example.com"}, at(2))
    assert merge(profile, {"email": "b@example.com"}, at(3))
    assert not merge(profile, {"email": "c@example.com"}, at(2))
    assert merge(profile, {"email": None}, at(4))
    assert address_of(profile) is None


def test_traits_win_over_those_of_the_context_and_only_the_needed_ones_are_kept() -> None:
    body = {"traits": {"email": " a@example.com ", "plan": "pro"}, "context": {"traits": {"email": "b", "name": "Ada"}}}
    assert traits_of(json.dumps(body).encode()) == {"email": "a@example.com", "name": "Ada"}


@pytest.mark.parametrize("value", [None, 5, True, "", "  ", ["a@example.com"], {"a": 1}])
def test_a_trait_that_is_no_text_takes_back_what_was_said_before(value: object) -> None:
    assert traits_of(json.dumps({"traits": {"email": value}}).encode()) == {"email": None}


@pytest.mark.parametrize("body", [b'{"traits": 5}', b'{"context": null}', b'{"context": {"traits": []}}', b"{}"])
def test_odd_shapes_say_nothing(body: bytes) -> None:
    assert traits_of(body) == {}


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b"\xff"])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadRecord):
        traits_of(body)


@pytest.mark.parametrize(
    ("email", "address"),
    [
        ("ada@example.com", "ada@example.com"),
        ("a.b+c@mail.example.com", "a.b+c@mail.example.com"),
        ("ada@localhost", "ada@localhost"),
        ("ada@bücher.example", "ada@xn--bcher-kva.example"),
        ("ada", None),
        ("@example.com", None),
        ("ada@", None),
        ("ada@exa mple.com", None),
        ("ada@example..com", None),
        ("ada@-example.com", None),
        ("ada\r\nBcc: x@example.com", None),
        ("ada@example.com\r\nBcc: x@example.com", None),
        ("Ada <ada@example.com>", None),
        ("ada@example.com, eve@example.com", None),
        ("adé@example.com", None),
        (".ada@example.com", None),
        ("a" * 65 + "@example.com", None),
        ("ada@" + "a" * 64 + ".com", None),
    ],
)
def test_an_address_is_one_that_mail_can_be_sent_to(email: str, address: str | None) -> None:
    assert address_of(having(email=email)) == address


@pytest.mark.parametrize(
    ("traits", "locale"),
    [
        ({"locale": "fr-CA"}, "fr"),
        ({"locale": "FR_fr"}, "fr"),
        ({"language": "fr"}, "fr"),
        ({"locale": "en-GB", "language": "fr"}, "en"),
        ({"locale": None, "language": "fr"}, "fr"),
        ({"language": "French"}, None),
        ({"locale": "f"}, None),
        ({}, None),
    ],
)
def test_the_language_is_that_of_the_locale_or_the_language_trait(
    traits: dict[str, str | None], locale: str | None
) -> None:
    assert locale_of(having(**traits)) == locale


def test_one_is_greeted_by_the_first_name_or_the_whole_one() -> None:
    assert greeting_of(having(firstName="Ada", name="Ada Lovelace"))["greeting"] == "Ada"
    assert greeting_of(having(name="Ada Lovelace"))["greeting"] == "Ada Lovelace"
    assert greeting_of(having()) == {"first_name": "", "name": "", "greeting": ""}
