"""One message id with two contents: the first recorded stands, is flagged, and the case is counted."""

from dataclasses import replace

import msgspec
import pytest

from schemas.records import StoredRecord
from schemas.times import MINUTE, parse_instant
from services.storage.database import Database
from tests.integration.tracks.harness import Arrived, Driver, processor_of, record_of
from tests.support.models import definition
from tracks.store import DUPLICATE_ID_CONFLICTS

T0 = parse_instant("2025-01-01T00:00:00.000Z")
SENT = Arrived("user:ada", "m1", "Signed In", T0)
OTHER = Arrived("user:ada", "m1", "Signed In", T0, {"plan": "pro"})


def driver_of(database: Database) -> Driver:
    return Driver(database, processor_of(definition("default")))


def body(sent_at: str, plan: str = "free") -> bytes:
    return b'{"properties":{"plan":"%s"},"_metadata":{"at":"%s"},"sentAt":"%s"}' % (
        plan.encode(),
        sent_at.encode(),
        sent_at.encode(),
    )


def rows(driver: Driver, subject: str = "user:ada") -> list[tuple[str, bytes, str]]:
    with driver.database.reading() as reading:
        found = driver.store.load_history(reading, [("default", subject)])["default", subject]
    return sorted((row.message_id, row.body, row.flags) for row in found)


def tries(*bodies: bytes) -> list[StoredRecord]:
    return [record_of(SENT, offset, body=each) for offset, each in enumerate(bodies)]


@pytest.mark.parametrize("together", [True, False])
def test_an_honest_retry_whose_sent_at_is_new_is_no_conflict(database: Database, together: bool) -> None:
    driver = driver_of(database)
    first, second = tries(body("10:00:00"), body("10:00:02"))
    for batch in [[first, second]] if together else [[first], [second]]:
        driver.post(batch)
    assert rows(driver) == [("m1", body("10:00:00"), "")]
    assert driver.count(DUPLICATE_ID_CONFLICTS) == driver.processor.conflicts == 0


@pytest.mark.parametrize("together", [True, False])
def test_the_first_content_stands_and_is_flagged_once(database: Database, together: bool) -> None:
    driver = driver_of(database)
    records = tries(body("10:00:00"), body("10:00:02", "pro"), body("10:00:04", "team"))
    for batch in [records] if together else [[each] for each in records]:
        driver.post(batch)
    assert rows(driver) == [("m1", body("10:00:00"), "duplicate_id_conflict")]
    assert driver.count(DUPLICATE_ID_CONFLICTS) == driver.processor.conflicts == 2


def test_a_conflict_within_a_batch_flags_the_event_that_was_stored_before(database: Database) -> None:
    driver = driver_of(database)
    driver.post(tries(body("10:00:00")))
    driver.post(tries(body("10:00:01"), body("10:00:02", "pro")))
    assert rows(driver) == [("m1", body("10:00:00"), "duplicate_id_conflict")]
    assert driver.count(DUPLICATE_ID_CONFLICTS) == 1


def test_the_same_content_under_another_event_name_is_a_conflict(database: Database) -> None:
    driver = driver_of(database)
    driver.post([SENT])
    driver.post([replace(SENT, name="Signed Up")])
    assert driver.count(DUPLICATE_ID_CONFLICTS) == 1


def test_a_flag_of_the_door_is_kept_beside_it(database: Database) -> None:
    driver = driver_of(database)
    record = record_of(SENT, 0)
    driver.post([msgspec.structs.replace(record, headers=(*record.headers, ("ce_flags", b"clock_skew")))])
    driver.post([OTHER])
    ((_, _, flags),) = rows(driver)
    assert flags == "clock_skew,duplicate_id_conflict"


def test_one_id_of_two_customers_is_two_events(database: Database) -> None:
    driver = driver_of(database)
    driver.post([SENT, replace(OTHER, subject="user:bob")])
    driver.post([replace(OTHER, subject="user:bob", at=T0 + MINUTE)])
    assert driver.count(DUPLICATE_ID_CONFLICTS) == 0
    assert [len(rows(driver, subject)) for subject in ("user:ada", "user:bob")] == [1, 1]
