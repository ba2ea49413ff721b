"""Idempotency-Key: the same request again gets the same bytes, another under its key is refused."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from ingest import idempotency, reading
from ingest.native import PATH
from ingest.ports import Source
from schemas.times import DAY, HOUR
from schemas.topics import EVENTS
from services.eventlog.port import LogUnavailable
from services.storage.database import Database
from services.storage.replays import ABANDONED, StoredReplays, replays_metadata, replays_table
from tests.integration.ingest.native_serving import EVENT, NativeServed, native_serving, problem_of
from tests.support.databases import BOTH, made_database

KEY = {"Idempotency-Key": "order-42"}


@pytest.fixture(params=BOTH)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """SQLite or PostgreSQL, with the table of the answers."""
    yield from made_database(request, tmp_path, replays_metadata)


@pytest.fixture
async def native(tmp_path: Path, database: Database) -> AsyncIterator[NativeServed]:
    """A running door with the native route."""
    async with native_serving(tmp_path, database) as found:
        yield found


def kept(native: NativeServed) -> int:
    with native.database.reading() as transaction:
        return int(transaction.connection.execute(select(func.count()).select_from(replays_table)).scalar_one())


def answered(answer: httpx.Response) -> tuple[int, bytes, str | None]:
    return answer.status_code, answer.content, answer.headers.get("idempotency-replayed")


async def test_the_same_request_again_gets_the_same_bytes_and_adds_nothing(native: NativeServed) -> None:
    first = await native.post(EVENT, **KEY)
    native.build()
    again = await native.post(EVENT, **KEY)
    assert answered(first) == (202, first.content, None)
    assert answered(again) == (202, first.content, "true")
    assert again.headers["access-control-allow-origin"] == "*"
    assert len(await native.served.records(EVENTS)) == 1


async def test_without_the_key_the_event_is_called_a_duplicate(native: NativeServed) -> None:
    await native.post(EVENT, **KEY)
    again = await native.post(EVENT)
    assert (again.json()["duplicates"], again.headers.get("idempotency-replayed")) == (1, None)


@pytest.mark.parametrize(
    "changed",
    [{"event": {**EVENT, "id": "43"}}, {"content_type": "application/json"}, {"headers": {"ce-other": "x"}}],
)
async def test_another_request_under_the_key_is_refused_and_not_stored(
    native: NativeServed, changed: dict[str, Any]
) -> None:
    await native.post(EVENT, **KEY)
    appends = native.served.switch.appends
    answer = await native.post(
        changed.get("event", EVENT),
        changed.get("content_type", "application/cloudevents+json"),
        **KEY,
        **changed.get("headers", {}),
    )
    assert problem_of(answer) == (409, "idempotency_conflict", [])
    assert native.served.switch.appends == appends


async def test_in_binary_mode_the_attributes_are_part_of_the_request(native: NativeServed) -> None:
    headers = {f"ce-{name}": str(value) for name, value in EVENT.items() if name != "data"}
    async with native.client() as client:
        first = await client.post(PATH, headers={**headers, **KEY}, content=b"")
        other = await client.post(PATH, headers={**headers, **KEY, "ce-id": "43"}, content=b"")
    assert first.status_code == 202
    assert problem_of(other)[:2] == (409, "idempotency_conflict")


@pytest.mark.parametrize("key", ["", "x" * 256, "x" * 10_000, "a\tb", "caf\xe9"])
async def test_a_key_is_short_printable_ascii(native: NativeServed, key: str) -> None:
    async with native.client() as client:
        answer = await client.post(PATH, json=EVENT, headers=[(b"Idempotency-Key", key.encode("latin-1"))])
    assert problem_of(answer) == (400, "invalid_idempotency_key", [])
    assert (native.served.switch.appends, kept(native)) == (0, 0)


async def test_a_key_comes_once(native: NativeServed) -> None:
    async with native.client() as client:
        answer = await client.post(PATH, json=EVENT, headers=[("Idempotency-Key", "a"), ("Idempotency-Key", "b")])
    assert problem_of(answer) == (400, "invalid_idempotency_key", [])


async def test_a_refused_request_leaves_its_key_free(native: NativeServed) -> None:
    assert problem_of(await native.post({}, **KEY))[1] == "ce_missing_attribute"
    native.served.switch.failures = [LogUnavailable("away")]
    assert problem_of(await native.post(EVENT, **KEY))[1] == "log_unavailable"
    assert kept(native) == 0
    assert answered(await native.post(EVENT, **KEY))[::2] == (202, None)
    assert kept(native) == 1


async def test_a_rejected_event_is_an_answer_and_is_kept(native: NativeServed) -> None:
    first = await native.post({**EVENT, "subject": None}, **KEY)
    assert first.json()["rejected"] == [{"index": 0, "code": "no_identity"}]
    assert answered(await native.post({**EVENT, "subject": None}, **KEY)) == (202, first.content, "true")


async def test_the_same_request_waits_for_the_first_one(native: NativeServed) -> None:
    switch = native.served.switch
    switch.open.clear()
    first = asyncio.create_task(native.post(EVENT, **KEY))
    await switch.reached.wait()
    second = asyncio.create_task(native.post(EVENT, **KEY))
    conflicting = await native.post({**EVENT, "id": "43"}, **KEY)
    assert problem_of(conflicting)[1] == "idempotency_conflict"
    assert not second.done()
    switch.open.set()
    assert answered(await second) == (202, (await first).content, "true")
    assert switch.appends == 1


async def test_it_does_not_wait_for_ever(native: NativeServed, monkeypatch: pytest.MonkeyPatch) -> None:
    switch = native.served.switch
    switch.open.clear()
    first = asyncio.create_task(native.post(EVENT, **KEY))
    await switch.reached.wait()
    monkeypatch.setattr(reading, "ANSWER_SECONDS", 0.2)
    assert problem_of(await native.post(EVENT, **KEY)) == (503, "unavailable", [])
    switch.open.set()
    assert (await first).status_code == 202


async def test_keys_are_those_of_a_workspace(native: NativeServed, monkeypatch: pytest.MonkeyPatch) -> None:
    await native.post(EVENT, **KEY)

    async def elsewhere(_: str) -> Source:
        return Source("elsewhere", "shop")

    monkeypatch.setattr(native.served.keys, "source", elsewhere)
    assert answered(await native.post({**EVENT, "id": "43"}, **KEY))[::2] == (202, None)


async def test_answers_are_kept_for_a_day(native: NativeServed) -> None:
    await native.post(EVENT, **KEY)
    native.served.now += DAY - 1
    assert answered(await native.post(EVENT, **KEY))[2] == "true"
    native.served.now += 1
    assert answered(await native.post({**EVENT, "id": "43"}, **KEY))[::2] == (202, None)
    await native.post(EVENT, **{"Idempotency-Key": "another"})
    native.served.now += DAY + 2 * HOUR
    await native.post(EVENT, **{"Idempotency-Key": "a third"})
    assert kept(native) == 1


async def test_a_key_whose_process_died_is_free_again_for_the_same_request(native: NativeServed) -> None:
    hashed, content = idempotency.checked_key(b"order-42"), idempotency.hash_of(b"{}")
    assert hashed is not None
    replays = StoredReplays(native.database, lambda: native.served.now)
    assert (await replays.begin("default", hashed, content)).state == "new"
    assert (await replays.begin("default", hashed, content)).state == "running"
    assert (await replays.begin("default", hashed, "other")).state == "other"
    native.served.now += ABANDONED
    assert (await replays.begin("default", hashed, "other")).state == "other"
    assert (await replays.begin("default", hashed, content)).state == "new"
    assert (await replays.begin("default", hashed, content)).state == "running"


async def test_many_at_once_are_one(native: NativeServed) -> None:
    answers = await asyncio.gather(*(native.post(EVENT, **KEY) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    assert len(await native.served.records(EVENTS)) == 1


async def test_a_database_that_is_away_refuses_keys_and_nothing_else(native: NativeServed) -> None:
    native.replays.broken = "begin"
    assert problem_of(await native.post(EVENT, **KEY)) == (503, "unavailable", [])
    assert native.served.switch.appends == 0
    assert (await native.post(EVENT)).status_code == 202


@pytest.mark.parametrize("step", ["finish", "give_up"])
async def test_a_database_that_goes_away_changes_no_answer(native: NativeServed, step: str) -> None:
    native.replays.broken = step
    if step == "finish":
        assert (await native.post(EVENT, **KEY)).status_code == 202
    else:
        assert problem_of(await native.post({}, **KEY))[1] == "ce_missing_attribute"
    native.replays.broken = ""
    native.served.now += ABANDONED
    again = await native.post(EVENT if step == "finish" else {}, **KEY)
    assert again.status_code == (202 if step == "finish" else 400)


async def test_tracking_calls_ignore_the_header(native: NativeServed) -> None:
    async with native.client() as client:
        for number in range(2):
            body = {"userId": "ada", "event": "Signed In", "messageId": f"m{number}"}
            assert (await client.post("/v1/track", json=body, headers=KEY)).json() == {"success": True}
    assert len(await native.served.records(EVENTS)) == 2
    assert kept(native) == 0
