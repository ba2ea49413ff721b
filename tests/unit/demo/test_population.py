"""The demonstration's population: the same for each seed, inside half a year, and in all ten stages at the end."""

from collections import Counter

import pytest

from behavior import Event, compile_definition, fold
from schemas.language import load_definition
from services.demo.life import Customer
from services.demo.personas import PERSONAS
from services.demo.population import MINIMUM, STORY, population
from services.demo.poster import in_order_of_posting
from tests.unit.demo.models import DEFAULT

END = 1_795_358_000_000
MODEL = compile_definition(load_definition(DEFAULT.read_bytes()))
NAMES = {"page": "Page Viewed"}


def stage_of(person: Customer) -> str:
    """The stage in which the machine finds a customer at the end of the story."""
    events = [
        Event(act.at, f"{number:06}", NAMES.get(act.call, act.name), None, dict(act.properties))
        for number, act in enumerate(person.acts)
    ]
    state, _ = fold(MODEL, events, END)
    return state.tracks[0].stage


@pytest.mark.parametrize(("customers", "seed"), [(MINIMUM, 1), (MINIMUM, 2), (12, 3), (40, 4), (300, 7)])
def test_all_ten_stages_are_occupied_whatever_the_size_and_the_seed(customers: int, seed: int) -> None:
    people = population(customers, seed, END)
    assert len(people) == customers
    assert len({person.id for person in people}) == customers
    assert {stage_of(person) for person in people} == {persona.ends_in for persona in PERSONAS}
    assert len({persona.ends_in for persona in PERSONAS}) == 10


def test_every_kind_of_customer_ends_in_the_stage_it_is_written_for() -> None:
    meant = {persona.name: persona.ends_in for persona in PERSONAS}
    ends = Counter((person.persona, stage_of(person)) for person in population(300, 7, END))
    strays = {key: number for key, number in ends.items() if meant[key[0]] != key[1]}
    assert strays == {}
    assert len({persona for persona, _ in ends}) == len(PERSONAS)


def test_a_seed_gives_one_population() -> None:
    assert population(50, 7, END) == population(50, 7, END)
    assert population(50, 7, END) != population(50, 8, END)


def test_nothing_happens_after_the_end_or_before_half_a_year_earlier() -> None:
    for person in population(300, 7, END):
        times = [act.at for act in person.acts]
        assert times == sorted(times)
        assert times[0] >= END - STORY
        assert times[-1] < END


def test_known_customers_have_an_address_that_reaches_nobody() -> None:
    addresses = [
        str(act.properties["email"])
        for person in population(300, 7, END)
        for act in person.acts
        if act.call == "identify"
    ]
    assert len(addresses) > 200
    assert all(address.endswith("@example.com") and address.isascii() for address in addresses)


def test_each_customer_is_posted_in_order_of_time_and_offline_devices_come_last() -> None:
    acts = in_order_of_posting(population(300, 7, END))
    late = [act.late for _, act in acts]
    assert late == sorted(late)
    assert any(late)
    seen: dict[str, int] = {}
    for person, act in acts:
        if not act.late:
            assert seen.get(person.id, 0) <= act.at
            seen[person.id] = act.at


def test_fewer_customers_than_stages_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 10"):
        population(MINIMUM - 1, 7, END)
