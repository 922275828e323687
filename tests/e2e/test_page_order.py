"""What the page shows is what was asked for last: on the way back through the history, and when answers come late."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import OpenPage, write
from tests.e2e.shop import photo, upload


def expect_place(page: Page, tenant: str, query: str, heading: str) -> None:
    """The address, the heading and the field say the same."""
    expect(page).to_have_url(re.compile(rf"/{re.escape(query)}$"))
    expect(page.locator("#tenants input:checked")).to_have_value(tenant)
    expect(page.locator("#results")).to_have_attribute("aria-busy", "false")
    expect(page.locator("#results-title")).to_have_text(heading)
    expect(page.locator("#text")).to_have_value(query.partition("q=")[2])


def test_back_shows_what_the_address_says_also_after_a_reload(demo: str, open_page: OpenPage) -> None:
    page = open_page(demo)
    for words in ("red", "blue"):
        write(page, words)
        expect_place(page, "demo", f"?tenant=demo&q={words}", f"Results for “{words}”")
    page.reload()
    expect_place(page, "demo", "?tenant=demo&q=blue", "Results for “blue”")
    write(page, "green")
    expect_place(page, "demo", "?tenant=demo&q=green", "Results for “green”")
    for words in ("blue", "red"):
        page.go_back()
        expect_place(page, "demo", f"?tenant=demo&q={words}", f"Results for “{words}”")
    page.go_back()
    expect_place(page, "demo", "?tenant=demo", "Newest")


@pytest.mark.parametrize("reloaded", [False, True])
def test_back_returns_to_the_catalogue_that_was_left(demo: str, open_page: OpenPage, reloaded: bool) -> None:
    page = open_page(demo)
    write(page, "red")
    expect_place(page, "demo", "?tenant=demo&q=red", "Results for “red”")
    page.check("#tenants [value=default]")
    expect_place(page, "default", "", "")
    if reloaded:
        page.reload()
        expect_place(page, "default", "", "")
    page.go_back()
    expect_place(page, "demo", "?tenant=demo&q=red", "Results for “red”")
    expect(page.locator("#grid .card:not(.skeleton)").first).to_be_visible()
    expect(page.locator("#analytics-link")).to_have_attribute("href", "/analytics?tenant=demo")
    page.go_forward()
    expect_place(page, "default", "", "")
    page.reload()
    expect_place(page, "default", "", "")


def test_the_link_to_the_results_keeps_the_photo(demo: str, open_page: OpenPage) -> None:
    page = open_page(demo)
    page.set_input_files("#file", files=[upload(photo(3))])
    expect_place(page, "demo", "?tenant=demo", "Like your photo")
    page.focus(".skip")
    page.keyboard.press("Enter")
    expect(page.locator("#grid")).to_be_focused()
    write(page, "blue")
    expect_place(page, "demo", "?tenant=demo&q=blue", "Like your photo, “blue”")
    page.go_back()
    expect_place(page, "demo", "?tenant=demo", "Like your photo")
