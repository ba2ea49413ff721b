"""/docs loads nothing from elsewhere, takes the printed token, and 'Try it out' answers 200."""

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Shop, Tab

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]


def opened(page: Page, shop: Shop) -> None:
    """The description of the API, as far as a person sees it."""
    page.goto(f"{shop.url}/docs")
    expect(page.locator(".opblock-summary-path").first).to_be_visible()
    expect(page.locator(".info .title")).to_contain_text("OAS 3.1")


def authorize(page: Page, token: str) -> None:
    """Press 'Authorize' and give the API token."""
    page.get_by_role("button", name="Authorize").first.click()
    dialog = page.locator(".modal-ux")
    bearer = dialog.locator(".auth-container").filter(has_text="API token")
    bearer.locator("input").fill(token)
    bearer.get_by_role("button", name="Apply credentials").click()
    dialog.get_by_role("button", name="Close").last.click()


def block(page: Page, method: str, path: str) -> Locator:
    """The part of the page about one route, opened."""
    found = page.locator(f".opblock-{method}").filter(has=page.locator(f'[data-path="{path}"]'))
    found.locator(".opblock-summary-control").click()
    return found


def test_the_docs_take_the_printed_token_and_try_it_out_answers_200(tab: Tab, shop: Shop) -> None:
    page = tab.page
    opened(page, shop)
    authorize(page, shop.token)
    stages = block(page, "get", "/v1/lifecycles/{name}/stages")
    stages.get_by_role("button", name="Try it out").click()
    stages.get_by_placeholder("name").fill("default")
    stages.get_by_role("button", name="Execute").click()
    expect(stages.locator(".live-responses-table .response .response-col_status")).to_contain_text("200")
    expect(stages.locator(".live-responses-table")).to_contain_text('"total"')


def test_the_docs_find_a_customer_by_an_id_typed_in(tab: Tab, shop: Shop) -> None:
    page = tab.page
    opened(page, shop)
    authorize(page, shop.token)
    headers = {"authorization": f"Bearer {shop.token}"}
    answer = page.request.get(f"{shop.url}/v1/customers?stage=adoption", headers=headers)
    identifier = answer.json()["customers"][0]["id"]
    customer = block(page, "get", "/v1/customers/{id}")
    customer.get_by_role("button", name="Try it out").click()
    customer.get_by_placeholder("id").fill(identifier)
    customer.get_by_role("button", name="Execute").click()
    expect(customer.locator(".live-responses-table .response .response-col_status")).to_contain_text("200")
    expect(customer.locator(".live-responses-table")).to_contain_text('"adoption"')


def test_an_event_sent_from_the_docs_is_accepted(tab: Tab, shop: Shop) -> None:
    page = tab.page
    opened(page, shop)
    page.get_by_role("button", name="Authorize").first.click()
    dialog = page.locator(".modal-ux")
    basic = dialog.locator(".auth-container").filter(has_text="(http, Basic)")
    basic.locator("input").first.fill(shop.write_key)
    basic.get_by_role("button", name="Apply credentials").click()
    dialog.get_by_role("button", name="Close").last.click()
    track = block(page, "post", "/v1/track")
    track.get_by_role("button", name="Try it out").click()
    track.get_by_role("button", name="Execute").click()
    expect(track.locator(".live-responses-table .response .response-col_status")).to_contain_text("200")


def test_without_a_token_the_api_says_what_to_send(tab: Tab, shop: Shop) -> None:
    page = tab.page
    opened(page, shop)
    lifecycles = block(page, "get", "/v1/lifecycles")
    lifecycles.get_by_role("button", name="Try it out").click()
    lifecycles.get_by_role("button", name="Execute").click()
    expect(lifecycles.locator(".live-responses-table .response .response-col_status")).to_contain_text("401")
    expect(lifecycles.locator(".live-responses-table")).to_contain_text("Send an API token")
    # The browser itself notes the refusal on its console; nothing else may be there.
    assert [line for line in tab.wrong if "401" not in line] == []
    tab.wrong.clear()
