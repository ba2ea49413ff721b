"""A person clicks from the printed link to a stage, a customer, why; with and without script, by mouse and by keys."""

import re
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import CUSTOMERS, Shop, Tab

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

STAGES = [
    "Awareness", "Consideration", "Decision", "Adoption", "Retention", "Expansion", "Advocacy", "At risk", "Churned",
    "Won back",
]  # fmt: skip
WIDTHS = (1280, 390)


def stages_of(page: Page) -> list[tuple[str, int]]:
    """(label, customers) of the stages as a person reads them on the front page."""
    bars = page.locator("ol.bars").first.locator("a")
    labels = bars.locator(".label").all_inner_texts()
    counts = [int(re.sub(r"\D", "", text)) for text in bars.locator(".count").all_inner_texts()]
    return list(zip(labels, counts, strict=True))


def walk(page: Page, shop: Shop) -> None:
    """Link, stage, customer, why."""
    page.goto(shop.watcher.sign_in_link())
    expect(page).to_have_url(f"{shop.url}/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Customers by stage")
    stages = stages_of(page)
    assert [label for label, _ in stages] == STAGES
    assert all(count > 0 for _, count in stages)
    assert sum(count for _, count in stages) >= CUSTOMERS

    page.get_by_role("link", name="Adoption").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Customers in Adoption")
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(dict(stages)["Adoption"])

    rows.get_by_role("link", name=shop.newcomer, exact=True).click()
    expect(page).to_have_url(f"{shop.url}/customers/{shop.newcomer}")
    why = page.get_by_role("region", name=re.compile("Why Adoption"))
    expect(why).to_contain_text("First purchase or subscription: here since")
    expect(
        why.get_by_role("listitem").filter(has_text=re.compile("Order Completed|Subscription Started")).first
    ).to_be_visible()
    expect(why).to_contain_text(re.compile(r"Turns true on \d+ \w+.* if nothing happens"))
    timeline = page.get_by_role("region", name="Timeline")
    expect(timeline.get_by_text("Checkout Started").first).to_be_visible()
    expect(page.get_by_role("region", name="Messages")).to_contain_text("welcome")


def test_a_click_each_leads_from_the_link_to_a_stage_to_a_customer_to_why(tab: Tab, shop: Shop) -> None:
    walk(tab.page, shop)


def test_everything_works_without_javascript(chromium: Browser, shop: Shop) -> None:
    context = chromium.new_context(java_script_enabled=False)
    try:
        walk(context.new_page(), shop)
    finally:
        context.close()


def test_the_keyboard_alone_leads_to_a_stage(tab: Tab, shop: Shop) -> None:
    page = tab.page
    page.goto(shop.watcher.sign_in_link())
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.locator("ol.bars a").first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Customers in Awareness")


def test_the_front_page_shows_changes_with_reasons_and_the_outbox_opens(tab: Tab, shop: Shop) -> None:
    page = tab.page
    page.goto(shop.watcher.sign_in_link())
    changes = page.get_by_role("region", name="Latest changes")
    expect(changes.get_by_role("listitem")).to_have_count(20)
    expect(changes).to_contain_text("reason:")
    outbox = page.get_by_role("region", name="Outbox")
    summary = outbox.locator("summary").first
    summary.click()
    expect(outbox.locator(".mail").first).to_be_visible()
    assert len(outbox.locator(".mail").first.inner_text()) > 40


def test_new_events_appear_on_the_open_page_without_reloading_it(tab: Tab, shop: Shop) -> None:
    page = tab.page
    page.goto(shop.watcher.sign_in_link())
    before = dict(stages_of(page))["Awareness"]
    page.evaluate("window.sameDocument = true")
    answer = page.request.post(
        f"{shop.url}/v1/track",
        data={"anonymousId": f"visitor-{before}", "event": "Page Viewed", "writeKey": shop.write_key},
    )
    assert answer.ok
    expect(page.locator("ol.bars").first.locator("a .count").first).to_contain_text(str(before + 1))
    assert page.evaluate("window.sameDocument")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_no_page_is_wider_than_the_screen_and_texts_stand_out(
    chromium: Browser, shop: Shop, scheme: Any, width: int
) -> None:
    context = chromium.new_context(color_scheme=scheme, viewport={"width": width, "height": 800})
    try:
        page = context.new_page()
        page.goto(shop.watcher.sign_in_link())
        person = page.request.get(f"{shop.url}/v1/customers?stage=advocacy").json()["customers"][0]["id"]
        for path in ("/", "/stages/default/stage/at_risk", f"/customers/{person}", "/customers/nobody", "/sign-in"):
            page.goto(shop.url + path)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path
            faint = page.evaluate(FAINT)
            assert faint == [], path
    finally:
        context.close()


FAINT = """
() => {
  const channels = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b]
    .map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    for (let here = element; here; here = here.parentElement) {
      const color = channels(getComputedStyle(here).backgroundColor);
      if (color.length === 3 || color[3] > 0) return color;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll("main *, header *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || element.closest(".hidden, .skip")) continue;
    const pair = [light(channels(getComputedStyle(element).color)), light(ground(element))].sort((a, b) => b - a);
    const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
    if (ratio < 4.5) found.push(`${element.className || element.tagName}: ${ratio.toFixed(2)}`);
  }
  return [...new Set(found)];
}
"""
"""Texts whose contrast with their ground is below 4.5, the least that WCAG 2.2 AA asks for."""


def test_signing_in_with_the_token_and_out_again(tab: Tab, shop: Shop) -> None:
    page = tab.page
    page.goto(f"{shop.url}/customers?q=a")
    page.get_by_label("API token").fill(shop.token)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{shop.url}/customers?q=a")
    expect(page.get_by_role("heading", level=1)).to_have_text("Customers with “a”")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    page.goto(f"{shop.url}/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


def test_a_customer_is_found_by_a_part_of_the_id(tab: Tab, shop: Shop) -> None:
    page = tab.page
    page.goto(shop.watcher.sign_in_link())
    identifier = page.request.get(f"{shop.url}/v1/customers?stage=churned").json()["customers"][0]["id"]
    page.get_by_role("searchbox").fill(identifier[1:-1])
    page.keyboard.press("Enter")
    page.get_by_role("link", name=identifier, exact=True).click()
    expect(page.get_by_role("region", name=re.compile("Why Churned"))).to_be_visible()
