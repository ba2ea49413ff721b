"""One customer's life as a list of acts: what a tracking SDK would have sent, and when. Pure and seeded."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from schemas.times import DAY, MINUTE

__all__ = ["Act", "Customer", "Life"]

FEATURES = ("planner", "reports", "sharing", "reminders", "templates", "calendar", "import")
PRODUCTS = (("Seed box", 24.9), ("Moisture sensor", 39.0), ("Pruning kit", 54.5), ("Grow light", 89.0))
HELP = ("connect sensor", "import plan", "invite family", "pair the app", "reset device")


@dataclass(frozen=True, slots=True)
class Act:
    """One call of the SDK. `at` is in ms; `late` acts are posted after everybody else's (a device was offline)."""

    at: int
    call: Literal["track", "identify", "page"]
    name: str
    properties: Mapping[str, object] = field(default_factory=dict)
    late: bool = False


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer with a life: `id` is a user id, or an anonymous id when `anonymous`. Acts are in order of time."""

    id: str
    persona: str
    anonymous: bool
    acts: tuple[Act, ...]


class Life:
    """Builds one customer's acts. Times are given as days before the end of the story, and never lie after it."""

    def __init__(self, rng: random.Random, end: int) -> None:
        """`end` is the instant (ms) at which the story ends; `rng` decides everything that is left to chance."""
        self.rng = rng
        self._end = end
        self._acts: list[Act] = []

    def _at(self, days_ago: float) -> int:
        return self._end - max(MINUTE, round(days_ago * DAY))

    def track(self, days_ago: float, event: str, *, late: bool = False, **properties: object) -> None:
        """The customer does `event`, `days_ago` days before the end."""
        self._acts.append(Act(self._at(days_ago), "track", event, properties, late))

    def identify(self, days_ago: float, traits: Mapping[str, object]) -> None:
        """The customer tells who they are."""
        self._acts.append(Act(self._at(days_ago), "identify", "$identify", traits))

    def visit(self, days_ago: float, page: str) -> None:
        """The customer looks at a page."""
        self._acts.append(Act(self._at(days_ago), "page", page, {"path": "/" + page.lower().replace(" ", "-")}))

    def looks_around(self, first: float, last: float, interests: int) -> None:
        """Between `first` and `last` days ago: a visit, then `interests` acts of comparing and reading."""
        self.visit(first, "Home")
        for index in range(interests):
            at = first - (first - last) * (index + 1) / max(1, interests)
            event = self.rng.choice(("Product Viewed", "Review Read", "Pricing Viewed", "Products Searched"))
            self.track(at, event, product=self.rng.choice(PRODUCTS)[0])

    def buys(self, days_ago: float) -> None:
        """An order of one product."""
        product, price = self.rng.choice(PRODUCTS)
        self.track(days_ago, "Order Completed", product=product, revenue=price, currency="EUR")

    def searches_help(self, days_ago: float, times: int) -> None:
        """Looks for help to set the product up, `times` times within a day and a half."""
        for index in range(times):
            query = self.rng.choice(HELP)
            if index % 2:
                self.track(days_ago - index * 0.25, "Help Article Viewed", topic=query)
            else:
                self.track(days_ago - index * 0.25, "Help Searched", query=query)

    def uses(self, days_ago: float, feature: str | None = None, *, late: bool = False) -> None:
        """Signs in and uses one feature."""
        self.track(days_ago, "Signed In", late=late)
        self.track(days_ago - 0.005, "Feature Used", late=late, feature=feature or self.rng.choice(FEATURES))

    def uses_regularly(self, first: float, last: float, every: float = 3.5) -> None:
        """Uses the product from `first` to `last` days ago, about every `every` days."""
        at = first
        while at > last:
            self.uses(at)
            at -= every + self.rng.uniform(-0.15, 0.15) * every
        self.uses(last)

    def becomes_customer(self, days_ago: float, traits: Mapping[str, object]) -> None:
        """Reads, starts the checkout, opens an account with a name and address, and buys at `days_ago`."""
        lead = self.rng.uniform(4, 9)
        self.looks_around(days_ago + lead, days_ago + 1, self.rng.randint(2, 4))
        self.track(days_ago + 0.4, "Checkout Started", value=59.0)
        self.identify(days_ago + 0.3, traits)
        self.track(days_ago + 0.29, "Signed In")
        if self.rng.random() < 0.5:
            self.buys(days_ago)
        else:
            self.track(days_ago, "Subscription Started", plan="plus", mrr=9.0)

    def sets_up(self, days_ago: float) -> None:
        """Gets the product to work: three features on three days, which is what counts as activated."""
        self.track(days_ago, "Setup Started")
        if self.rng.random() < 0.6:
            self.searches_help(days_ago - 0.1, self.rng.randint(1, 2))
        self.track(days_ago - 0.6, "Setup Completed")
        first, second, third = self.rng.sample(FEATURES, 3)
        self.uses(days_ago - 0.7, first)
        self.uses(days_ago - 1.8, second)
        self.uses(days_ago - 3.1, third)

    def joins_rewards(self, days_ago: float, until: float) -> None:
        """Enrols in the reward program and collects points about every week until `until` days ago."""
        self.track(days_ago, "Loyalty Enrolled")
        self.track(days_ago - 0.1, "Profile Completed")
        at = days_ago - 6
        while at > until:
            self.track(at, "Points Earned", points=self.rng.randint(1, 6) * 10)
            at -= self.rng.uniform(6, 12)
        if days_ago - until > 60:
            self.track(until + 2, "Reward Redeemed", reward="free delivery")

    def finish(self) -> tuple[Act, ...]:
        """The acts in order of time."""
        return tuple(sorted(self._acts, key=lambda act: act.at))
