"""Rejected events: listed, counted, shown, and sent through the door again, once each, as they came."""

import asyncio
from typing import Any

import pytest

from schemas.processing import Batch, BatchResult
from schemas.records import StoredRecord, header, read_envelope
from schemas.times import HOUR
from schemas.topics import EVENTS, REJECTED, ROUTED
from services.bootstrap import SERVICES
from services.storage.database import Transaction
from services.storage.errors import StorageUnavailable
from services.storage.rejected import CLAIMED_FOR, RejectedStore
from stage_engine.handlers import StageProcessor
from tests.integration.rejected.conftest import START, Client, Shape

UNKNOWN = {
    "batch": [
        {"type": "track", "event": "Teapot Boiled", "userId": "ada", "messageId": "m-1", "properties": {"n": 1e3}},
        {"type": "track", "event": "Teapot Boiled", "userId": "bob"},
        {"type": "track", "event": "Order Completed", "userId": "ada", "messageId": "m-2", "properties": {"total": 5}},
        {"type": "track", "event": "Teapot Boiled"},
    ],
    "context": {"groupId": "acme", "library": {"name": "tests"}},
    "integrations": {"All": True},
}


async def events(client: Client) -> list[StoredRecord]:
    """All events, and their copies for accounts."""
    return [*await client.records(EVENTS), *await client.records(ROUTED)]


def parts(record: StoredRecord) -> tuple[object, ...]:
    """What a record says, wherever it stands, but for the flags of the plan."""
    headers = sorted(each for each in record.headers if each[0] != "ce_flags")
    return record.topic, record.partition, record.key, record.value, headers, record.timestamp


@pytest.mark.timeout(90)
async def test_what_a_strict_source_kept_apart_goes_on_as_it_came_once_the_source_is_open(shape: Shape) -> None:
    async with shape.running() as client:
        await client.mode("open")
        await client.post("/v1/batch", UNKNOWN)
        wanted = sorted(map(parts, await events(client)))
        before = len(await client.records(REJECTED))
        await client.mode("strict")
        await client.post("/v1/batch", UNKNOWN)
        assert (await client.listed())["counts"] == {"no_identity": 2, "unknown_event": 2}
        shape.clock.move(HOUR)
        assert await client.redriven() == {
            "accepted": 0, "rejected": {"no_identity": 2, "unknown_event": 2}, "skipped": {}, "next": None
        }  # fmt: skip
        await client.mode("open")
        tried = await client.redriven(dry_run=True)
        assert (tried["accepted"], tried["rejected"]) == (2, {"no_identity": 2})
        assert len(await client.records(REJECTED)) == before + 3, "what stays rejected is not written again"
        assert (await client.redriven(reason="unknown_event"))["accepted"] == 2
        assert (await client.redriven())["accepted"] == 0, "once each"
        after = await events(client)
        again = sorted(map(parts, after))
        assert again == sorted(wanted * 2), "each event twice on the log, and no difference between the two"
        assert {record.timestamp for record in after} == {START}
        assert (await client.listed())["counts"] == {"no_identity": 2}
        done = (await client.listed("?state=redriven"))["rejected"]
        assert [item["reason"] for item in done] == ["unknown_event"] * 2
        assert {item["redriven_at"] is not None for item in done} == {True}


@pytest.mark.timeout(90)
async def test_cloudevents_are_redriven_as_cloudevents(shape: Shape) -> None:
    async with shape.running() as client:
        await client.mode("strict")
        event = {
            "specversion": "1.0", "id": "1", "source": "/machines/7", "type": "Teapot Boiled", "subject": "ada",
            "time": "2026-11-03T10:00:00Z", "data": {"degrees": 100},
        }  # fmt: skip
        answer = await client.http.post("/v1/events", json=[event], auth=("wk", ""))
        assert answer.status_code == 202
        (item,) = (await client.listed())["rejected"]
        assert (item["reason"], item["call"]) == ("unknown_event", "events")
        await client.mode("open")
        assert (await client.redriven())["accepted"] == 1
        (record,) = await client.records(EVENTS)
        assert read_envelope(record).message_id == "/machines/7#1"
        assert record.value == b'{"properties":{"degrees":100}}'


@pytest.mark.timeout(90)
async def test_a_process_that_dies_before_it_noted_what_it_did_has_no_second_effect(
    shape: Shape, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shape.running(SERVICES) as client:
        await client.mode("strict")
        order = {"event": "Order Completed", "userId": "ada", "properties": {"total": "not a number"}}
        await client.post("/v1/track", order)
        assert (await client.listed())["counts"] == {"invalid_event": 1}
        await client.mode("open")
        with monkeypatch.context() as patched:
            patched.setattr(RejectedStore, "mark", unavailable)
            patched.setattr(RejectedStore, "release", unavailable)
            answer = await client.ask("POST", "/v1/rejected/redrive", {})
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert (await client.redriven())["skipped"] == {"under_way": 1}
        shape.clock.move(CLAIMED_FOR + 1)
        assert (await client.redriven())["accepted"] == 1
        assert len(await client.records(EVENTS)) == 2
        await client.until_read()
        activity = (await client.ask("GET", "/v1/customers/ada/activity")).json()
        assert len(activity["events"]) == 1


def unavailable(*_: object) -> None:
    raise StorageUnavailable


async def until_rejected(client: Client, number: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while len(found) < number:
        await asyncio.sleep(0.05)
        found = (await client.listed())["rejected"]
    return found


@pytest.mark.timeout(120)
async def test_what_an_engine_gave_up_is_processed_once_the_engine_is_mended(
    shape: Shape, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = StageProcessor.process
    broken = True

    def failing(self: StageProcessor, transaction: Transaction, batch: Batch) -> BatchResult:
        if broken and any(header(record.headers, "ce_type") == "Teapot Boiled" for record in batch.records):
            raise ZeroDivisionError
        return process(self, transaction, batch)

    monkeypatch.setattr(StageProcessor, "process", failing)
    async with shape.running(SERVICES) as client:
        await client.post("/v1/track", {"event": "Teapot Boiled", "userId": "ada", "context": {"groupId": "acme"}})
        found = await until_rejected(client, 2)  # the user's, and the account's copy
        assert {(item["origin"], item["reason"], item["source"]) for item in found} == {
            ("stage_engine", "processing_failed", "default")
        }
        assert {item["place"].partition("/")[0] for item in found} == {EVENTS, ROUTED}
        broken = False
        assert (await client.redriven())["accepted"] == 2
        await client.until_read()
        for customer in ("ada", "account:acme"):
            assert (await client.ask("GET", f"/v1/customers/{customer}")).status_code == 200
        first, second = await client.records(EVENTS)
        assert parts(first) == parts(second)
        assert (await client.listed())["rejected"] == []


@pytest.mark.timeout(90)
async def test_pages_hold_each_item_once_and_only_cursors_of_this_list_count(shape: Shape) -> None:
    async with shape.running() as client:
        for number in range(7):
            shape.clock.move(1_000)
            await client.post("/v1/track", {"event": "Signed In", "properties": {"n": number}})
        seen: list[str] = []
        query = ""
        while True:
            page = await client.listed("?limit=3" + query)
            seen += [item["id"] for item in page["rejected"]]
            assert page["counts"] == {"no_identity": 7}
            if page["next"] is None:
                break
            query = f"&cursor={page['next']}"
            await refuse_spoiled(client, page["next"])
        assert len(seen) == len(set(seen)) == 7
        times = [item["rejected_at"] for item in (await client.listed())["rejected"]]
        assert times == sorted(times, reverse=True)
        moved = (await client.redriven(limit=4))["next"]
        foreign = await client.ask("GET", f"/v1/rejected?cursor={moved}")
        assert (foreign.status_code, foreign.json()["code"]) == (400, "bad_cursor")
        assert (await client.redriven(limit=4, cursor=moved))["next"] is None


async def refuse_spoiled(client: Client, cursor: str) -> None:
    """Whatever differs from a cursor that was given out is refused alike."""
    payload, _, signature = cursor.rpartition(".")
    for spoiled in (cursor[:-1], "A" + cursor, cursor.swapcase(), payload, f"{payload}.", f".{signature}", "x" * 900):
        answer = await client.ask("GET", f"/v1/rejected?cursor={spoiled}")
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_cursor"), spoiled


@pytest.mark.timeout(90)
async def test_a_body_is_shown_to_administrators_alone(shape: Shape) -> None:
    async with shape.running() as client:
        await client.post("/v1/track", b'{ "event":"Signed In", "email":"ada@example.com" }')
        page = await client.ask("GET", "/v1/rejected")
        assert "ada@example.com" not in page.text
        id_ = page.json()["rejected"][0]["id"]
        shown = await client.ask("GET", f"/v1/rejected/{id_}")
        assert shown.json()["body"] == '{ "event":"Signed In", "email":"ada@example.com" }'
        assert shown.headers["cache-control"] == "no-store"
        made = await client.ask("POST", "/v1/keys", {"kind": "token", "scopes": ["read"]})
        reader = made.json()["secret"]
        assert (await client.ask("GET", "/v1/rejected", token=reader)).status_code == 200
        for method, path in (("GET", f"/v1/rejected/{id_}"), ("POST", "/v1/rejected/redrive")):
            assert (await client.ask(method, path, {}, token=reader)).status_code == 403
        for nowhere in ("0-999999", "99-0", "x", "0-", "-1-0", "0-" + "9" * 40):
            answer = await client.ask("GET", f"/v1/rejected/{nowhere}")
            assert (answer.status_code, answer.json()["code"]) == (404, "unknown_rejected")


@pytest.mark.parametrize("shape", ["embedded"], indirect=True)
@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=-1", "limit=1e9", "limit=abc", "limit=201", "sort=;drop", "fields=__dict__", "state=gone"],
)
async def test_parameters_that_mean_nothing_are_refused(shape: Shape, query: str) -> None:
    async with shape.running() as client:
        answer = await client.ask("GET", f"/v1/rejected?{query}")
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_parameter")


@pytest.mark.parametrize("shape", ["embedded"], indirect=True)
async def test_what_the_documentation_shows_can_be_sent_and_is_what_comes_back(shape: Shape) -> None:
    async with shape.running() as client:
        schemas = (await client.ask("GET", "/openapi.json")).json()["components"]["schemas"]
        (example,) = schemas["RedriveBody"]["examples"]
        shown = {name: field["examples"][0] for name, field in schemas["RejectedBody"]["properties"].items()}
        assert (await client.redriven(**example))["accepted"] == 0
        await client.post("/v1/track", shown["body"].encode())
        (item,) = (await client.listed())["rejected"]
        found = (await client.ask("GET", f"/v1/rejected/{item['id']}")).json()
        own = ("id", "source", "rejected_at")
        assert {name: found[name] for name in found if name not in own} == {
            name: shown[name] for name in shown if name not in own
        }


@pytest.mark.timeout(90)
async def test_only_the_named_ones_are_redriven(shape: Shape) -> None:
    async with shape.running() as client:
        await client.mode("strict")
        for number in range(3):
            await client.post("/v1/track", {"event": "Teapot Boiled", "userId": f"u-{number}"})
        await client.mode("open")
        ids = [item["id"] for item in (await client.listed())["rejected"]]
        assert (await client.redriven(ids=ids[:1]))["accepted"] == 1
        assert (await client.redriven(ids=ids[:2]))["accepted"] == 1
        assert (await client.redriven(source="nobody"))["accepted"] == 0
        assert (await client.redriven(before="2001-01-01T00:00:00Z"))["accepted"] == 0
        assert (await client.redriven(source="default"))["accepted"] == 1
        assert len(await client.records(EVENTS)) == 3
        for body in ({"ids": ["nonsense"]}, {"cursor": "nonsense"}, {"limit": 0}, {"limit": 10_001}, {"all": True}):
            answer = await client.ask("POST", "/v1/rejected/redrive", body)
            assert answer.status_code in (400, 404, 422)
