"""Years of real orders through HTTP, on both shapes, for one worker and for three: one and the same journeys.

Four systems live through the same two data sets. CDNOW (23,570 customers, 69,659 orders) is posted as it is; of
Sparkify two systems get the plain file and two the disturbed one, in which events come twice, shuffled and very late.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import pytest

from schemas.records import header
from schemas.topics import REJECTED, SEGMENT_CHANGES, STAGE_CHANGES
from tests.support.clusters import room
from tests.support.datasets import event_lines, first_orders
from tests.support.poster import batched
from tests.support.servers import KafkaAddress, PostgresAddress
from tests.support.states import Journeys, differing
from tests.support.system import System, Tuning

pytestmark = [pytest.mark.data, pytest.mark.slow, pytest.mark.kafka, pytest.mark.postgres, pytest.mark.timeout(900)]

LONG_AFTER = 1_577_836_800_000
"""2020-01-01: everything that these customers' silence can still change has changed; no test runs before it."""

ORDERS = 69_659
CUSTOMERS = 23_570
SPARKIFY_EVENTS = 8_250

Name = Literal["embedded, one worker", "embedded, three workers", "cluster, one worker", "cluster, three workers"]
NAMES: tuple[Name, ...] = (
    "embedded, one worker",
    "embedded, three workers",
    "cluster, one worker",
    "cluster, three workers",
)
DISTURBED = ("embedded, three workers", "cluster, one worker")
POSTED_AGAIN = ("embedded, one worker", "cluster, three workers")
Counts = dict[str, int]


@dataclass(frozen=True)
class Lived:
    """What one system made of the data. `before` and `again` count what was stored and published after each posting."""

    orders: Counter[str]
    firsts: dict[str, int]
    bought: dict[str, int]
    events: int
    journeys: Journeys
    before: Counts
    again: Counts | None


@pytest.fixture(scope="module")
def lived(
    kafka_server: KafkaAddress, postgres_server: PostgresAddress, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Name], Lived]:
    """What a system made of the data; each lives once, when it is first asked for."""
    known: dict[Name, Lived] = {}

    def live(name: Name) -> Lived:
        if name not in known:
            folder = tmp_path_factory.mktemp("lived")
            tuning = Tuning(workers=3 if "three" in name else 1)
            if name.startswith("embedded"):
                with System(folder, tuning) as system:
                    known[name] = _live(name, system)
            else:
                with room(kafka_server, postgres_server) as cluster, System(folder, tuning, cluster) as system:
                    known[name] = _live(name, system)
        return known[name]

    return live


def _live(name: Name, system: System) -> Lived:
    bodies = [*batched(event_lines("cdnow")), *batched(event_lines("sparkify", perturbed=name in DISTURBED))]
    system.post(bodies)
    system.settle()
    before = _counts(system)
    again = None
    if name in POSTED_AGAIN:
        system.post(bodies)
        system.settle()
        again = _counts(system)
    ordered = (
        "FROM stage_engine_activity WHERE name = 'Order Completed' AND subject LIKE 'user:cdnow-%' GROUP BY subject"
    )
    rows = system.state.rows("stage_engine", f"SELECT subject, count(*), min(occurred_at) {ordered}")
    purchase = "SELECT subject, effective_at FROM stage_engine_transitions WHERE transition = 'purchase'"
    standing = "superseded_at IS NULL AND subject LIKE 'user:cdnow-%'"
    seen = Lived(
        orders=Counter({row[0].removeprefix("user:"): row[1] for row in rows}),
        firsts={row[0].removeprefix("user:"): row[2] for row in rows},
        bought={
            row[0].removeprefix("user:"): row[1]
            for row in system.state.rows("stage_engine", f"{purchase} AND {standing}")
        },
        events=system.state.count("stage_engine", "stage_engine_activity"),
        journeys=system.state.journeys(LONG_AFTER),
        before=before,
        again=again,
    )
    system.drain()
    return seen


def _counts(system: System) -> Counts:
    """Rows of the tables and records of the topics that a repeated event must not touch, and mails."""
    state = system.state
    counts = {
        table: state.count(service, table)
        for service, table in (
            ("stage_engine", "stage_engine_activity"),
            ("stage_engine", "stage_engine_transitions"),
            ("segmenter", "segmenter_activity"),
            ("segmenter", "segmenter_transitions"),
            ("notifier", "notifier_messages"),
        )
    }
    for topic in (STAGE_CHANGES, SEGMENT_CHANGES, REJECTED):
        kinds = Counter(header(record.headers, "ce_type") for record in system.records(topic))
        counts |= {str(kind): number for kind, number in kinds.items() if not str(kind).endswith(".progress")}
    return counts


@pytest.mark.parametrize("name", NAMES)
def test_every_order_is_stored_once(lived: Callable[[Name], Lived], name: Name) -> None:
    seen = lived(name)
    assert seen.orders.total() == ORDERS
    assert len(seen.orders) == CUSTOMERS
    assert seen.events == ORDERS + CUSTOMERS + SPARKIFY_EVENTS


@pytest.mark.parametrize("name", NAMES)
def test_every_customer_becomes_one_with_the_first_order(lived: Callable[[Name], Lived], name: Name) -> None:
    answers = first_orders()
    assert len(answers) == CUSTOMERS
    assert lived(name).firsts == answers
    assert lived(name).bought == answers


@pytest.mark.parametrize("name", NAMES[1:])
def test_journeys_are_equal_on_both_shapes_for_one_worker_and_three_in_any_order_of_arrival(
    lived: Callable[[Name], Lived], name: Name
) -> None:
    first, other = lived(NAMES[0]).journeys, lived(name).journeys
    assert len([key for key in first if key.startswith("stage_engine default user:cdnow-")]) == CUSTOMERS
    assert differing(first, other) == []


@pytest.mark.parametrize("name", POSTED_AGAIN)
def test_posting_everything_again_changes_nothing(lived: Callable[[Name], Lived], name: Name) -> None:
    seen = lived(name)
    assert seen.before["stage_engine_transitions"] > CUSTOMERS
    assert seen.before["parcours.stage.changed"] > CUSTOMERS
    assert seen.again == seen.before


@pytest.mark.parametrize("name", NAMES)
def test_importing_years_of_history_mails_nobody(lived: Callable[[Name], Lived], name: Name) -> None:
    assert lived(name).before["notifier_messages"] == 0
