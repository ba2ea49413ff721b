"""The API of segments."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from behavior import compile_definition
from schemas.cursors import Cursors
from schemas.language import load_definition
from schemas.times import format_instant
from segmenter.handlers import SegmentProcessor
from segmenter.http import segments_router
from segmenter.tables import tables
from services.storage.database import Database
from services.web.problems import install_problems
from tests.integration.segmenter.test_segments import SHIPPED, START
from tests.integration.tracks.harness import Arrived, Driver
from tracks.reads import TrackReads
from tracks.store import TrackStore

NOW = START + 1_000


@pytest.fixture
async def client(database: Database) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the routes, over five customers of whom three bought."""
    processor = SegmentProcessor([compile_definition(load_definition(SHIPPED.read_bytes()))])
    driver = Driver(database, processor, store=TrackStore(tables))
    names = ("Order Completed", "Order Completed", "Order Completed", "Signed In", "Signed In")
    driver.post([Arrived(f"user:u-{number}", f"m{number}", name, START, {}) for number, name in enumerate(names)])
    app = FastAPI()
    install_problems(app, lambda: "r")
    app.include_router(segments_router(TrackReads(database, tables, processor.engine), lambda: NOW, Cursors(b"key")))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as found:
        yield found


async def test_every_count_carries_version_and_time(client: httpx.AsyncClient) -> None:
    body = (await client.get("/v1/segments")).json()
    [segments] = body["segments"]
    assert (segments["name"], segments["version"], segments["as_of"]) == ("segments", 1, format_instant(NOW))
    tracks = {track["track"]: track for track in segments["tracks"]}
    assert list(tracks) == ["engaged", "buyer", "responsive", "loyal", "enthusiast"]
    counts = {stage["stage"]: stage["count"] for stage in tracks["buyer"]["stages"]}
    assert counts == {"none": 2, "occasional": 3, "regular": 0}
    assert tracks["buyer"]["total"] == 5
    assert "definition" not in {name for name, value in segments.items() if value is not None}


async def test_one_file_comes_with_its_definition(client: httpx.AsyncClient) -> None:
    body = (await client.get("/v1/segments/segments")).json()
    assert body["definition"]["lifecycle"] == "segments"
    assert body["tracks"][0]["stages"][1]["label"] == {"en": "Engaged", "fr": "Engagé"}


async def test_members_are_listed_page_by_page(client: httpx.AsyncClient) -> None:
    asked = {"track": "buyer", "stage": "occasional", "limit": "2"}
    first = (await client.get("/v1/segments/segments/members", params=asked)).json()
    second = (await client.get("/v1/segments/segments/members", params={**asked, "cursor": first["next"]})).json()
    assert [[each["id"] for each in page["members"]] for page in (first, second)] == [["u-0", "u-1"], ["u-2"]]
    assert second["next"] is None
    assert first["members"][0] == {"id": "u-0", "since": format_instant(START), "visit": 1, "reason": None}
    found = (await client.get("/v1/segments/segments/members", params={**asked, "q": "-1"})).json()
    assert [each["id"] for each in found["members"]] == ["u-1"]


async def test_the_primary_segment_is_meant_when_none_is_named(client: httpx.AsyncClient) -> None:
    body = (await client.get("/v1/segments/segments/members", params={"stage": "unknown"})).json()
    assert (body["track"], len(body["members"])) == ("engaged", 5)


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/nothing", 404, "unknown_segment"),
        ("/nothing/members?stage=engaged", 404, "unknown_segment"),
        ("/segments/members?stage=nowhere", 404, "unknown_stage"),
        ("/segments/members?track=nothing&stage=engaged", 404, "unknown_track"),
        ("/segments/members?stage=engaged&cursor=%C3%A9", 400, "bad_cursor"),
        ("/segments/members?stage=engaged&cursor=_w", 400, "bad_cursor"),
        ("/segments/members", 400, "invalid_parameter"),
        ("/segments/members?stage=engaged&limit=0", 400, "invalid_parameter"),
    ],
)
async def test_what_cannot_be_answered_is_a_problem_with_a_code(
    client: httpx.AsyncClient, path: str, status: int, code: str
) -> None:
    answer = await client.get(f"/v1/segments{path}")
    assert (answer.status_code, answer.json()["code"]) == (status, code)
