"""A browser is signed in as long as the token is valid that it signed in with."""

import httpx
import pytest

from services.runtime.clock import ManualClock
from services.storage.database import Database
from services.storage.keys import ALL_SCOPES, Key, KeyKind, add_key, keys_table
from services.web.sessions import Sessions
from tests.integration.web.conftest import ORIGIN

TOKEN = "pt_of_somebody_who_leaves"


@pytest.fixture(autouse=True)
def token(web_database: Database, clock: ManualClock) -> None:
    """A token of its own beside the one of the environment."""
    with web_database.transaction() as transaction:
        add_key(transaction.connection, TOKEN, Key(KeyKind.API, "default", "default", ALL_SCOPES), clock.now())


def revoke(database: Database) -> None:
    with database.transaction() as transaction:
        transaction.connection.execute(keys_table.update().values(revoked_at=1))


async def signed_in(client: httpx.AsyncClient) -> bool:
    """Whether the front page opens; if not, the browser is sent to sign in."""
    answer = await client.get("/")
    assert answer.status_code in (200, 303)
    return answer.status_code == 200


async def test_a_browser_that_signed_in_with_a_token_is_signed_out_with_it(
    visitor: httpx.AsyncClient, web_database: Database, clock: ManualClock
) -> None:
    answer = await visitor.post("/sign-in", data={"token": TOKEN}, headers={"Origin": ORIGIN})
    assert answer.status_code == 303
    assert await signed_in(visitor)
    revoke(web_database)
    clock.move(60_000)
    assert not await signed_in(visitor)


async def test_a_link_that_a_token_made_is_worth_nothing_without_it(
    visitor: httpx.AsyncClient, web_database: Database, clock: ManualClock
) -> None:
    made = await visitor.post("/v1/sign-in-links", headers={"Authorization": f"Bearer {TOKEN}"})
    assert made.status_code == 201
    revoke(web_database)
    clock.move(60_000)
    await visitor.get(made.json()["url"].removeprefix(ORIGIN))
    assert not await signed_in(visitor)


async def test_a_browser_that_the_start_signed_in_needs_no_token(
    visitor: httpx.AsyncClient, sessions: Sessions, web_database: Database, clock: ManualClock
) -> None:
    await visitor.get(sessions.make_link("default", ALL_SCOPES))
    revoke(web_database)
    clock.move(60_000)
    assert await signed_in(visitor)
