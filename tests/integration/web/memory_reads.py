"""Facts for the pages, folded in memory from the demonstration's population: what the stores would answer."""

from collections import Counter
from collections.abc import Sequence

from behavior import Definition, Event, Transition, compile_definition, fold
from behavior.explain import explain
from behavior.state import State
from behavior.transitions import CLOCK
from schemas.language import load_definition
from services.demo.life import Customer
from services.demo.population import population
from services.web.catalog import Catalog
from services.web.facts import (
    ActivityFact,
    ChangeFact,
    CheckFact,
    CustomerFacts,
    EvidenceFact,
    ExplanationFact,
    MemberFact,
    MessageFact,
    Place,
    StageCount,
    WayFact,
)
from tests.unit.demo.models import DEFAULT


class MemoryReads:
    """A `PageReads` of a population whose stories end at `now`."""

    def __init__(self, customers: int, seed: int, now: int) -> None:
        definition = load_definition(DEFAULT.read_bytes())
        self.now = now
        self.catalog = Catalog([definition])
        self.model: Definition = compile_definition(definition)
        self.people: dict[str, Customer] = {}
        self.folded: dict[str, tuple[State, list[Transition]]] = {}
        for person in population(customers, seed, now) if customers else ():
            identifier = f"anon:{person.id}" if person.anonymous else person.id
            events = [
                Event(act.at, f"{number:06}", "Page Viewed" if act.call == "page" else act.name, None, act.properties)
                for number, act in enumerate(person.acts)
            ]
            self.people[identifier] = person
            self.folded[identifier] = fold(self.model, events, now)

    def _places(self, identifier: str) -> list[MemberFact]:
        state, _ = self.folded[identifier]
        return [
            MemberFact(identifier, Place("default", track.name, here.stage), here.since, here.visit, here.reason)
            for track, here in zip(self.model.tracks, state.tracks, strict=True)
        ]

    def counts(self) -> Sequence[StageCount]:
        """Customers per stage."""
        found = Counter(fact.place for identifier in self.folded for fact in self._places(identifier))
        return [StageCount(place, number) for place, number in found.items()]

    def members(self, place: Place, after: str | None, limit: int) -> Sequence[MemberFact]:
        """Customers in a stage."""
        facts = [fact for identifier in sorted(self.folded) for fact in self._places(identifier)]
        return [fact for fact in facts if fact.place == place and fact.customer > (after or "")][:limit]

    def find(self, query: str, after: str | None, limit: int) -> Sequence[MemberFact]:
        """Customers by a part of their id."""
        found = [identifier for identifier in sorted(self.folded) if query in identifier and identifier > (after or "")]
        return [self._places(identifier)[0] for identifier in found[:limit]]

    def _changes(self, identifier: str) -> list[ChangeFact]:
        return [
            ChangeFact(identifier, "default", t.track, t.from_, t.to, t.transition, t.reason, t.at, t.step)
            for t in self.folded[identifier][1]
        ]

    def latest(self, limit: int) -> Sequence[ChangeFact]:
        """The latest changes."""
        every = [change for identifier in self.folded for change in self._changes(identifier) if change.source]
        return sorted(every, key=lambda change: change.effective_at, reverse=True)[:limit]

    def messages(self, customer: str | None, limit: int) -> Sequence[MessageFact]:
        """Made-up messages about the entries of two stages."""
        found = [
            MessageFact(
                change.customer,
                "welcome",
                "sent" if number % 3 else "suppressed",
                None if number % 3 else "no_address",
                "Welcome, and how to begin" if number % 3 else None,
                "Hello,\n\nhow good that you are here.\n" if number % 3 else None,
                change.effective_at,
            )
            for number, change in enumerate(self.latest(10_000))
            if change.target in ("adoption", "at_risk") and customer in (None, change.customer)
        ]
        return found[:limit]

    def customer(self, identifier: str) -> CustomerFacts | None:
        """One customer."""
        person = self.people.get(identifier)
        if person is None:
            return None
        state, _ = self.folded[identifier]
        activity = [
            ActivityFact("Page Viewed" if act.call == "page" else act.name, act.at, act.properties)
            for act in person.acts
        ]
        traits = {key: value for act in person.acts if act.call == "identify" for key, value in act.properties.items()}
        whys = tuple(
            ExplanationFact(
                Place("default", track.track, track.stage),
                track.since,
                track.visit,
                track.reason,
                track.entered_by.transition,
                track.entered_by.cause == CLOCK,
                tuple(
                    EvidenceFact(activity[int(m)].name, activity[int(m)].occurred_at) for m in track.entered_by.evidence
                ),
                tuple(
                    WayFact(
                        way.id,
                        way.to,
                        way.kind == "event",
                        way.holds,
                        None if way.holds else way.until,
                        tuple(CheckFact(c.words, c.holds, c.present, c.needed, c.group) for c in way.checklist),
                    )
                    for way in track.transitions
                ),
            )
            for track in explain(self.model, state, self.now).tracks
        )
        places, changes = self._places(identifier), self._changes(identifier)
        return CustomerFacts(identifier, traits, places, (), changes, activity, True, whys)
