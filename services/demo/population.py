"""A population of customers who live half a year and end in all ten stages of `default.yaml`. Pure and seeded."""

import random
from collections.abc import Iterator

from schemas.times import DAY
from services.demo.life import Customer, Life
from services.demo.personas import PERSONAS, Persona

__all__ = ["MINIMUM", "STORY", "population"]

MINIMUM = 10
"""The smallest population: one customer for each of the ten stages."""

STORY = 182 * DAY
"""How long the story is, in ms."""

_FIRST = (
    "Ada Aisha Alba Amara Anouk Arjun Aurélie Ben Camille Chloé Dara Diego Elif Emma Farid Freya Giulia Hana Hugo Ida "
    "Imani Inès Ivan Jonas Kaori Lars Leïla Lin Louise Luca Maë Malik Marta Mateo Mina Nadia Nils Noor Olga Oscar Paul "
    "Petra Quentin Rosa Sami Sofia Tariq Théo Uma Victor Wanda Yara Yusuf Zoé"
).split()
_LAST = (
    "Adeyemi Arnaud Bauer Berger Castro Chen Dubois Eriksen Ferrari Fontaine Garnier Haddad Hansen Ito Jansen Kaya "
    "Kowalski Lambert Lopes Marchetti Mercier Moreau Nakamura Novak Okafor Olsen Park Perrin Petit Rossi Roux Santos "
    "Schmidt Silva Singh Tanaka Vidal Weber Yilmaz Zhang"
).split()
_PLAIN = str.maketrans("éèêëïîôöüûàâçÉ", "eeeeiioouuaacE")


def _names(rng: random.Random) -> Iterator[tuple[str, str]]:
    """Distinct (id, name) pairs: people of the same name get a number."""
    pairs = [(first, last) for first in _FIRST for last in _LAST]
    rng.shuffle(pairs)
    number = 1
    while True:
        for first, last in pairs:
            slug = f"{first}.{last}".lower().translate(_PLAIN)
            yield (slug if number == 1 else f"{slug}.{number}"), f"{first} {last}"
        number += 1


def _traits(rng: random.Random, identifier: str, name: str) -> dict[str, object]:
    return {
        "name": name,
        "email": f"{identifier}@example.com",
        "locale": rng.choice(("en", "en", "fr")),
        "plan": rng.choice(("basic", "plus", "family")),
        "country": rng.choice(("FR", "DE", "NL", "US", "CA", "JP")),
    }


def _shares(customers: int) -> list[Persona]:
    """One persona per customer: the first ten once each, the rest by share (largest remainders first)."""
    chosen = list(PERSONAS[:MINIMUM])
    given = {persona.name: 1 for persona in chosen}
    while len(chosen) < customers:
        behind = max(PERSONAS, key=lambda p: p.share * (len(chosen) + 1) - given.get(p.name, 0))
        given[behind.name] = given.get(behind.name, 0) + 1
        chosen.append(behind)
    return chosen


def population(customers: int, seed: int, end: int) -> list[Customer]:
    """`customers` customers (at least `MINIMUM`) whose stories end at the instant `end` (ms), the same for each seed.

    Raises ValueError for fewer than `MINIMUM`.
    """
    if customers < MINIMUM:
        raise ValueError(f"A population needs at least {MINIMUM} customers: one for each stage.")
    rng = random.Random(seed)
    personas = _shares(customers)
    rng.shuffle(personas)
    people: list[Customer] = []
    for persona, (identifier, name) in zip(personas, _names(rng), strict=False):
        anonymous = rng.random() < persona.anonymous
        life = Life(rng, end)
        persona.live(life, _traits(rng, identifier, name))
        person = f"{rng.getrandbits(64):016x}" if anonymous else identifier
        people.append(Customer(person, persona.name, anonymous, life.finish()))
    return people
