"""An event under another name folds as the event itself: at once, late, anew, and where it was stored long before."""

from behavior import Names, compile_definition
from schemas.times import DAY, parse_instant
from services.storage.database import Database
from tests.integration.tracks.harness import Arrived, Driver, processor_of
from tests.support.models import definition, definition_file

T0 = parse_instant("2025-01-01T00:00:00.000Z")
ADA = "user:ada"
NAMES = Names({"purchase": "Order Completed", "begin_checkout": "Checkout Started"})
NAMED = compile_definition(definition_file("default"), NAMES)
PLAIN = definition("default")


def event(message_id: str, name: str, days: float) -> Arrived:
    return Arrived(ADA, message_id, name, T0 + round(days * DAY))


def way(driver: Driver) -> list[str]:
    """The transitions of the primary track that stand."""
    return [row.transition for row in driver.rows(ADA) if row.track == "stage" and row.superseded_at is None]


def test_it_changes_the_stage_at_once_and_is_its_cause(database: Database) -> None:
    driver = Driver(database, processor_of(NAMED))
    driver.post([event("m1", "Page Viewed", 0), event("m2", "begin_checkout", 1)])
    driver.post([event("m3", "purchase", 2)])
    assert way(driver) == ["initial", "intent", "purchase"]
    assert [row.cause for row in driver.rows(ADA) if row.transition == "purchase"] == ["m3"]
    driver.check_state(ADA)


def test_it_repairs_the_journey_when_it_comes_late(database: Database) -> None:
    driver = Driver(database, processor_of(NAMED))
    driver.post([event("m1", "Page Viewed", 0), event("m3", "Page Viewed", 9)])
    driver.post([event("m2", "purchase", 4)])
    assert way(driver)[-1] == "purchase"
    assert driver.activity(ADA) == ["m1", "m2", "m3"]
    driver.check_state(ADA)


def test_what_was_stored_before_anybody_knew_the_name_counts_from_the_next_event_on(database: Database) -> None:
    before = Driver(database, processor_of(PLAIN))
    before.post([event("m1", "Page Viewed", 0), event("m2", "purchase", 1)])
    assert way(before) == ["initial"]
    after = Driver(database, processor_of(NAMED))
    after.post([event("m3", "Page Viewed", 2)])
    assert way(after) == ["initial", "purchase"]
    after.check_state(ADA)
