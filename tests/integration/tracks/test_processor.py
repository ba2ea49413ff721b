"""What the processor does with late, repeated, wrong and missing things, on both databases."""

import dataclasses

import pytest

from schemas.records import StoredRecord
from schemas.times import DAY, HOUR, MINUTE, SECOND, parse_instant
from services.storage.database import Database
from tests.integration.tracks.harness import (
    NOW,
    Arrived,
    Driver,
    engine_of,
    expected,
    processor_of,
    record_of,
    standing_of,
    tables,
)
from tests.support.models import definition
from tracks.folds import STUCK_SUBJECTS
from tracks.handler import TrackProcessor
from tracks.store import DUPLICATE_ID_CONFLICTS, TrackStore

T0 = parse_instant("2025-01-01T00:00:00.000Z")
ADA = "user:ada"


def at(days: float) -> int:
    return T0 + round(days * DAY)


def event(message_id: str, name: str, days: float, subject: str = ADA, **properties: object) -> Arrived:
    return Arrived(subject, message_id, name, at(days), properties)


@pytest.fixture
def driver(database: Database) -> Driver:
    return Driver(database, processor_of(definition("default")))


def stage(driver: Driver, subject: str = ADA) -> str:
    return driver.stages(subject)["default", "stage"].stage


def kinds(driver: Driver) -> list[str]:
    return [kind for kind, _ in driver.published()]


def test_an_event_in_order_changes_the_stage_at_once(driver: Driver) -> None:
    driver.post([event("m1", "Page Viewed", 0), event("m2", "Order Completed", 1)])
    assert stage(driver) == "adoption"
    changes = [data for _, data in driver.published()]
    assert [(each["track"], each["from"], each["to"], each["revision"]) for each in changes] == [
        ("stage", None, "awareness", 1),
        ("rewards", None, "outside", 1),
        ("stage", "awareness", "adoption", 1),
    ]
    assert changes[2]["because"] == {"kind": "event", "message_ids": ["m2"], "evidence": ["m2"]}
    assert changes[2]["actions"] == [{"notify": "welcome"}, {"milestone": "customer"}]
    assert changes[2]["effective_at"] == "2025-01-02T00:00:00.000Z"
    assert driver.outputs[2].key == b"default\x1fuser:ada"
    assert driver.outputs[2].timestamp == NOW
    assert dict(driver.outputs[2].headers)["ce_id"].decode() == f"{changes[2]['id']}:1"


def test_a_repeated_event_changes_nothing_and_is_stored_once(driver: Driver) -> None:
    driver.post([event("m1", "Order Completed", 0)])
    before = len(driver.outputs)
    driver.post([event("m1", "Order Completed", 0), event("m1", "Order Completed", 0)])
    driver.restart()
    driver.post([event("m1", "Order Completed", 0)])
    assert len(driver.outputs) == before
    assert driver.activity(ADA) == ["m1"]
    assert driver.count(DUPLICATE_ID_CONFLICTS) == 0


def test_another_content_under_a_known_id_is_counted_and_the_first_one_stands(driver: Driver) -> None:
    driver.post([event("m1", "Order Completed", 0, revenue=1), event("m1", "Order Completed", 0, revenue=2)])
    driver.post([event("m1", "Order Completed", 0, revenue=3), event("m2", "Signed In", 1)])
    assert driver.activity(ADA) == ["m1", "m2"]
    assert driver.count(DUPLICATE_ID_CONFLICTS) == 2
    with driver.database.reading() as reading:
        rows = driver.store.load_history(reading, [("default", ADA)])["default", ADA]
    assert {row.message_id: row.body for row in rows}["m1"] == b'{"properties": {"revenue": 1}}'


def test_a_late_event_takes_back_what_does_not_stand_and_replacements_inherit_its_effects(driver: Driver) -> None:
    driver.post([event("m1", "Order Completed", 0), event("m2", "Order Completed", 1)])
    driver.wake(at(60))
    quiet = next(row for row in driver.rows(ADA) if row.to_stage == "at_risk")
    assert quiet.effective_at == at(31)
    driver.outputs.clear()
    driver.post([event("m3", "Signed In", 20)])
    [(kind, corrected)] = driver.published()
    assert kind == "parcours.stage.corrected"
    assert corrected["cause"] == "m3"
    assert [each["id"] for each in corrected["retracted"]] == [quiet.id]
    [added] = corrected["added"]
    assert (added["to"], added["effective_at"]) == ("at_risk", "2025-02-20T00:00:00.000Z")
    assert added["id"] != quiet.id
    assert added["effect_id"] == quiet.effect_id == quiet.id
    rows = {row.id: row for row in driver.rows(ADA)}
    assert rows[quiet.id].superseded_at == NOW
    assert rows[added["id"]].superseded_at is None
    assert driver.stages(ADA)["default", "stage"].since == at(50)


def test_another_reason_for_the_same_transition_is_its_next_revision_with_the_same_effect(driver: Driver) -> None:
    driver.post([event("m1", "Order Completed", 0), event("m2", "Order Completed", 1)])
    driver.wake(at(60))
    driver.outputs.clear()
    driver.post([event("m3", "Payment Failed", 10)])
    [(_, corrected)] = driver.published()
    [retracted], [added] = corrected["retracted"], corrected["added"]
    assert (retracted["reason"], added["reason"]) == ("inactive", "payment")
    assert added["id"] == retracted["id"] == added["effect_id"]
    assert (retracted["revision"], added["revision"]) == (1, 2)
    assert driver.stages(ADA)["default", "stage"].reason == "payment"


def test_silence_that_counted_before_a_late_event_still_counts_after_it(driver: Driver) -> None:
    driver.post([event("m1", "Order Completed", 0), event("m2", "Order Completed", 1)])
    driver.wake(at(60))
    driver.post([event("m3", "Signed In", 5)])
    assert stage(driver) == "at_risk"


def test_events_of_one_instant_may_come_in_two_batches(driver: Driver) -> None:
    first = [Arrived(ADA, f"m{number}", "Product Viewed", at(1)) for number in (2, 4)]
    driver.post([event("m0", "Page Viewed", 0), *first])
    driver.post([Arrived(ADA, "m3", "Checkout Started", at(1)), Arrived(ADA, "m1", "Order Completed", at(1))])
    events = [event("m0", "Page Viewed", 0), *first]
    events += [Arrived(ADA, "m3", "Checkout Started", at(1)), Arrived(ADA, "m1", "Order Completed", at(1))]
    assert standing_of(driver.rows(ADA), "default") == expected(definition("default"), events, at(1))
    driver.check_published()


def test_a_late_event_that_no_rule_names_is_stored_and_folds_nothing_again(driver: Driver) -> None:
    driver.post([event("m1", "Order Completed", 0), event("m2", "Signed In", 9)])
    before = len(driver.outputs)
    driver.post([event("m3", "Newspaper Read", 4)])
    assert len(driver.outputs) == before
    assert driver.activity(ADA) == ["m1", "m3", "m2"]


def test_an_event_before_the_first_one_moves_the_beginning(driver: Driver) -> None:
    driver.post([event("m1", "Order Completed", 10)])
    driver.post([event("m2", "Newspaper Read", 4)])
    assert kinds(driver)[-1] == "parcours.stage.corrected"
    first = driver.rows(ADA)
    assert {row.effective_at for row in first if row.from_stage is None and row.superseded_at is None} == {at(4)}
    events = [event("m1", "Order Completed", 10), event("m2", "Newspaper Read", 4)]
    assert standing_of(first, "default") == expected(definition("default"), events, at(10))


def test_a_poison_record_is_set_aside_and_the_partition_goes_on(driver: Driver) -> None:
    good = event("m1", "Order Completed", 0)
    whole = record_of(good)
    poison = [
        record_of(good, 1, body=b"\x00\xff"),
        record_of(good, 2, body=b"[1, 2]"),
        record_of(good, 3, body=b'{"properties": "text"}'),
        record_of(good, 4, body=b'{"properties": {"n": 1e999}}'),
        record_of(good, 5, body=b'{"properties": {"t": "\xff"}}'),
        StoredRecord(whole.topic, 0, 6, None, whole.value, whole.headers, whole.timestamp),
        StoredRecord(whole.topic, 0, 7, whole.key, None, whole.headers, whole.timestamp),
        StoredRecord(whole.topic, 0, 8, b"no separator", whole.value, whole.headers, whole.timestamp),
        StoredRecord(whole.topic, 0, 9, whole.key, whole.value, (), whole.timestamp),
        StoredRecord(whole.topic, 0, 10, whole.key, whole.value, whole.headers, -1),
        record_of(Arrived(ADA, "nul\0", "Signed In", at(0)), 11),
        record_of(Arrived(ADA, "", "Signed In", at(0)), 12),
        record_of(Arrived(ADA, "m2", "Signed In", at(0), sequence=2**63), 13),
        record_of(Arrived(ADA, "x" * 257, "Signed In", at(0)), 14),
        record_of(Arrived("user:nul\0", "m3", "Signed In", at(0)), 17),
        record_of(Arrived("user:" + "x" * 1_100, "m3", "Signed In", at(0)), 18),
    ]
    driver.post([*poison[:7], record_of(good, 15), *poison[7:], record_of(event("m9", "Signed In", 1), 16)])
    assert {each.record.offset for each in driver.dead} == {each.offset for each in poison}
    assert {each.code for each in driver.dead} == {"bad_record"}
    assert all(each.detail.endswith(".") for each in driver.dead)
    assert driver.activity(ADA) == ["m1", "m9"]
    assert stage(driver) == "adoption"


def test_an_event_that_a_predicate_cannot_hold_is_set_aside_alone(database: Database) -> None:
    driver = Driver(database, processor_of(definition("every_predicate"), definition("default")))
    names = ["Order Completed"] * 2_010
    flood = [Arrived(ADA, f"m{number:05}", name, at(0) + number, {"revenue": 1}) for number, name in enumerate(names)]
    driver.post(flood[:1_500])
    driver.post([*flood[1_500:], event("z", "Signed In", 1, subject="user:bob")])
    codes = {each.code for each in driver.dead}
    assert codes == {"state_overflow"}
    assert stage(driver, "user:bob") == "awareness"
    stored = driver.activity(ADA)
    assert len(stored) == len(flood) - len(driver.dead) == 2_000
    assert standing_of(driver.rows(ADA), "default") == expected(definition("default"), flood[:2_000], at(0.5))
    driver.check_published()


def test_a_record_in_the_wrong_partition_is_set_aside(database: Database) -> None:
    engine = dataclasses.replace(engine_of(definition("default")), partitions=4)
    elsewhere = TrackProcessor(engine, TrackStore(tables))
    driver = Driver(database, elsewhere)
    driver.post([event(f"m{number}", "Signed In", 0, subject=f"user:{number}") for number in range(40)])
    assert {each.code for each in driver.dead} == {"wrong_partition"}
    assert 0 < len(driver.dead) < 40


def test_silence_waits_until_the_arrivals_have_settled(driver: Driver) -> None:
    driver.post([Arrived(ADA, "m1", "Order Completed", at(0), received_at=at(0) + SECOND)])
    assert driver.processor.next_wake(0) == at(7)
    assert driver.wake(at(7) - 1) == 0
    driver.wake(at(7))
    assert stage(driver) == "at_risk"


def test_history_settles_longer_than_what_happens_now(driver: Driver) -> None:
    posted = at(300)
    driver.post([Arrived(ADA, "m1", "Order Completed", at(0), received_at=posted)])
    driver.post([Arrived("user:bob", "m2", "Order Completed", posted - HOUR, received_at=posted)])
    assert driver.processor.next_wake(0) == posted + MINUTE
    driver.wake(posted + MINUTE - 1)
    assert stage(driver) == "adoption"
    driver.post([Arrived(ADA, "m3", "Signed In", at(0) + 5 * DAY, received_at=posted + 50 * SECOND)])
    driver.wake(posted + 110 * SECOND - 1)
    assert stage(driver) == "adoption"
    driver.wake(posted + 110 * SECOND)
    assert stage(driver) == "churned"
    assert [each for each in kinds(driver) if each.endswith("corrected")] == []


def test_after_a_restart_everything_due_is_still_known(driver: Driver) -> None:
    driver.post([event("m1", "Order Completed", 0), event("m2", "Order Completed", 0, subject="user:bob")])
    driver.restart()
    assert driver.processor.next_wake(0) == at(7)
    driver.wake(at(8), limit=1)
    assert [stage(driver), stage(driver, "user:bob")] == ["at_risk", "at_risk"]
    assert driver.processor.next_wake(0) == at(60 + 7)


def test_a_partition_that_was_forgotten_asks_to_be_woken(driver: Driver) -> None:
    driver.processor.forget(0)
    assert driver.processor.next_wake(0) == 0


def test_an_account_travels_under_the_lifecycles_for_accounts_only(database: Database) -> None:
    driver = Driver(database, processor_of(definition("default"), definition("saas_trial")))
    assert definition("saas_trial").subject == "account"
    driver.post([event("m1", "Signed In", 0, subject="account:acme"), event("m2", "Signed In", 0, subject="anon:7f")])
    assert {name for name, _ in driver.stages("account:acme")} == {definition("saas_trial").name}
    assert {name for name, _ in driver.stages("anon:7f")} == {"default"}


def test_a_definition_that_changed_judges_a_subjects_whole_history_at_its_next_event(database: Database) -> None:
    driver = Driver(database, processor_of(definition("default")))
    driver.post([event("m1", "Order Completed", 0)])
    both = Driver(database, processor_of(definition("default"), definition("segments")))
    both.post([event("m2", "Newspaper Read", 1)])
    events = [event("m1", "Order Completed", 0), event("m2", "Newspaper Read", 1)]
    assert standing_of(both.rows(ADA), "segments") == expected(definition("segments"), events, at(1))
    [(kind, corrected)] = both.published()
    assert (kind, corrected["lifecycle"], corrected["retracted"]) == ("parcours.stage.corrected", "segments", [])
    assert both.count(STUCK_SUBJECTS) == 0


@pytest.mark.parametrize("order", [("m1", "m2"), ("m2", "m1")])
def test_two_events_at_the_first_instant_begin_the_same_journey_in_any_order(
    driver: Driver, order: tuple[str, str]
) -> None:
    names = {"m1": "Nobody Asks For This", "m2": "Page Viewed"}
    for message_id in order:
        driver.post([event(message_id, names[message_id], 0)])
    beginnings = [row for row in driver.rows(ADA) if row.transition == "initial" and row.superseded_at is None]
    assert [row.cause for row in beginnings] == ["m1", "m1"]
