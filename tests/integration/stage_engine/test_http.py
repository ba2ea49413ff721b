"""What the API answers about customers and lifecycles, on both databases."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from schemas.cursors import Cursors
from schemas.times import DAY, SECOND, parse_instant
from services.storage.database import Database
from services.web.problems import install_problems
from stage_engine.handlers import StageProcessor
from stage_engine.http import customers_router, lifecycles_router
from stage_engine.tables import tables
from tests.integration.tracks.harness import NOW, Arrived, Driver
from tests.support.models import definition
from tracks.domain.rows import StageRow
from tracks.reads import TrackReads
from tracks.store import TrackStore

T0 = parse_instant("2025-01-01T00:00:00.000Z")
ADA, BOB, ANON = "user:ada", "user:user:bob", "anon:7f"


def at(days: float) -> int:
    return T0 + round(days * DAY)


class Segments:
    """Everybody is engaged."""

    def places(self, workspace: str, subjects: Iterable[str]) -> Mapping[str, Sequence[StageRow]]:
        """One segment each."""
        return {
            each: [StageRow(workspace, each, "segments", "engaged", "engaged", at(1), 2, None)] for each in subjects
        }


@pytest.fixture
def driver(database: Database) -> Driver:
    """Three customers: one with a journey, one whose id looks like another kind's, one anonymous."""
    driver = Driver(database, StageProcessor([definition("default")]), store=TrackStore(tables))
    driver.post(
        [
            Arrived(ADA, "i1", "$identify", at(0), {"plan": "free", "name": "Ada", "age": 3}),
            Arrived(ADA, "m1", "Page Viewed", at(0), {"url": "/"}),
            Arrived(ADA, "m2", "Order Completed", at(1), {"revenue": 42}, received_at=at(1) + SECOND),
            Arrived(ADA, "m3", "Order Completed", at(3), {}, sequence=7),
            Arrived(BOB, "m1", "Product Viewed", at(2)),
            Arrived(ANON, "m1", "Product Viewed", at(2)),
        ]
    )
    driver.post([Arrived(ADA, "i2", "$identify", at(2), {"plan": "pro", "age": None})])
    return driver


@pytest.fixture
async def api(driver: Driver) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the routes at day 10."""
    app = FastAPI()
    install_problems(app, lambda: "r-1")
    reads = TrackReads(driver.database, tables, driver.processor.engine)
    app.include_router(customers_router(reads, lambda: at(10), Cursors(b"key"), Segments()))
    app.include_router(lifecycles_router(reads, lambda: at(10)))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


async def read(api: httpx.AsyncClient, path: str, **parameters: str | int) -> Any:
    answer = await api.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def refused(api: httpx.AsyncClient, path: str, **parameters: str) -> tuple[int, str]:
    answer = await api.get(path, params=parameters)
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


async def test_a_customer_has_traits_stages_and_segments(api: httpx.AsyncClient) -> None:
    assert await read(api, "/v1/customers/ada") == {
        "id": "ada",
        "identities": ["user:ada"],
        "traits": {"plan": "pro", "name": "Ada"},
        "stages": {
            "default": {
                "rewards": {"stage": "outside", "since": "2025-01-01T00:00:00.000Z", "visit": 1, "reason": None},
                "stage": {"stage": "retention", "since": "2025-01-04T00:00:00.000Z", "visit": 1, "reason": None},
            }
        },
        "segments": {"engaged": {"stage": "engaged", "since": "2025-01-02T00:00:00.000Z", "visit": 2, "reason": None}},
        "as_of": "2025-01-11T00:00:00.000Z",
    }


async def test_ids_name_users_visitors_and_accounts(api: httpx.AsyncClient) -> None:
    assert (await read(api, "/v1/customers/user:ada"))["id"] == "ada"
    assert (await read(api, "/v1/customers/user:user:bob"))["id"] == "user:user:bob"
    assert (await read(api, "/v1/customers/anon:7f"))["id"] == "anon:7f"
    assert await refused(api, "/v1/customers/nobody") == (404, "unknown_customer")
    assert await refused(api, "/v1/customers/anon:ada") == (404, "unknown_customer")
    assert await refused(api, "/v1/customers/user:") == (400, "invalid_id")
    assert await refused(api, "/v1/customers/%07") == (400, "invalid_id")


async def test_a_journey_lists_what_stands_and_what_comes_next(api: httpx.AsyncClient) -> None:
    journey = await read(api, "/v1/customers/ada/journey")
    assert [(each["track"], each["from"], each["to"]) for each in journey["transitions"]] == [
        ("stage", None, "awareness"),
        ("rewards", None, "outside"),
        ("stage", "awareness", "adoption"),
        ("stage", "adoption", "retention"),
    ]
    purchase = journey["transitions"][2]
    assert len(purchase.pop("id")) == 32
    assert purchase == {
        "lifecycle": "default",
        "version": 1,
        "track": "stage",
        "ordinal": 0,
        "step": 0,
        "revision": 1,
        "from": "awareness",
        "to": "adoption",
        "transition": "purchase",
        "visit": 1,
        "effective_at": "2025-01-02T00:00:00.000Z",
        "recorded_at": "2096-10-02T07:06:40.000Z",
        "superseded_at": None,
        "reason": None,
        "because": {"kind": "event", "message_ids": ["m2"], "evidence": ["m2"]},
    }
    assert journey["next"] == {
        "at": "2025-02-03T00:00:00.000Z",
        "lifecycle": "default",
        "track": "stage",
        "transition": "goes_quiet",
        "to": "at_risk",
    }


async def test_a_journey_can_be_cut_by_track_lifecycle_and_time(api: httpx.AsyncClient) -> None:
    rewards = await read(api, "/v1/customers/ada/journey", track="rewards")
    assert [each["to"] for each in rewards["transitions"]] == ["outside"]
    assert rewards["next"] is None
    earlier = await read(api, "/v1/customers/ada/journey", track="stage", as_of="2025-01-02T00:00:00Z")
    assert [each["to"] for each in earlier["transitions"]] == ["awareness", "adoption"]
    assert await refused(api, "/v1/customers/ada/journey", lifecycle="none") == (404, "unknown_lifecycle")
    assert await refused(api, "/v1/customers/ada/journey", as_of="yesterday") == (400, "invalid_timestamp")


async def test_a_journey_as_known_before_a_correction_is_the_uncorrected_one(
    api: httpx.AsyncClient, driver: Driver
) -> None:
    driver.post([Arrived(ADA, "late", "Order Completed", at(0.5))])
    now = (await read(api, "/v1/customers/ada/journey", track="stage"))["transitions"]
    assert [each["effective_at"][:10] for each in now] == ["2025-01-01", "2025-01-01", "2025-01-02"]
    with driver.database.transaction() as transaction:
        # The harness records everything at one time; set this correction a second later.
        rows = tables.transitions
        corrected = rows.c.cause.in_(["late"]) | (rows.c.effective_at == at(1)) & rows.c.superseded_at.is_(None)
        transaction.connection.execute(rows.update().where(corrected).values(recorded_at=NOW + SECOND))
        gone = rows.c.superseded_at.is_not(None)
        transaction.connection.execute(rows.update().where(gone).values(superseded_at=NOW + SECOND))
    before = await read(api, "/v1/customers/ada/journey", track="stage", as_known_at="2096-10-02T07:06:40.500Z")
    assert [each["to"] for each in before["transitions"]] == ["awareness", "adoption", "retention"]
    assert before["transitions"][1]["superseded_at"] == "2096-10-02T07:06:41.000Z"


async def test_activity_is_listed_latest_first_in_pages(api: httpx.AsyncClient) -> None:
    first = await read(api, "/v1/customers/ada/activity", limit=2)
    second = await read(api, "/v1/customers/ada/activity", limit=2, cursor=first["next"])
    third = await read(api, "/v1/customers/ada/activity", limit=2, cursor=second["next"])
    pages = [[each["message_id"] for each in page["events"]] for page in (first, second, third)]
    assert pages == [["m3", "i2"], ["m2", "m1"], ["i1"]]
    assert third["next"] is None
    assert first["events"][0]["sequence"] == 7
    assert second["events"][0] == {
        "message_id": "m2",
        "name": "Order Completed",
        "occurred_at": "2025-01-02T00:00:00.000Z",
        "received_at": "2025-01-02T00:00:01.000Z",
        "source": "/sources/default",
        "sequence": None,
        "properties": {"revenue": 42},
        "flags": [],
    }
    assert third["events"][0]["properties"] == {"plan": "free", "name": "Ada", "age": 3}
    assert await refused(api, "/v1/customers/ada/activity", cursor="%%%") == (400, "bad_cursor")
    assert await refused(api, "/v1/customers/ada/activity", cursor="eyJh") == (400, "bad_cursor")


async def test_an_explanation_names_the_evidence_and_what_each_way_out_needs(api: httpx.AsyncClient) -> None:
    explanation = await read(api, "/v1/customers/ada/explanation")
    [lifecycle] = explanation["lifecycles"]
    stage = next(each for each in lifecycle["tracks"] if each["track"] == "stage")
    assert (stage["stage"], stage["label"]["fr"], stage["kind"], stage["visit"]) == (
        "retention",
        "Fidélisation",
        "post",
        1,
    )
    entered = stage["entered_by"]
    assert (entered["transition"], entered["version"], entered["cause"]) == ("activated", 1, "event")
    assert entered["why"]["en"].startswith("Set up and used properly")
    assert {each["message_id"]: (each["name"], each["occurred_at"]) for each in entered["evidence"]} == {
        "m2": ("Order Completed", "2025-01-02T00:00:00.000Z"),
        "m3": ("Order Completed", "2025-01-04T00:00:00.000Z"),
    }
    quiet = next(each for each in stage["transitions"] if each["id"] == "goes_quiet")
    assert (quiet["to"], quiet["to_label"]["en"], quiet["kind"]) == ("at_risk", "At risk", "when")
    assert (quiet["holds"], quiet["until"]) == (False, "2025-02-03T00:00:00.000Z")
    [check] = quiet["checklist"]
    assert (check["holds"], check["until"]) == (False, "2025-02-03T00:00:00.000Z")
    assert check["text"]
    assert check["needed"]
    assert (await read(api, "/v1/customers/ada/explanation", lifecycle="default"))["lifecycles"] == [lifecycle]
    assert await refused(api, "/v1/customers/ada/explanation", lifecycle="x") == (404, "unknown_lifecycle")


async def test_what_is_due_but_not_done_yet_is_not_anticipated(api: httpx.AsyncClient, driver: Driver) -> None:
    driver.post([Arrived("user:quiet", "m1", "Order Completed", at(1))])
    explanation = await read(api, "/v1/customers/quiet/explanation")
    assert explanation["lifecycles"][0]["tracks"][0]["stage"] == "adoption"
    assert (await read(api, "/v1/customers/quiet/journey"))["next"]["at"] == "2025-01-09T00:00:00.000Z"


async def test_customers_are_listed_in_pages_by_stage_and_by_part_of_their_id(api: httpx.AsyncClient) -> None:
    page = await read(api, "/v1/customers", limit=2)
    assert [each["id"] for each in page["customers"]] == ["anon:7f", "ada"]
    rest = await read(api, "/v1/customers", limit=2, cursor=page["next"])
    assert [each["id"] for each in rest["customers"]] == ["user:user:bob"]
    assert rest["next"] is None
    retained = await read(api, "/v1/customers", stage="retention")
    assert [each["id"] for each in retained["customers"]] == ["ada"]
    assert retained["customers"][0]["stages"]["default"]["stage"]["stage"] == "retention"
    outside = await read(api, "/v1/customers", stage="outside", track="rewards", lifecycle="default", q="USER:A")
    assert [each["id"] for each in outside["customers"]] == ["ada"]
    assert (await read(api, "/v1/customers", q="%"))["customers"] == []
    assert await refused(api, "/v1/customers", stage="none") == (404, "unknown_stage")
    assert await refused(api, "/v1/customers", stage="outside", track="none") == (404, "unknown_track")
    assert await refused(api, "/v1/customers", stage="outside", lifecycle="none") == (404, "unknown_lifecycle")
    assert await refused(api, "/v1/customers", cursor="!") == (400, "bad_cursor")


async def test_every_stage_is_counted_also_the_empty_ones(api: httpx.AsyncClient) -> None:
    counted = await read(api, "/v1/lifecycles/default/stages")
    assert (counted["lifecycle"], counted["version"], counted["as_of"]) == ("default", 1, "2025-01-11T00:00:00.000Z")
    stage, rewards = counted["tracks"]
    assert (stage["track"], stage["primary"], stage["total"], len(stage["stages"])) == ("stage", True, 3, 10)
    counts = {each["stage"]: each["count"] for each in stage["stages"]}
    assert (counts["awareness"], counts["retention"], counts["churned"]) == (2, 1, 0)
    assert stage["stages"][7] == {
        "stage": "at_risk",
        "kind": "risk",
        "label": {"en": "At risk", "fr": "À risque"},
        "count": 0,
    }
    assert (rewards["primary"], rewards["total"]) == (False, 3)
    assert await refused(api, "/v1/lifecycles/none/stages") == (404, "unknown_lifecycle")


async def test_lifecycles_are_told_with_their_definitions(api: httpx.AsyncClient) -> None:
    [listed] = (await read(api, "/v1/lifecycles"))["lifecycles"]
    whole = await read(api, "/v1/lifecycles/default")
    assert (listed["name"], listed["subject"], listed["definition"]) == ("default", "user", None)
    assert [track["track"] for track in whole["tracks"]] == ["stage", "rewards"]
    assert whole["tracks"][0]["initial"] == "awareness"
    assert whole["definition"]["lifecycle"] == "default"
    assert await refused(api, "/v1/lifecycles/none") == (404, "unknown_lifecycle")
