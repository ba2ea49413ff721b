"""Segment's SDK for browsers, unmodified, in a page of another origin, against the door on a real socket."""

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from schemas.records import header, read_envelope
from schemas.topics import EVENTS, REJECTED
from services.eventlog.port import LogUnavailable
from tests.support.node import node_clients
from tests.support.sdk_calls import CALLS, MOMENT, NAMES, arrived, assert_unchanged, burst
from tests.support.shops import Shop, open_shop

__all__ = ["node_clients"]

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

OF_THE_PAGE: Final = ("path", "referrer", "search", "title", "url")
START: Final = """
    ([settings, options]) => {
        window.analytics = AnalyticsNext.AnalyticsBrowser.load(settings, options)
        return window.analytics.then(() => true, (error) => String(error))
    }
"""
CALL: Final = """
    async (calls) => {
        await analytics.setAnonymousId('7f')
        for (const [name, ...given] of calls) await analytics[name](...given)
    }
"""


async def load(shop: Shop, settings: Mapping[str, Any], options: Mapping[str, Any] | None = None) -> object:
    """Open the page and start the SDK with these arguments; True, or the error that it told of."""
    await shop.visit()
    return await shop.page.evaluate(START, [settings, options or {}])


async def load_by_host(shop: Shop) -> None:
    """As the how-to page says: a key, and the host that the settings come from."""
    assert await load(shop, {"writeKey": "good", "cdnURL": shop.served.url}) is True


async def load_batching(shop: Shop, size: int, flush_ms: int) -> None:
    """Without asking for settings: everything stands in the page; so many events per request."""
    batching = {"strategy": "batching", "config": {"size": size, "timeout": flush_ms}}
    host = shop.served.url.removeprefix("http://") + "/v1"
    options = {"apiHost": host, "protocol": "http", "deliveryStrategy": batching}
    settings = {"writeKey": "good", "cdnSettings": {"integrations": {"Segment.io": {"apiKey": "good"}}}}
    assert await load(shop, settings, {"integrations": {"Segment.io": options}}) is True


async def make(shop: Shop, calls: Sequence[Mapping[str, Any]]) -> None:
    """Make these calls one after the other."""
    await shop.page.evaluate(CALL, [arguments(call) for call in calls])


def arguments(call: Mapping[str, Any]) -> list[Any]:
    """A message of the specification as the arguments of the browser's calls: the SDK knows the customer by itself."""
    options = {name: call[name] for name in ("messageId", "timestamp", "context", "integrations") if name in call}
    match call["type"]:
        case "identify":
            first = [call["userId"], call["traits"]]
        case "track":
            first = [call["event"], call["properties"]]
        case "group":
            first = [call["groupId"], call["traits"]]
        case "alias":
            first = [call["userId"], call["previousId"]]
        case _:
            first = [call.get("category"), call["name"], call["properties"]]
    return [call["type"], *first, options]


def of_one_customer() -> list[Mapping[str, Any]]:
    """The calls in a page's order: a visitor, who then signs in."""
    calls = [{**call, "timestamp": MOMENT} for call in CALLS]
    visit, last = calls.pop(2), calls.pop()
    return [visit, *calls, {**last, "userId": "ada"}]


@pytest.fixture
async def shop(tmp_path: Path, node_clients: Path) -> AsyncIterator[Shop]:
    """A page with the SDK as its maker built it for pages without a bundler."""
    async with open_shop(tmp_path, node_clients / "node_modules/@segment/analytics-next/dist/umd") as shop:
        yield shop


async def test_every_call_of_a_page_that_knows_only_a_key_and_a_host_arrives_once_and_unchanged(shop: Shop) -> None:
    calls = of_one_customer()
    await load_by_host(shop)
    await make(shop, calls)
    found = arrived(await shop.records(len(calls)))
    names = {
        message_id: (read_envelope(record).subject, read_envelope(record).name) for message_id, record in found.items()
    }
    assert names == {**NAMES, "m8": ("user:ada", "Invited")}
    for call in calls:
        assert_unchanged(call, found[call["messageId"]], adds=OF_THE_PAGE)
        assert header(found[call["messageId"]].headers, "ce_flags") is None
    assert await shop.served.records(REJECTED) == []
    assert shop.asked.count(f"{shop.served.url}/v1/projects/good/settings") == 1
    assert shop.paths(shop.preflights) == {"/v1/i", "/v1/t", "/v1/p", "/v1/s", "/v1/g", "/v1/a"}
    assert "/v1/m" not in shop.paths(shop.asked)


async def test_batches_of_a_page_with_its_settings_inside_arrive_each_event_once(shop: Shop) -> None:
    await load_batching(shop, size=10, flush_ms=500)
    await make(shop, [{**call, "userId": ""} for call in burst(45)])
    found = arrived(await shop.records(45))
    assert {f"n{number}" for number in range(45)} == set(found)
    assert shop.asked.count(f"{shop.served.url}/v1/b") >= 5
    assert not any("/settings" in url for url in shop.asked)


async def test_what_is_still_in_the_page_when_it_is_left_arrives(shop: Shop) -> None:
    await load_batching(shop, size=100, flush_ms=60_000)
    await make(shop, burst(12))
    assert await shop.served.records(EVENTS) == []
    await shop.page.goto("about:blank")
    assert set(arrived(await shop.records(12), repeated=True)) == {f"n{number}" for number in range(12)}


async def test_the_sdk_sends_again_until_the_log_is_back(shop: Shop) -> None:
    await load_by_host(shop)
    shop.served.switch.failures = [LogUnavailable()]
    await make(shop, burst(3))
    assert set(arrived(await shop.records(3))) == {"n0", "n1", "n2"}


async def test_a_lost_answer_repeats_an_event_under_the_same_id(shop: Shop) -> None:
    await load_by_host(shop)
    shop.served.switch.answers_lost = 1
    await make(shop, burst(3))
    assert set(arrived(await shop.records(3, copies=1), repeated=True)) == {"n0", "n1", "n2"}


async def test_with_a_wrong_key_the_page_learns_it_from_the_settings_and_sends_nothing(shop: Shop) -> None:
    told = await load(shop, {"writeKey": "bad", "cdnURL": shop.served.url})
    assert "unknown_write_key" in str(told)
    assert not any("/v1/t" in url for url in shop.asked)
    assert shop.served.switch.appends == 0
