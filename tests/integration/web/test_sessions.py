"""Sign-in links work once and for ten minutes; cookies end when their session does."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from schemas.times import DAY, MINUTE
from services.runtime.clock import ManualClock
from services.runtime.ids import RandomIds
from services.storage.database import Database
from services.web.sessions import LINK_LIFE, SESSION_LIFE, SIGN_IN_PATH, Sessions, metadata

NOW = 1_795_000_000_000


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database of either kind with the tables of sessions."""
    if request.param == "sqlite":
        where: str | Path = tmp_path / "web.db"
    else:
        make: Callable[[], str] = request.getfixturevalue("fresh_database")
        where = make()
    made = Database(where)
    made.create(metadata)
    yield made
    made.close()


@pytest.fixture
def clock() -> ManualClock:
    """A clock that the test moves."""
    return ManualClock(NOW)


@pytest.fixture
def sessions(database: Database, clock: ManualClock) -> Sessions:
    """The sessions under test."""
    return Sessions(database, clock, RandomIds(clock.now))


def code_of(path: str) -> str:
    """The code in a link's path."""
    assert path.startswith(SIGN_IN_PATH + "/")
    return path.removeprefix(SIGN_IN_PATH + "/")


def test_a_link_signs_in_once_with_the_scopes_it_was_made_with(sessions: Sessions) -> None:
    code = code_of(sessions.make_link("default", {"read", "write"}))
    cookie = sessions.redeem(code)
    session = sessions.find(cookie)
    assert session is not None
    assert session.workspace == "default"
    assert session.scopes == frozenset({"read", "write"})
    assert sessions.redeem(code) is None


def test_a_link_is_worth_nothing_after_ten_minutes(sessions: Sessions, clock: ManualClock) -> None:
    assert LINK_LIFE == 10 * MINUTE
    early, late = (code_of(sessions.make_link("default", {"read"})) for _ in range(2))
    clock.move(LINK_LIFE - 1)
    assert sessions.redeem(early) is not None
    clock.move(1)
    assert sessions.redeem(late) is None


def test_a_link_is_stored_only_as_a_hash(sessions: Sessions, database: Database) -> None:
    code = code_of(sessions.make_link("default", {"read"}))
    with database.reading() as transaction:
        rows = transaction.connection.execute(text("SELECT * FROM web_sign_in_links")).all()
    assert len(rows) == 1
    assert code not in str(rows)


@pytest.mark.parametrize("code", ["", "x", "ñ\ud800", "a" * 5000, "' OR 1=1 --"])
def test_a_made_up_code_is_refused(sessions: Sessions, code: str) -> None:
    sessions.make_link("default", {"read"})
    assert sessions.redeem(code) is None


def test_a_session_ends_after_two_weeks(sessions: Sessions, clock: ManualClock) -> None:
    assert SESSION_LIFE == 14 * DAY
    cookie = sessions.open("default", {"read"})
    clock.move(SESSION_LIFE - 1)
    assert sessions.find(cookie) is not None
    clock.move(1)
    assert sessions.find(cookie) is None


def test_a_signed_out_session_stays_out_even_with_a_copy_of_its_cookie(sessions: Sessions) -> None:
    cookie, other = (sessions.open("default", {"read"}) for _ in range(2))
    sessions.end(cookie)
    sessions.end(cookie)
    assert sessions.find(cookie) is None
    assert sessions.find(other) is not None


def test_a_changed_cookie_is_refused(sessions: Sessions) -> None:
    cookie = sessions.open("default", {"read"})
    middle = len(cookie) // 3
    changed = cookie[:middle] + ("A" if cookie[middle] != "A" else "B") + cookie[middle + 1 :]
    assert sessions.find(cookie) is not None
    for wrong in (changed, cookie + "x", "", "a.b", None, "é" * 10):
        assert sessions.find(wrong) is None


def test_the_secret_outlives_a_restart_and_other_servers_have_other_cookies(
    sessions: Sessions, database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    cookie = sessions.open("default", {"read"})
    again = Sessions(database, clock, RandomIds(clock.now))
    assert again.find(cookie) is not None
    assert again.cookie_name == sessions.cookie_name
    elsewhere = Database(tmp_path / "other.db")
    elsewhere.create(metadata)
    other = Sessions(elsewhere, clock, RandomIds(clock.now))
    assert other.find(cookie) is None
    assert other.cookie_name != sessions.cookie_name
    elsewhere.close()
