"""The pages: complete without JavaScript, safe against what ids and traits hold, only for those who signed in."""

import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import httpx
import pytest

from services.runtime.clock import ManualClock
from services.storage.errors import StorageUnavailable
from services.web.facts import CustomerFacts, MemberFact, Place, StageCount
from services.web.sessions import SESSION_LIFE, Sessions
from tests.integration.web.conftest import FIRST_LINE, NOW, ORIGIN, TOKEN, WRITE_KEY, Opener
from tests.integration.web.memory_reads import MemoryReads

LABELS = [
    "Awareness", "Consideration", "Decision", "Adoption", "Retention", "Expansion", "Advocacy", "At risk", "Churned",
    "Won back",
]  # fmt: skip


class Seen(HTMLParser):
    """Links, ids, labels, headings and text of a page; checks that what is opened is closed."""

    VOID = frozenset({"meta", "link", "input", "rect", "circle", "path", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.referred: list[str] = []
        self.headings: list[int] = []
        self.inline: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    @property
    def text(self) -> str:
        """All text with single spaces."""
        return " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        for name, value in attrs:
            match name:
                case "href" | "action" | "src":
                    self.links.append(value or "")
                case "id":
                    self.ids.append(value or "")
                case "aria-labelledby" | "for":
                    self.referred.append(value or "")
            if name == "style" or name.startswith("on"):
                self.inline.append(name)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


async def seen(client: httpx.AsyncClient, path: str) -> Seen:
    """A page that must be there."""
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/html")
    page = Seen(answer.text)
    assert page.open == []
    return page


def customers_in(reads: MemoryReads, stage: str) -> list[str]:
    """Ids of the customers in a stage."""
    return [fact.customer for fact in reads.members(Place("default", "stage", stage), None, 1000)]


async def test_the_front_page_shows_all_stages_in_funnel_order_with_their_counts(
    browser: httpx.AsyncClient, population_reads: MemoryReads
) -> None:
    page = await seen(browser, "/")
    counts = Counter({fact.place.stage: fact.customers for fact in population_reads.counts()})
    places = [page.text.index(f"{label} {counts[label.lower().replace(' ', '_')]} customers") for label in LABELS]
    assert places == sorted(places)
    assert "60 customers" in page.text
    assert sum(link.startswith("/stages/default/stage/") for link in page.links) == 10


async def test_the_front_page_shows_the_latest_twenty_changes_and_the_outbox(
    browser: httpx.AsyncClient, population_reads: MemoryReads
) -> None:
    page = await seen(browser, "/")
    changes = page.text.partition("Latest changes")[2]
    assert changes.count("ago ") + changes.count("just now") >= 15
    for change in population_reads.latest(20):
        assert f"/customers/{change.customer.replace(':', '%3A')}" in page.links
    assert "Welcome, and how to begin sent" in page.text
    assert "no address" in page.text


async def test_links_lead_from_the_front_page_to_a_stage_to_a_customer(
    browser: httpx.AsyncClient, population_reads: MemoryReads
) -> None:
    stage = await seen(browser, "/stages/default/stage/at_risk")
    members = customers_in(population_reads, "at_risk")
    assert members
    assert all(f"/customers/{member}" in stage.links for member in members)
    customer = await seen(browser, f"/customers/{members[0]}")
    assert "Why At risk" in customer.text
    assert "What can happen next" in customer.text
    assert "/stages/default/stage/at_risk" in customer.links


async def test_a_customer_page_tells_what_happens_by_itself_and_what_is_met(
    browser: httpx.AsyncClient, population_reads: MemoryReads
) -> None:
    newcomer = customers_in(population_reads, "adoption")[0]
    page = await seen(browser, f"/customers/{newcomer}")
    assert re.search(r"Turns true on \d+ \w+( at \d\d:\d\d UTC)? if nothing happens", page.text)
    assert "Not met: Setup Completed happened" in page.text
    assert " or ✗ " in page.text
    assert "First purchase or subscription: here since" in page.text


async def test_the_timeline_interleaves_events_and_changes_latest_first(
    browser: httpx.AsyncClient, population_reads: MemoryReads
) -> None:
    newcomer = customers_in(population_reads, "adoption")[0]
    facts = population_reads.customer(newcomer)
    assert facts is not None
    timeline = (await seen(browser, f"/customers/{newcomer}")).text.partition("Timeline")[2]
    bought = timeline.index("Decision → to Adoption")
    assert timeline.index("Setup Started") < bought < timeline.index("Checkout Started")
    assert f"{len(facts.activity)} events" in timeline


@pytest.mark.parametrize("path", ["/", "/stages/default/stage/adoption", "/customers?q=a", "/customers/ada.rossi"])
async def test_without_signing_in_every_page_leads_to_the_sign_in_page(visitor: httpx.AsyncClient, path: str) -> None:
    answer = await visitor.get(path)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/sign-in?next=/")
    form = await seen(visitor, answer.headers["location"])
    assert "API token" in form.text


async def test_an_api_token_signs_in_and_leads_back_to_the_page_asked_for(visitor: httpx.AsyncClient) -> None:
    asked = await visitor.get("/customers?q=a%20b")
    form = await visitor.get(asked.headers["location"])
    found = re.search(r'name="next" value="([^"]*)"', form.text)
    assert found is not None
    answer = await visitor.post("/sign-in", data={"token": TOKEN, "next": found[1]})
    assert answer.status_code == 303
    assert answer.headers["location"] == "/customers?q=a%20b"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert TOKEN not in cookie
    assert (await visitor.get(answer.headers["location"])).status_code == 200


@pytest.mark.parametrize("token", ["", "wrong", WRITE_KEY, "x" * 300, TOKEN + "\0"])
async def test_anything_but_an_api_token_does_not_sign_in(visitor: httpx.AsyncClient, token: str) -> None:
    answer = await visitor.post("/sign-in", data={"token": token})
    assert answer.status_code == 401
    assert "not a valid API token" in answer.text
    assert "set-cookie" not in answer.headers
    assert token == "" or token not in answer.text


async def test_a_form_is_bounded_and_of_one_type(visitor: httpx.AsyncClient) -> None:
    assert (await visitor.post("/sign-in", data={"token": "x" * 5000})).status_code == 413
    assert (await visitor.post("/sign-in", json={"token": TOKEN})).status_code == 415
    assert (await visitor.post("/sign-in", content=b"")).status_code == 415


@pytest.mark.parametrize("target", ["https://evil.test/", "//evil.test/", "/\\evil.test", "javascript:alert(1)", "x"])
async def test_nobody_is_sent_elsewhere_after_signing_in(visitor: httpx.AsyncClient, target: str) -> None:
    answer = await visitor.post("/sign-in", data={"token": TOKEN, "next": target})
    assert answer.headers["location"] == "/"


async def test_a_sign_in_link_works_once(visitor: httpx.AsyncClient, sessions: Sessions) -> None:
    made = await visitor.post("/v1/sign-in-links", headers={"authorization": f"Bearer {TOKEN}"})
    assert made.status_code == 201
    url = made.json()["url"]
    assert url.startswith(f"{ORIGIN}/sign-in/")
    assert (await visitor.head(url)).status_code == 405
    assert (await visitor.get(url)).headers["location"] == "/"
    assert (await visitor.get("/")).status_code == 200
    again = await visitor.get(url)
    assert again.status_code == 400
    assert "was used, or is older than ten minutes" in again.text
    assert sessions.redeem(url.rpartition("/")[2]) is None


@pytest.mark.parametrize("authorization", [None, f"Bearer {WRITE_KEY}", "Bearer wrong", "Basic d3JpdGU6"])
async def test_only_an_administrator_makes_sign_in_links(visitor: httpx.AsyncClient, authorization: str | None) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    answer = await visitor.post("/v1/sign-in-links", headers=headers)
    assert answer.status_code in (401, 403)
    assert answer.headers["content-type"] == "application/problem+json"


async def test_signing_out_ends_the_session_everywhere(browser: httpx.AsyncClient) -> None:
    copy = dict(browser.cookies)
    foreign = await browser.post("/sign-out", headers={"origin": "http://parcours.test:9999"})
    assert foreign.status_code == 403
    assert (await browser.get("/")).status_code == 200
    answer = await browser.post("/sign-out", headers={"origin": ORIGIN, "host": "parcours.test"})
    assert answer.headers["location"] == "/sign-in"
    browser.cookies.clear()
    for name, value in copy.items():
        browser.cookies.set(name, value)
    assert (await browser.get("/")).status_code == 303


async def test_a_session_ends_by_itself(browser: httpx.AsyncClient, clock: ManualClock) -> None:
    clock.move(SESSION_LIFE)
    assert (await browser.get("/")).status_code == 303


@pytest.mark.parametrize("site", ["same-site", "cross-site"])
async def test_a_cookie_alone_changes_nothing_when_another_site_sends_the_request(
    browser: httpx.AsyncClient, site: str
) -> None:
    assert (await browser.post("/v1/sign-in-links", headers={"sec-fetch-site": site})).status_code == 401
    assert (await browser.post("/v1/sign-in-links")).status_code == 401
    assert (await browser.post("/v1/sign-in-links", headers={"sec-fetch-site": "same-origin"})).status_code == 201


async def test_a_session_that_may_not_read_sees_nothing(visitor: httpx.AsyncClient, sessions: Sessions) -> None:
    await visitor.get(sessions.make_link("default", {"write"}))
    answer = await visitor.get("/")
    assert answer.status_code == 403
    assert "may not read" in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/customers/nobody", "/customers/%20", "/customers/a%00b", "/stages/default/stage/nowhere",
        "/stages/default/elsewhere/adoption", "/stages/other/stage/adoption", "/customers/a/b",
        "//customers/ada", "/customers/%ff", "/%63ustomers", "/static/../pages.py", "/static/%2e%2e/pages.py",
        "/docs/assets/..%2f..%2fcore.py", "/customers/",
    ],
)  # fmt: skip
async def test_what_does_not_exist_is_not_found(browser: httpx.AsyncClient, path: str) -> None:
    answer = await browser.get(f"{ORIGIN}{path}")
    assert answer.status_code == 404


async def test_an_address_above_eight_kilobytes_is_refused(browser: httpx.AsyncClient) -> None:
    answer = await browser.get("/customers/" + "a" * 9000)
    assert answer.status_code == 414
    assert answer.json()["code"] == "uri_too_long"


HOSTILE = [
    "<script>alert(1)</script>", 'a"onmouseover="x', "{{7*7}}", "a/b", "a%2Fb", "../../x", "a?b#c", "100%", "é ü",
    "a&b", "javascript:alert(1)",
]  # fmt: skip


@pytest.mark.parametrize("identifier", HOSTILE)
async def test_ids_reasons_and_traits_are_shown_as_they_are_whatever_they_hold(
    open_client: Opener, sessions: Sessions, identifier: str
) -> None:
    class Hostile(MemoryReads):
        """One customer whose every text is hostile."""

        def customer(self, asked: str) -> CustomerFacts | None:
            """The customer, under exactly that id."""
            facts = super().customer(next(iter(self.people)))
            assert facts is not None
            return replace(facts, id=asked, traits={asked: asked, "list": [1]}) if asked == identifier else None

        def members(self, place: Place, after: str | None, limit: int) -> list[MemberFact]:
            """The customer, once."""
            return [MemberFact(identifier, place, NOW, 1, identifier)]

    async with open_client(Hostile(10, 7, NOW)) as client:
        await client.get(sessions.make_link("default", {"read"}))
        listed = await seen(client, "/stages/default/stage/adoption")
        assert identifier in listed.text
        (href,) = [link for link in listed.links if link.startswith("/customers/")]
        page = await seen(client, href)
        assert identifier in page.text
        assert page.inline == []
        assert all(re.match(r"#content$|/(?!/)", link) for link in page.links)


@pytest.mark.parametrize("query", HOSTILE)
async def test_a_search_shows_what_was_searched_for_and_nothing_else_of_it(
    browser: httpx.AsyncClient, query: str
) -> None:
    answer = await browser.get("/customers", params={"q": query})
    page = Seen(answer.text)
    assert f"Customers with “{query}”" in page.text
    assert "<script>alert" not in answer.text
    assert page.inline == []


async def test_long_lists_have_pages_and_show_everyone_once(open_client: Opener, sessions: Sessions) -> None:
    reads = MemoryReads(130, 7, NOW)
    async with open_client(reads) as client:
        await client.get(sessions.make_link("default", {"read"}))
        found: list[str] = []
        path = "/customers"
        while path:
            page = await seen(client, path)
            found += [link for link in page.links if link.startswith("/customers/")]
            path = next((f"/customers{link}" for link in page.links if link.startswith("?")), "")
    assert len(found) == len(set(found)) == 130


async def test_before_the_first_event_the_page_says_how_to_send_one(open_client: Opener, sessions: Sessions) -> None:
    async with open_client(MemoryReads(0, 7, NOW)) as client:
        await client.get(sessions.make_link("default", {"read"}))
        page = await seen(client, "/")
    assert "Waiting for the first event" in page.text
    assert FIRST_LINE in page.text


@pytest.mark.parametrize("path", ["/", "/stages/default/stage/adoption", "/customers", "CUSTOMER", "/sign-in"])
async def test_pages_are_marked_up_for_screen_readers_and_need_no_script_or_style_inside(
    browser: httpx.AsyncClient, population_reads: MemoryReads, path: str
) -> None:
    page = await seen(browser, f"/customers/{next(iter(population_reads.people))}" if path == "CUSTOMER" else path)
    assert len(page.ids) == len(set(page.ids))
    assert set(page.referred) <= set(page.ids)
    assert page.headings[0] == 1
    assert page.headings.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(page.headings, page.headings[1:], strict=False))
    assert page.inline == []
    assert "#content" in page.links
    assert "content" in page.ids


@pytest.mark.parametrize(
    "path", ["/", "/sign-in", "/docs", "/openapi.json", "/healthz", "/nothing", "/static/parcours.css"]
)
async def test_every_answer_carries_the_security_headers(browser: httpx.AsyncClient, path: str) -> None:
    answer = await browser.get(path)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [(StorageUnavailable(), 503, "does not answer right now"), (ZeroDivisionError(), 500, "Something broke here")],
)
async def test_what_fails_inside_is_a_page_that_tells_nothing_of_the_inside(
    open_client: Opener, sessions: Sessions, error: Exception, status: int, words: str
) -> None:
    class Broken(MemoryReads):
        """Facts that cannot be read."""

        def counts(self) -> list[StageCount]:
            """Fail."""
            raise error

    async with open_client(Broken(0, 7, NOW)) as client:
        await client.get(sessions.make_link("default", {"read"}))
        answer = await client.get("/")
    assert answer.status_code == status
    assert words in Seen(answer.text).text
    assert "Traceback" not in answer.text
