"""Keys and sources over HTTP: made, shown once, replaced, revoked, and nobody else's."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from schemas.times import DAY, HOUR
from services.runtime.clock import ManualClock
from services.runtime.ids import RandomIds
from services.storage.database import Database
from services.storage.key_admin import KeyAdmin
from services.storage.keys import ALL_SCOPES, Key, KeyKind, KeyRing, Scope, add_key, keys_metadata, keys_table
from services.web.auth import Auth
from services.web.keys_http import keys_router
from services.web.problems import install_problems
from services.web.sources_http import sources_router

ADMIN = Key(KeyKind.API, "default", "default", ALL_SCOPES, id="given-api-token")
READER = Key(KeyKind.API, "default", "default", frozenset({Scope.READ}))
WRITER = Key(KeyKind.WRITE, "default", "default", id="given-write-key")


class Served:
    """An application with the routes of keys and sources, and its ring."""

    def __init__(self, database: Database, clock: ManualClock, given: dict[str, Key]) -> None:
        self.ring = KeyRing(database, clock.now, {**given, "reader": READER})
        admin = KeyAdmin(database, clock, RandomIds(clock.now), given)
        app = FastAPI(redirect_slashes=False)
        install_problems(app, lambda: "request-1")
        auth = Auth(self.ring)
        app.include_router(keys_router(auth, admin, clock, self.ring.forget))
        app.include_router(sources_router(auth, admin, self.ring.forget))
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://parcours")

    async def ask(
        self, method: str, path: str, body: Any = None, token: str = "admin", **headers: str
    ) -> httpx.Response:
        """Ask as the holder of a token."""
        sent = {"Authorization": f"Bearer {token}"} | {name.replace("_", "-"): text for name, text in headers.items()}
        return await self.client.request(method, path, json=body, headers=sent)


@pytest.fixture
async def served(web_database: Database, clock: ManualClock) -> AsyncIterator[Served]:
    found = Served(web_database, clock, {"admin": ADMIN, "writer": WRITER})
    yield found
    await found.client.aclose()


def state(answer: httpx.Response) -> tuple[int, str | None]:
    """Status and code of an answer."""
    return answer.status_code, answer.json().get("code") if answer.content else None


async def test_a_secret_is_shown_once_and_opens_what_it_was_made_for(served: Served) -> None:
    answer = await served.ask("POST", "/v1/keys", {"kind": "write", "source": "shop", "name": "web shop"})
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    made = answer.json()
    assert made["secret"].startswith("wk_")
    assert answer.headers["location"] == f"/v1/keys/{made['key']['id']}"
    found = await served.ring.source(made["secret"])
    assert found is not None
    assert (found.workspace, found.name, found.key) == ("default", "shop", made["key"]["id"])
    listed, shown = await served.ask("GET", "/v1/keys"), await served.ask("GET", answer.headers["location"])
    assert made["secret"] not in listed.text + shown.text
    assert shown.json() == made["key"]
    assert (made["key"]["state"], made["key"]["name"], made["key"]["expires_at"]) == ("active", "web shop", None)


async def test_a_token_allows_exactly_the_scopes_it_was_given(served: Served) -> None:
    made = (await served.ask("POST", "/v1/keys", {"kind": "token", "scopes": ["read"]})).json()
    assert made["secret"].startswith("pt_")
    assert (await served.ask("GET", "/v1/sources", token=made["secret"])).status_code == 200
    assert state(await served.ask("GET", "/v1/keys", token=made["secret"])) == (403, "scope")


async def test_only_administrators_may_know_or_change_keys(served: Served) -> None:
    attempts = [
        ("GET", "/v1/keys", None),
        ("POST", "/v1/keys", {"kind": "write"}),
        ("GET", "/v1/keys/key-0000000000000000", None),
        ("POST", "/v1/keys/key-0000000000000000/rotate", {}),
        ("DELETE", "/v1/keys/key-0000000000000000", None),
        ("PUT", "/v1/sources/shop", {"mode": "strict"}),
    ]
    for method, path, body in attempts:
        assert state(await served.ask(method, path, body, token="reader")) == (403, "scope")
        assert state(await served.ask(method, path, body, token="writer")) == (403, "scope")
        assert state(await served.ask(method, path, body, token="nobody")) == (401, "unauthorized")


async def test_a_revoked_key_ends_at_once_here(served: Served) -> None:
    made = (await served.ask("POST", "/v1/keys", {"kind": "write"})).json()
    assert await served.ring.source(made["secret"]) is not None
    path = f"/v1/keys/{made['key']['id']}"
    assert (await served.ask("DELETE", path)).status_code == 204
    assert await served.ring.source(made["secret"]) is None
    assert (await served.ask("DELETE", path)).status_code == 204, "again"
    assert (await served.ask("GET", path)).json()["state"] == "revoked"
    assert made["key"]["id"] not in (await served.ask("GET", "/v1/keys")).text
    assert made["key"]["id"] in (await served.ask("GET", "/v1/keys?ended=true")).text


async def test_a_replaced_key_remains_valid_for_its_grace(served: Served, clock: ManualClock) -> None:
    old = (await served.ask("POST", "/v1/keys", {"kind": "write", "source": "shop", "name": "till"})).json()
    path = f"/v1/keys/{old['key']['id']}/rotate"
    new = (await served.ask("POST", path, {"grace": "1h"})).json()
    assert (new["key"]["source"], new["key"]["name"], new["key"]["kind"]) == ("shop", "till", "write")
    assert (await served.ask("GET", f"/v1/keys/{old['key']['id']}")).json()["replaced_by"] == new["key"]["id"]
    assert state(await served.ask("POST", path, {})) == (409, "key_replaced")
    assert await served.ring.source(old["secret"]) is not None
    assert await served.ring.source(new["secret"]) is not None
    clock.move(HOUR)
    assert await served.ring.source(old["secret"]) is None
    assert await served.ring.source(new["secret"]) is not None
    assert (await served.ask("GET", f"/v1/keys/{old['key']['id']}")).json()["state"] == "expired"


async def test_without_a_grace_a_replaced_key_ends_at_once(served: Served) -> None:
    old = (await served.ask("POST", "/v1/keys", {"kind": "write"})).json()
    new = (await served.ask("POST", f"/v1/keys/{old['key']['id']}/rotate", {})).json()
    assert await served.ring.source(old["secret"]) is None
    assert await served.ring.source(new["secret"]) is not None


async def test_the_successor_of_a_key_that_ends_lives_as_long_as_it_did(served: Served, clock: ManualClock) -> None:
    old = (await served.ask("POST", "/v1/keys", {"kind": "write", "expires_in": "10d"})).json()
    clock.move(4 * DAY)
    new = (await served.ask("POST", f"/v1/keys/{old['key']['id']}/rotate", {"grace": "7d"})).json()
    clock.move(6 * DAY)
    assert await served.ring.source(old["secret"]) is None, "a grace does not prolong it"
    assert await served.ring.source(new["secret"]) is not None
    clock.move(4 * DAY)
    assert await served.ring.source(new["secret"]) is None


async def test_keys_of_the_environment_are_listed_and_changed_only_there(served: Served) -> None:
    given = [key for key in (await served.ask("GET", "/v1/keys")).json()["keys"] if key["given"]]
    assert [key["id"] for key in given] == ["given-api-token", "given-write-key"]
    for key in given:
        path = f"/v1/keys/{key['id']}"
        assert (await served.ask("GET", path)).json() == key
        assert state(await served.ask("DELETE", path)) == (409, "key_given")
        assert state(await served.ask("POST", path + "/rotate", {})) == (409, "key_given")


async def test_the_last_administrator_stays(web_database: Database, clock: ManualClock) -> None:
    with web_database.transaction() as transaction:
        first = add_key(
            transaction.connection, "first", Key(KeyKind.API, "default", "default", ALL_SCOPES), clock.now()
        )
        elsewhere = Key(KeyKind.API, "elsewhere", "default", ALL_SCOPES)
        add_key(transaction.connection, "elsewhere", elsewhere, clock.now())
    served = Served(web_database, clock, {})
    assert state(await served.ask("DELETE", f"/v1/keys/{first}", token="first")) == (409, "last_admin_token")
    body = {"kind": "token", "scopes": ["admin"], "expires_in": "1h"}
    second = (await served.ask("POST", "/v1/keys", body, token="first")).json()
    clock.move(HOUR)
    assert state(await served.ask("DELETE", f"/v1/keys/{first}", token="first")) == (409, "last_admin_token")
    third = (await served.ask("POST", "/v1/keys", body, token="first")).json()
    assert (await served.ask("DELETE", f"/v1/keys/{first}", token="first")).status_code == 204
    assert (await served.ask("DELETE", f"/v1/keys/{second['key']['id']}", token=third["secret"])).status_code == 204
    own = f"/v1/keys/{third['key']['id']}"
    assert state(await served.ask("DELETE", own, token=third["secret"])) == (409, "last_admin_token")
    await served.client.aclose()


async def test_keys_of_another_workspace_do_not_exist(
    served: Served, web_database: Database, clock: ManualClock
) -> None:
    with web_database.transaction() as transaction:
        foreign = add_key(transaction.connection, "foreign", Key(KeyKind.WRITE, "other", "till"), clock.now())
    before = rows(web_database)
    for method, path, body in (
        ("GET", f"/v1/keys/{foreign}", None),
        ("DELETE", f"/v1/keys/{foreign}", None),
        ("POST", f"/v1/keys/{foreign}/rotate", {}),
        ("GET", "/v1/keys/nonsense", None),
        ("DELETE", "/v1/keys/key-%25", None),
    ):
        assert state(await served.ask(method, path, body)) == (404, "unknown_key")
    assert foreign not in (await served.ask("GET", "/v1/keys?ended=true")).text
    assert state(await served.ask("GET", "/v1/sources/till")) == (404, "unknown_source")
    assert rows(web_database) == before


def rows(database: Database) -> list[Any]:
    with database.reading() as transaction:
        return list(transaction.connection.execute(keys_table.select()).all())


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"kind": "root"},
        {"kind": "write", "scopes": ["admin"]},
        {"kind": "token"},
        {"kind": "token", "scopes": ["everything"]},
        {"kind": "write", "source": "../etc"},
        {"kind": "write", "source": "x" * 65},
        {"kind": "write", "source": "shop\n"},
        {"kind": "write", "name": ""},
        {"kind": "write", "name": "x" * 65},
        {"kind": "write", "name": "nul\x00"},
        {"kind": "write", "expires_in": "0s"},
        {"kind": "write", "expires_in": "tomorrow"},
        {"kind": "write", "expires_in": "999999w"},
        {"kind": "write", "workspace": "other"},
        {"kind": "write", "secret": "chosen"},
        [],
    ],
)
async def test_a_key_that_cannot_be_is_not_made(served: Served, web_database: Database, body: Any) -> None:
    assert state(await served.ask("POST", "/v1/keys", body)) == (422, "invalid_body")
    assert rows(web_database) == []


@pytest.mark.parametrize("grace", ["8d", "-1s", "soon", "", 5, None])
async def test_a_grace_is_a_duration_of_a_week_at_most(served: Served, grace: Any) -> None:
    old = (await served.ask("POST", "/v1/keys", {"kind": "write"})).json()
    answer = await served.ask("POST", f"/v1/keys/{old['key']['id']}/rotate", {"grace": grace})
    assert state(answer) == (422, "invalid_body")
    assert await served.ring.source(old["secret"]) is not None


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
async def test_what_a_foreign_page_can_post_changes_nothing(
    served: Served, web_database: Database, content_type: str
) -> None:
    for method, path in (
        ("POST", "/v1/keys"),
        ("PUT", "/v1/sources/shop"),
        ("POST", "/v1/keys/given-write-key/rotate"),
    ):
        headers = {"Authorization": "Bearer admin"} | ({"Content-Type": content_type} if content_type else {})
        answer = await served.client.request(
            method, path, content=b'{"kind": "write", "mode": "open"}', headers=headers
        )
        assert state(answer) == (415, "unsupported_media_type")
    assert rows(web_database) == []


async def test_a_source_is_changed_by_whoever_read_it_last(served: Served) -> None:
    await served.ask("POST", "/v1/keys", {"kind": "write", "source": "shop"})
    read = await served.ask("GET", "/v1/sources/shop", token="reader")
    assert read.json() == {"name": "shop", "mode": "open", "events_per_second": None, "burst": None, "keys": 1}
    strict = {"mode": "strict", "events_per_second": 5, "burst": 50}
    first = await served.ask("PUT", "/v1/sources/shop", strict, If_Match=read.headers["etag"])
    assert first.status_code == 200
    assert first.json() == {"name": "shop", **strict, "keys": 1}
    stale = await served.ask("PUT", "/v1/sources/shop", {"mode": "warn"}, If_Match=read.headers["etag"])
    assert state(stale) == (412, "stale")
    assert state(await served.ask("PUT", "/v1/sources/shop", {"mode": "warn"})) == (428, "precondition_required")
    for unusable in ("5f0c", "", '"', '"a\tb"'):
        answer = await served.ask("PUT", "/v1/sources/shop", {"mode": "warn"}, If_Match=unusable)
        assert answer.status_code in (400, 428)
    again = await served.ask("GET", "/v1/sources/shop")
    assert (again.json(), again.headers["etag"]) == (first.json(), first.headers["etag"])
    either = await served.ask("PUT", "/v1/sources/shop", {"mode": "warn"}, If_Match=f'"other", {again.headers["etag"]}')
    assert either.status_code == 200
    assert (await served.ask("PUT", "/v1/sources/shop", {"mode": "open"}, If_Match="*")).status_code == 200


async def test_rules_may_come_before_the_first_key_and_hold_for_all_of_them(served: Served) -> None:
    made = await served.ask("PUT", "/v1/sources/till", {"mode": "strict", "burst": 7})
    assert made.status_code == 200
    listed = (await served.ask("GET", "/v1/sources")).json()["sources"]
    assert [(source["name"], source["mode"], source["keys"]) for source in listed] == [
        ("default", "open", 1),
        ("till", "strict", 0),
    ]
    secret = (await served.ask("POST", "/v1/keys", {"kind": "write", "source": "till"})).json()["secret"]
    found = await served.ring.source(secret)
    assert found is not None
    assert (found.mode, found.events_per_second, found.burst) == ("strict", None, 7)
    assert state(await served.ask("GET", "/v1/sources/nobody")) == (404, "unknown_source")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"mode": "off"},
        {"mode": "open", "burst": 0},
        {"mode": "open", "burst": -1},
        {"mode": "open", "burst": 10**12},
        {"mode": "open", "events_per_second": 1.5},
        {"mode": "open", "events_per_second": "many"},
        {"mode": "open", "name": "other"},
        "open",
    ],
)
async def test_rules_that_cannot_be_are_refused(served: Served, body: Any) -> None:
    assert state(await served.ask("PUT", "/v1/sources/shop", body)) == (422, "invalid_body")
    assert state(await served.ask("GET", "/v1/sources/shop")) == (404, "unknown_source")


@pytest.mark.parametrize("name", ["-", ".hidden", "a%20b", "x" * 65, "a%0Ab", "caf%C3%A9"])
async def test_a_source_has_a_name_that_is_plain_everywhere(served: Served, name: str) -> None:
    assert state(await served.ask("PUT", f"/v1/sources/{name}", {"mode": "open"})) == (400, "invalid_parameter")


@pytest.mark.postgres
async def test_keys_and_sources_are_administered_on_postgresql_too(
    fresh_database: Callable[[], str], clock: ManualClock
) -> None:
    database = Database(fresh_database())
    database.create(keys_metadata)
    served = Served(database, clock, {"admin": ADMIN})
    old = (await served.ask("POST", "/v1/keys", {"kind": "write", "source": "shop"})).json()
    new = (await served.ask("POST", f"/v1/keys/{old['key']['id']}/rotate", {"grace": "1h"})).json()
    assert (await served.ask("DELETE", f"/v1/keys/{old['key']['id']}")).status_code == 204
    assert await served.ring.source(old["secret"]) is None
    assert await served.ring.source(new["secret"]) is not None
    read = await served.ask("GET", "/v1/sources/shop")
    for status in (200, 412):
        answer = await served.ask("PUT", "/v1/sources/shop", {"mode": "strict"}, If_Match=read.headers["etag"])
        assert answer.status_code == status
    await served.client.aclose()
    database.close()
