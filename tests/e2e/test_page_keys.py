"""API keys on the pages: asked for where one is lacking or does not suffice, kept, and sent with everything."""

import json
import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

from tests.e2e.conftest import OpenPage
from tests.e2e.shop import photo, upload

Snap = Callable[[Page, str], None]

KEY = "Bearer fl_the-key"
SMALL_KEY = "Bearer fl_small"


def guard(page: Page, only: str = "**/v1/**", refusal: str = "scope-missing") -> list[str]:
    """Ask for a key, and refuse the small one; the addresses that were refused."""
    refused: list[str] = []

    def answer(route: Route) -> None:
        sent = route.request.headers.get("authorization")
        if sent == KEY:
            return route.continue_()
        refused.append(route.request.url)
        status, code, detail = (401, "unauthorized", "this key is not valid")
        if sent == SMALL_KEY:
            status, code, detail = (403, refusal, "this needs another key")
        problem = {"status": status, "code": code, "detail": detail}
        return route.fulfill(status=status, content_type="application/problem+json", body=json.dumps(problem))

    page.route(only, answer)
    return refused


def enter(page: Page, key: str) -> None:
    page.get_by_label("API key").fill(key)
    page.get_by_label("API key").press("Enter")


def test_a_key_is_asked_for_and_sent_with_everything_pictures_included(demo: str, open_page: OpenPage) -> None:
    page = open_page(demo, expected=("401",))
    unsent = guard(page)
    page.reload()
    expect(page.locator("#state")).to_contain_text("This catalogue asks for a key.")
    page.get_by_label("API key").fill("fl_wrong")
    page.get_by_label("API key").press("Enter")
    expect(page.locator("#state")).to_contain_text("this key is not valid")
    page.get_by_label("API key").fill("fl_the-key")
    unsent.clear()
    page.get_by_role("button", name="Use this key").click()
    expect(page.locator("#grid .card:not(.skeleton)").first).to_be_visible()
    expect(page.locator("#grid .card img").first).to_have_attribute("src", re.compile("^blob:"))
    page.reload()
    expect(page.locator("#grid .card img").first).to_have_attribute("src", re.compile("^blob:"))
    expect(page.locator("#state")).to_be_hidden()
    assert unsent == []


@pytest.mark.parametrize("refusal", ["scope-missing", "tenant-refused"])
def test_a_key_that_does_not_suffice_is_replaced(demo: str, open_page: OpenPage, snap: Snap, refusal: str) -> None:
    page = open_page(demo, expected=("401", "403"))
    guard(page, refusal=refusal)
    page.reload()
    enter(page, "fl_small")
    expect(page.locator("#state")).to_contain_text("this needs another key")
    expect(page.locator("#state code")).to_have_text(refusal)
    snap(page, f"key-{refusal}")
    enter(page, "fl_the-key")
    expect(page.locator("#grid .card:not(.skeleton)").first).to_be_visible()


def test_what_is_invisible_in_a_pasted_key_is_left_out(demo: str, open_page: OpenPage) -> None:
    page = open_page(demo, expected=("401",))
    guard(page)
    page.reload()
    enter(page, " \u200bfl_the-key\u200b\u00a0")
    expect(page.locator("#grid .card:not(.skeleton)").first).to_be_visible()


def test_analytics_asks_for_a_key_itself_and_leaves_it_alone_while_it_is_entered(
    fake_url: str, open_page: OpenPage, snap: Snap
) -> None:
    page = open_page(f"{fake_url}/analytics?tenant=demo", expected=("401", "403"))
    refused = guard(page)
    page.clock.install()
    page.reload()
    expect(page.locator("#state")).to_contain_text("This catalogue asks for a key.")
    enter(page, "fl_small")
    expect(page.locator("#state")).to_contain_text("this needs another key (scope-missing)")
    page.get_by_label("API key").fill("fl_the")
    refused.clear()
    page.clock.run_for(60_000)
    page.evaluate("() => fetch('/v1/status').then(() => null)")
    assert refused == [f"{fake_url}/v1/status"]
    expect(page.get_by_label("API key")).to_have_value("fl_the")
    snap(page, "analytics-key")
    enter(page, "fl_the-key")
    expect(page.locator("#tiles dt").first).to_be_visible()
    expect(page.locator("#state")).to_be_hidden()


def test_publishing_asks_for_another_key_and_goes_on_with_it(demo: str, open_page: OpenPage, snap: Snap) -> None:
    page = open_page(demo, expected=("401",))
    guard(page, only="**/v1/products?tenant=demo")
    page.click("#add-open")
    page.set_input_files("#add-file", files=[upload(photo(82))])
    page.fill("[name=title]", "With a key")
    page.click("#add-form [type=submit]")
    expect(page.locator(".progress .failed")).to_contain_text("this key is not valid (unauthorized)")
    snap(page, "add-key")
    enter(page, "fl_the-key")
    expect(page.locator(".progress")).to_contain_text("Searchable after")
    expect(page.get_by_label("API key")).to_have_count(0)
