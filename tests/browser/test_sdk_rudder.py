"""RudderStack's SDK for browsers, unmodified, in a page of another origin, against the door on a real socket."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from schemas.records import read_envelope
from schemas.topics import REJECTED
from services.eventlog.port import LogUnavailable
from tests.support.node import node_clients
from tests.support.sdk_calls import CALLS, arrived, assert_unchanged
from tests.support.shops import Shop, open_shop

__all__ = ["node_clients"]

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

OF_THE_PAGE: Final = (
    *("path", "referrer", "search", "title", "url", "tab_url", "name", "category"),
    *("initial_referrer", "initial_referring_domain", "referring_domain"),
)
REWRITTEN: Final = ("nothing", "plan", "list")
"""This SDK itself drops what is null, and makes an object of an empty list in a list."""
START: Final = """
    ([key, host, options]) => {
        window.analytics = new rudderanalytics.RudderAnalytics()
        analytics.load(key, host, {logLevel: 'ERROR', ...options})
        analytics.setAnonymousId('7f')
        return new Promise((resolve) => { analytics.ready(resolve); setTimeout(resolve, 3_000) })
    }
"""
CALL: Final = "(calls) => { for (const [name, ...given] of calls) analytics[name](...given) }"


async def load(shop: Shop, options: Mapping[str, Any] | None = None, key: str = "good") -> None:
    """Open the page and start the SDK: a key, and this host for events and for what it asks first."""
    await shop.visit()
    await shop.page.evaluate(START, [key, shop.served.url, {"configUrl": shop.served.url, **(options or {})}])


def arguments(call: Mapping[str, Any]) -> list[Any]:
    """A message of the specification as the arguments of the browser's calls: the SDK knows the customer by itself."""
    options = {**call.get("context", {}), "integrations": call.get("integrations", {})}
    match call["type"]:
        case "identify":
            return ["identify", call["userId"], call["traits"], options]
        case "track":
            return ["track", call["event"], call["properties"], options]
        case "group":
            return ["group", call["groupId"], call["traits"], options]
        case "alias":
            return ["alias", call["userId"], call["previousId"], options]
    return ["page", call["category"], call["name"], call["properties"], options]


def kept(call: Mapping[str, Any]) -> dict[str, Any]:
    """The call without the values that the SDK rewrites."""
    parts = {part: call[part] for part in ("traits", "properties") if part in call}
    return {**call, **{part: {k: v for k, v in given.items() if k not in REWRITTEN} for part, given in parts.items()}}


def of_one_customer() -> list[Mapping[str, Any]]:
    """The calls in a page's order: a visitor, who then signs in. There is no screen in a browser."""
    calls = [kept(call) for call in CALLS if call["type"] != "screen"]
    visit, last = calls.pop(2), calls.pop()
    context = {"groupId": "acme", "ip": "192.0.2.7"}
    return [visit, *calls, {**last, "userId": "ada", "context": context, "integrations": {"Mail": {"list": 4}}}]


def feature(number: int) -> list[Any]:
    """One numbered call."""
    return ["track", "Feature Used", {"n": number}]


@pytest.fixture
async def shop(tmp_path: Path, node_clients: Path) -> AsyncIterator[Shop]:
    """A page with the SDK as its maker built it for pages that load nothing from elsewhere."""
    built = node_clients / "node_modules/@rudderstack/analytics-js/dist/npm/modern/bundled/umd"
    async with open_shop(tmp_path, built) as shop:
        yield shop


async def test_every_call_of_a_page_arrives_once_and_unchanged(shop: Shop) -> None:
    calls = of_one_customer()
    await load(shop)
    await shop.page.evaluate(CALL, [arguments(call) for call in calls])
    records = arrived(await shop.records(len(calls)))
    found = {read_envelope(record).name: record for record in records.values()}
    names = {"identify": "$identify", "group": "$group", "alias": "$alias", "page": "Page Viewed"}
    for call in calls:
        record = found[call.get("event") or names[call["type"]]]
        # This SDK draws every message id itself.
        assert_unchanged({**call, "messageId": read_envelope(record).message_id}, record, adds=OF_THE_PAGE)
        assert read_envelope(record).subject == ("anon:7f" if "anonymousId" in call else "user:ada")
    assert await shop.served.records(REJECTED) == []
    assert "/sourceConfig/" in shop.paths(shop.asked)
    assert {"/v1/track", "/v1/identify", "/v1/page", "/v1/group", "/v1/alias"} <= shop.paths(shop.preflights)


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"queueOptions": {"batch": {"enabled": True, "maxItems": 5, "flushInterval": 500}}}, "/v1/batch"),
        ({"useBeacon": True, "beaconQueueOptions": {"maxItems": 5, "flushQueueInterval": 500}}, "/beacon/v1/batch"),
    ],
    ids=["batches", "beacons"],
)
async def test_batches_and_beacons_arrive_each_event_once(shop: Shop, options: Mapping[str, Any], path: str) -> None:
    await load(shop, options)
    await shop.page.evaluate(CALL, [feature(number) for number in range(12)])
    assert len(arrived(await shop.records(12))) == 12
    assert path in shop.paths(shop.asked)


async def test_the_sdk_sends_again_until_the_log_is_back(shop: Shop) -> None:
    await load(shop)
    shop.served.switch.failures = [LogUnavailable()]
    await shop.page.evaluate(CALL, [feature(1)])
    assert len(arrived(await shop.records(1))) == 1
    assert shop.served.switch.appends == 2


async def test_with_a_wrong_key_the_page_learns_it_at_once_and_sends_nothing(shop: Shop) -> None:
    await load(shop, key="bad")
    await shop.page.evaluate(CALL, [feature(1)])
    assert shop.paths(shop.asked) == {"/sourceConfig/"}
    assert shop.served.switch.appends == 0
