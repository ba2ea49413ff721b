"""Segments follow events and the stages of lifecycles, and only store what they ask for."""

import random
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from behavior import Definition, compile_definition
from schemas.changes import Because, TrackChange, TrackCorrected
from schemas.ids import record_key
from schemas.language import load_definition
from schemas.records import StoredRecord, cloud_event_headers, header
from schemas.times import DAY, format_instant, parse_instant
from schemas.topics import SEGMENT_CHANGES, STAGE_CHANGES
from segmenter.domain.facts import fact_id
from segmenter.handlers import SegmentProcessor
from segmenter.tables import tables
from services.storage.database import Database
from tests.integration.tracks.harness import Arrived, Driver, expected, standing_of
from tracks.store import TrackStore

START = parse_instant("2026-01-01T00:00:00Z")
ADA = "user:ada"
SHIPPED = Path(__file__).parents[3] / "definitions" / "segments" / "segments.yaml"
STORE = TrackStore(tables)
ENDANGERED = """
lifecycle: watch
version: 1
subject: user
tracks:
  endangered:
    initial: no
    stages:
      no: {label: {en: Not in danger}}
      yes: {label: {en: Long at risk}}
    transitions:
      - id: in
        from: no
        to: yes
        when:
          all:
            - {in_stage: {lifecycle: default, track: stage, stage: at_risk, for: 10d}}
            - {did: {event: Signed In, within: 90d}}
      - {id: out, from: yes, to: no, when: {not: {in_stage: {lifecycle: default, track: stage, stage: at_risk}}}}
"""


def definition(text: str | bytes) -> Definition:
    """A compiled segments file."""
    return compile_definition(load_definition(text))


def change(stage: str, day: float, *, ordinal: int = 0, revision: int = 1, track: str = "stage") -> TrackChange:
    """An entry into a stage of the default lifecycle on a day; its id follows from these."""
    at = format_instant(START + int(day * DAY))
    return TrackChange(
        id=f"{track}/{stage}/{day}/{ordinal}", revision=revision, effect_id=f"{stage}/{day}", workspace="default",
        subject=ADA, lifecycle="default", version=1, track=track, ordinal=ordinal, step=0, from_=None, to=stage,
        transition="t", visit=1, effective_at=at, recorded_at=at, reason=None, because=Because("clock"),
    )  # fmt: skip


def changed(news: TrackChange) -> StoredRecord:
    """The record of a change."""
    return _record("changed", news)


def corrected(retracted: Sequence[TrackChange], added: Sequence[TrackChange]) -> StoredRecord:
    """The record of a correction."""
    data = TrackCorrected("default", ADA, "default", format_instant(START), "late", tuple(retracted), tuple(added))
    return _record("corrected", data)


def _record(kind: str, data: msgspec.Struct) -> StoredRecord:
    headers = cloud_event_headers(kind, f"parcours.stage.{kind}", "/parcours/stage_engine", START, ADA)
    return StoredRecord(STAGE_CHANGES, 0, 0, record_key("default", ADA), msgspec.json.encode(data), headers, START)


def fact(news: TrackChange) -> Arrived:
    """The same change as an element of the set."""
    at = parse_instant(news.effective_at)
    content = {"track": news.track, "stage": news.to}
    return Arrived(ADA, fact_id(news.id), "$stage:default", at, content, news.ordinal)


def signed_in(day: float, name: str = "Signed In") -> Arrived:
    """An event on a day."""
    at = START + int(day * DAY)
    return Arrived(ADA, f"{name}/{day}", name, at, {}, received_at=at)


def driver(database: Database, segments: Definition) -> Driver:
    """The owner of a partition."""
    return Driver(database, SegmentProcessor([segments]), store=STORE)


def stored(database: Database) -> set[str]:
    """Message ids of the stored activity."""
    with database.reading() as reading:
        return {row.message_id for row in STORE.load_history(reading, [("default", ADA)])["default", ADA]}


def journey(found: Driver, name: str) -> list[tuple[object, ...]]:
    """What stands."""
    return standing_of(found.rows(ADA), name)


def test_a_segment_is_entered_on_events_and_left_by_the_clock(database: Database) -> None:
    segments = definition(SHIPPED.read_bytes())
    found = driver(database, segments)
    events = [signed_in(day) for day in range(20)] + [signed_in(5.5, "Feature Used"), signed_in(6.5, "Feature Used")]
    events.sort(key=lambda each: each.at)
    for each in events:
        found.post([each])
    found.wake(START + 120 * DAY)
    assert journey(found, "segments") == expected(segments, events, START + 120 * DAY)
    kinds = {header(output.headers, "ce_type") for output in found.outputs}
    assert {output.topic for output in found.outputs} == {SEGMENT_CHANGES}
    assert kinds == {"parcours.segment.changed"}
    engaged = [row.to_stage for row in found.rows(ADA) if row.track == "engaged"]
    assert engaged == ["unknown", "engaged", "unengaged"]


def test_only_events_that_a_segment_names_are_stored_and_the_first_of_all(database: Database) -> None:
    found = driver(database, definition(SHIPPED.read_bytes()))
    first = signed_in(0, "Page Viewed")
    found.post([first, signed_in(1, "Page Viewed"), signed_in(2), signed_in(3, "Page Viewed")])
    assert stored(database) == {first.message_id, signed_in(2).message_id}


def test_stages_that_no_segment_consults_cost_nothing(database: Database) -> None:
    found = driver(database, definition(SHIPPED.read_bytes()))
    result = found.post([changed(change("at_risk", 1)), corrected([change("at_risk", 1)], [])])
    assert (result.outputs, result.dead_letters) == ([], [])
    assert stored(database) == set()


def test_a_stage_of_a_lifecycle_counts_from_its_entry(database: Database) -> None:
    segments = definition(ENDANGERED)
    found = driver(database, segments)
    found.post([signed_in(0), changed(change("adoption", 0)), changed(change("at_risk", 5))])
    found.wake(START + 15 * DAY - 1)
    assert [row.to_stage for row in found.rows(ADA)] == ["no"]
    found.wake(START + 15 * DAY)
    assert [row.to_stage for row in found.rows(ADA)] == ["no", "yes"]
    found.post([changed(change("retention", 20))])
    assert [row.to_stage for row in found.rows(ADA)] == ["no", "yes", "no"]


def test_a_corrected_stage_takes_back_what_rested_on_it(database: Database) -> None:
    segments = definition(ENDANGERED)
    found = driver(database, segments)
    wrong, right = change("at_risk", 5), change("at_risk", 30)
    found.post([signed_in(0), changed(change("adoption", 0)), changed(wrong)])
    found.wake(START + 20 * DAY)
    found.post([corrected([wrong], [right])])
    standing = [row for row in found.rows(ADA) if row.superseded_at is None]
    assert [row.to_stage for row in standing] == ["no"]
    found.wake(START + 40 * DAY)
    events = [signed_in(0), fact(change("adoption", 0)), fact(right)]
    assert journey(found, "watch") == expected(segments, events, START + 40 * DAY)
    found.post([corrected([right], [msgspec.structs.replace(wrong, revision=2)])])
    events = [signed_in(0), fact(change("adoption", 0)), fact(wrong)]
    assert journey(found, "watch") == expected(segments, events, START + 40 * DAY)
    found.check_published()


def test_of_two_stages_at_one_instant_the_last_one_counts(database: Database) -> None:
    segments = definition(ENDANGERED)
    found = driver(database, segments)
    found.post([signed_in(0)])
    found.post([changed(change("at_risk", 1, ordinal=1)), changed(change("retention", 1, ordinal=0))])
    found.wake(START + 12 * DAY)
    assert [row.to_stage for row in found.rows(ADA)] == ["no", "yes"]


def test_a_bad_record_of_stage_changes_is_a_dead_letter_and_the_rest_goes_on(database: Database) -> None:
    found = driver(database, definition(ENDANGERED))
    good = changed(change("at_risk", 1))
    bad = [
        msgspec.structs.replace(good, value=b"{]"),
        msgspec.structs.replace(good, value=None),
        msgspec.structs.replace(good, key=record_key("default", "user:eve")),
        msgspec.structs.replace(good, headers=()),
    ]
    result = found.post([signed_in(0), *bad, good])
    assert [letter.record for letter in result.dead_letters] == bad
    assert fact_id(change("at_risk", 1).id) in stored(database)


@pytest.mark.parametrize("seed", range(12))
def test_any_order_of_events_changes_and_corrections_ends_in_the_same_segments(database: Database, seed: int) -> None:
    rng = random.Random(seed)
    segments = definition(ENDANGERED)
    found = driver(database, segments)
    events = [signed_in(day + 0.25) for day in sorted(rng.sample(range(100), 12))]
    alive: dict[str, TrackChange] = {}
    revisions: dict[str, int] = {}
    arrivals: list[Arrived | StoredRecord] = list(rng.sample(events, len(events)))
    for _ in range(25):
        # What stands changes by single steps; the records keep their order among themselves, as on a partition.
        if alive and rng.random() < 0.3:
            gone = alive.pop(rng.choice(sorted(alive)))
            record = corrected([gone], [])
        else:
            stage = rng.choice(["retention", "at_risk", "at_risk"])
            news = change(stage, float(rng.randrange(100)))
            if news.id in alive:
                continue
            revisions[news.id] = revisions.get(news.id, 0) + 1
            alive[news.id] = msgspec.structs.replace(news, revision=revisions[news.id])
            record = changed(alive[news.id]) if revisions[news.id] == 1 else corrected([], [alive[news.id]])
        arrivals.append(record)
    arrivals = _interleaved(rng, arrivals)
    while arrivals:
        size = rng.randrange(1, 7)
        batch, arrivals = arrivals[:size], arrivals[size:]
        found.post([*batch, *(each for each in batch if isinstance(each, Arrived) and rng.random() < 0.3)])
        if rng.random() < 0.3:
            found.wake(START + rng.randrange(60) * DAY)
        if rng.random() < 0.2:
            found.restart()
    found.wake(START + 200 * DAY)
    whole = [*events, *(fact(each) for each in alive.values())]
    wanted = expected(segments, whole, START + 200 * DAY)
    assert journey(found, "watch") == wanted
    assert len(wanted) > 1, "the seed reaches no transition; choose another"
    found.check_published()


def _interleaved(rng: random.Random, arrivals: list[Arrived | StoredRecord]) -> list[Arrived | StoredRecord]:
    records = [each for each in arrivals if isinstance(each, StoredRecord)]
    events = [each for each in arrivals if isinstance(each, Arrived)]
    mixed: list[Arrived | StoredRecord] = []
    while records or events:
        source = records if records and (not events or rng.random() < 0.5) else events
        mixed.append(source.pop(0))
    return mixed


@pytest.mark.parametrize("order", [("m1", "m2"), ("m2", "m1")])
def test_two_events_at_the_first_instant_begin_the_same_journey_in_any_order(
    database: Database, order: tuple[str, str]
) -> None:
    names = {"m1": "Nobody Asks For This", "m2": "Signed In"}
    segments = definition(SHIPPED.read_bytes())
    driver = Driver(database, SegmentProcessor([segments]), store=STORE)
    for message_id in order:
        driver.post([Arrived(ADA, message_id, names[message_id], START, {})])
    both = [Arrived(ADA, message_id, name, START, {}) for message_id, name in names.items()]
    assert standing_of(driver.rows(ADA), "segments") == expected(segments, both, START)
    assert driver.activity(ADA) == ["m1", "m2"]
