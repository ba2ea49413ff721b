"""A page of a product with a real SDK in it, in Chromium, and the door that it sends to: two origins."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from playwright.async_api import Page, async_playwright

from schemas.records import StoredRecord, header
from schemas.topics import EVENTS
from services.runtime.clock import SystemClock
from tests.integration.ingest.serving import Served, serving
from tests.support.chromium import FLAGS, chromium_path
from tests.support.pages import pages

__all__ = ["Shop", "Tab", "open_shop", "open_tab"]

PATIENCE: Final = 30
_PAGE: Final = (
    '<!doctype html><title>Shop</title><link rel="icon" href="data:,"><script src="/scripts/index.js"></script>'
)
AnyTab = TypeVar("AnyTab", bound="Tab")
_NO_OTHER_HOST: Final = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"


class Tab:
    """The page, where the door is, and what the browser asked of anybody: requests, and the preflights before them."""

    def __init__(self, page: Page, address: str, door: str) -> None:
        self.page = page
        self.address = address
        self.door = door
        self.asked: list[str] = []
        self.preflights: list[str] = []

    async def watch(self) -> None:
        """Note every request, also the preflights, of which pages are told nothing."""
        session = await self.page.context.new_cdp_session(self.page)
        await session.send("Network.enable")
        session.on("Network.requestWillBeSent", self._asks)

    def _asks(self, event: Mapping[str, Any]) -> None:
        request = event["request"]
        (self.preflights if request["method"] == "OPTIONS" else self.asked).append(request["url"])

    def paths(self, urls: list[str]) -> set[str]:
        """The paths of those that went to the door."""
        return {url.removeprefix(self.door).partition("?")[0] for url in urls if url.startswith(self.door)}

    async def visit(self) -> None:
        """Open the page as a link in a letter does."""
        await self.page.goto(f"{self.address}/shop?utm_source=letter&utm_campaign=Herbst")


class Shop(Tab):
    """A page in front of a door that can be disturbed."""

    def __init__(self, page: Page, address: str, served: Served) -> None:
        super().__init__(page, address, served.url)
        self.served = served

    async def records(self, different: int, copies: int = 0) -> list[StoredRecord]:
        """What stands on the topic once so many different events do, and so many copies."""
        async with asyncio.timeout(PATIENCE):
            while True:
                records = await self.served.records(EVENTS)
                found = len({header(record.headers, "ce_id") for record in records})
                if found >= different and len(records) >= different + copies:
                    return records
                await asyncio.sleep(0.05)


@asynccontextmanager
async def open_shop(folder: Path, scripts: Path) -> AsyncIterator[Shop]:
    """An empty tab, a page with `index.js` of a folder of scripts, and a door with its log in the other folder."""
    async with serving(folder) as served:
        served.now = SystemClock().now()
        async with open_tab(scripts, lambda page, address: Shop(page, address, served)) as shop:
            yield shop


@asynccontextmanager
async def open_tab(scripts: Path, make: Callable[[Page, str], AnyTab]) -> AsyncIterator[AnyTab]:
    """An empty tab, and a page with `index.js` of a folder on a port of its own. At the end: nobody else was asked."""
    async with pages({"/shop": _PAGE}, scripts) as address, async_playwright() as driver:
        browser = await driver.chromium.launch(
            executable_path=chromium_path(), headless=True, args=[*FLAGS, _NO_OTHER_HOST]
        )
        tab = make(await browser.new_page(), address)
        await tab.watch()
        yield tab
        assert all(url.startswith(("http://127.0.0.1:", "data:", "about:")) for url in tab.asked), tab.asked
        await browser.close()
