"""A server with a population of its own, and Chromium, which may speak to nothing but this machine."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Playwright,
    Request,
    Route,
    expect,
    sync_playwright,
)

from services.commands_demo import credentials_of
from services.demo.own_server import OwnServer
from services.demo.population import population
from services.demo.poster import in_order_of_posting, post
from services.demo.watching import Watcher
from services.runtime.clock import SystemClock
from services.settings import Settings
from tests.support.chromium import FLAGS, chromium_path

CUSTOMERS: Final = 60
SEED: Final = 7
PATIENCE_MS: Final = 15_000
LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
DEFINITIONS: Final = Path(__file__).parents[2] / "definitions"


@dataclass
class Shop:
    """A running server with sixty customers: its address, its keys, and a maker of sign-in links.

    `newcomer` is the id of one of them who bought a few days ago.
    """

    url: str
    write_key: str
    token: str
    watcher: Watcher
    newcomer: str


@dataclass
class Tab:
    """A page of the browser, and what went wrong in it: console errors, failures, requests to other hosts."""

    page: Page
    wrong: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Note everything that is not as it should be; let no request leave this machine."""
        self.page.route("**/*", self._only_loopback)
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        self.page.on("requestfailed", self._failed)

    def _only_loopback(self, route: Route) -> None:
        url = route.request.url
        self.requests.append(url)
        if urlsplit(url).scheme == "data" or urlsplit(url).hostname in LOOPBACK:
            route.continue_()
        else:
            self.wrong.append(f"other host: {url}")
            route.abort()

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.wrong.append(f"console {message.type}: {message.text}")

    def _failed(self, request: Request) -> None:
        # A page that is left ends the refresh that it has under way.
        if request.failure != "net::ERR_ABORTED":
            self.wrong.append(f"failed: {request.url} ({request.failure})")


@pytest.fixture(scope="session")
def shop() -> Iterator[Shop]:
    """The server, filled through the SDK, on a free port."""
    clock = SystemClock()
    with OwnServer(Settings(port=0, definitions_dir=DEFINITIONS), keep=False) as server:
        url = server.settings.address
        probe = Watcher(url, "", clock)
        server.wait_until_ready(probe)
        probe.close()
        write_key, token = credentials_of(server.settings)
        watcher = Watcher(url, token, clock)
        people = population(CUSTOMERS, SEED, clock.now())
        post(url, write_key, in_order_of_posting(people), "browser", lambda _: None)
        watcher.settle(clock.now() + server.settings.settle_history, 30, lambda _: None)
        newcomer = next(person.id for person in people if person.persona == "newcomer")
        yield Shop(url, write_key, token, watcher, newcomer)
        watcher.close()


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """The driver; it brings no browser of its own.

    While it is open an event loop runs in this thread, and no other test could start one: so it ends with its module.
    """
    with sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="module")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    """The distribution's Chromium, without a window."""
    browser = playwright.chromium.launch(executable_path=chromium_path(), headless=True, args=list(FLAGS))
    yield browser
    browser.close()


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    """A browser that nobody has used before."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    yield context
    context.close()


@pytest.fixture
def tab(context: BrowserContext) -> Iterator[Tab]:
    """An empty tab; at the end nothing may have gone wrong in it."""
    tab = Tab(context.new_page())
    tab.watch()
    yield tab
    assert tab.wrong == []
    assert tab.requests
