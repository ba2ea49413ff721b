"""What the machine costs per event: a seeded population on a shipped definition, against next to nothing.

Run it as `python -m bench.machine [definition.yaml]`. It prints CPU microseconds per event and the ratio to a floor: a
loop over the same events that only looks up the event's name.
"""

import argparse
import random
from collections.abc import Callable
from pathlib import Path
from time import process_time

from behavior import Definition, Event, State, advance, apply, compile_definition
from schemas.language import load_definition
from schemas.times import DAY, HOUR, MINUTE, parse_instant

__all__ = ["main", "population"]

_START = parse_instant("2025-01-01T00:00:00.000Z")
_HABITS: dict[str, list[str]] = {
    "visitor": ["Page Viewed"] * 6
    + ["Product Viewed"] * 3
    + ["Pricing Viewed", "Products Searched", "Campaign Clicked"],
    "buyer": ["Page Viewed"] * 4
    + ["Product Viewed"] * 4
    + ["Product Added", "Checkout Started", "Order Completed"] * 2,
    "user": ["Signed In"] * 6
    + ["Feature Used"] * 8
    + ["Help Searched", "Setup Completed", "Order Completed", "Error Shown"],
    "member": [
        "Order Completed",
        "Loyalty Enrolled",
        "Points Earned",
        "Signed In",
        "Reward Redeemed",
        "Email Delivered",
    ],
}


def population(customers: int, events_each: int, seed: int) -> list[tuple[int, Event]]:
    """(customer, event) pairs in order of time: half a year of habits, raw JSON as the door would pass it on."""
    dice = random.Random(seed)
    made: list[tuple[int, Event]] = []
    for customer in range(customers):
        habit = _HABITS[dice.choice(list(_HABITS))]
        at = _START + dice.randrange(90 * DAY)
        for number in range(events_each):
            at += dice.choice(
                [dice.randrange(MINUTE), dice.randrange(HOUR), dice.randrange(DAY), dice.randrange(12 * DAY)]
            )
            name = dice.choice(habit)
            raw = b'{"type":"track","properties":{"feature":"%d","revenue":%d}}' % (
                dice.randrange(5),
                dice.randrange(200),
            )
            made.append((customer, Event(at, f"{customer:08d}-0000-4000-8000-{number:012d}", name, raw=raw)))
    made.sort(key=lambda pair: pair[1].at)
    return made


def _timed(work: Callable[[], None], events: int) -> float:
    start = process_time()
    work()
    return (process_time() - start) / events * 1e6


def _measure(definition: Definition, events: list[tuple[int, Event]], customers: int) -> None:
    states = [State.new(definition) for _ in range(customers)]
    counts = {"transitions": 0, "bytes": 0}
    stored: list[bytes] = []

    def floor() -> None:
        for _customer, event in events:
            definition.plans.get(event.name)

    def run() -> None:
        for customer, event in events:
            counts["transitions"] += len(apply(definition, states[customer], event.at, (event,)))

    def dump() -> None:
        for customer, _event in events:
            counts["bytes"] += len(states[customer].dump())

    def load() -> None:
        for customer, _event in events:
            State.load(definition, stored[customer])

    lowest = _timed(floor, len(events))
    fold = _timed(run, len(events))
    dumping = _timed(dump, len(events))
    stored += [state.dump() for state in states]
    loading = _timed(load, len(events))
    end = events[-1][1].at + 400 * DAY
    silence = process_time()
    for state in states:
        counts["transitions"] += len(advance(definition, state, end))
    print(
        f"definition        {definition.name} ({definition.hash[:12]}), {len(events)} events of {customers} customers"
    )
    print(f"floor             {lowest:8.2f} µs per event (looks up the event's name)")
    print(f"fold              {fold:8.2f} µs per event, {fold / lowest:.0f} x the floor")
    print(f"dump              {dumping:8.2f} µs, {counts['bytes'] / len(events):.0f} bytes")
    print(f"load              {loading:8.2f} µs")
    print(f"400 silent days   {(process_time() - silence) / customers * 1e6:8.2f} µs per customer")
    print(f"transitions       {counts['transitions'] / customers:8.2f} per customer")


def main(arguments: list[str] | None = None) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description="CPU microseconds per event of the machine alone.")
    parser.add_argument("definition", nargs="?", default="definitions/lifecycles/default.yaml")
    parser.add_argument("--customers", type=int, default=2_000)
    parser.add_argument("--events", type=int, default=40, help="events of each customer")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    source = Path(options.definition)
    definition = compile_definition(load_definition(source.read_bytes(), source.name))
    events = population(options.customers, options.events, options.seed)
    _measure(definition, events, options.customers)


if __name__ == "__main__":
    main()
