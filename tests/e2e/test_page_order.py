"""What the page shows is what was asked for last: on the way back through the history, and when answers come late."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

from tests.e2e.conftest import SLOW_PHOTOS, OpenPage, wait, write
from tests.e2e.shop import photo, upload


def hold(page: Page, address: str) -> list[Route]:
    """Requests to an address, unanswered until they are continued."""
    held: list[Route] = []
    page.route(re.compile(address), lambda route: held.append(route))
    return held


def answer(page: Page, held: list[Route]) -> None:
    """Let the first that was held have its answer, and the page draw what it makes of it."""
    with page.expect_response(held[0].request.url) as response:
        held[0].continue_()
    response.value.finished()
    wait(page, "() => true")


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


def test_an_answer_leaves_the_price_alone_that_is_being_typed(demo: str, open_page: OpenPage) -> None:
    page = open_page(demo)
    expect(page.locator("#category option").nth(1)).to_be_attached()
    held = hold(page, "/v1/(search|products)[?]")
    page.click("#price-min")
    page.keyboard.type("20")
    page.keyboard.press("Tab")
    page.keyboard.type("12")
    answer(page, held)
    expect(page.locator("#results")).to_have_attribute("aria-busy", "false")
    page.keyboard.type("5")
    with page.expect_request(re.compile("/v1/search[?]")) as sent:
        page.keyboard.press("Tab")
    assert (sent.value.post_data_json or {})["filter"] == {"price": {"gte": 20, "lte": 125}}
    page.click("#filters-clear")
    expect(page.locator("#price-max")).to_have_value("")
    page.fill("#price-max", "-5")
    page.keyboard.press("Tab")
    expect(page.locator("#price-max")).to_have_value("")


def test_a_deletion_leaves_the_words_alone_that_are_being_typed(demo: str, open_page: OpenPage) -> None:
    page = open_page(demo)
    held = hold(page, "/v1/search[?]")
    page.locator("#grid .open").first.click()
    expect(page.locator("#drawer .view").first).to_be_visible()
    page.route("**/v1/products/*", lambda route: route.fulfill(json={"read_token": "deleted"}))
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Really delete?").click()
    page.click("#text")
    page.keyboard.type("yellow")
    with page.expect_response(re.compile("/v1/products[?]tenant=demo&limit=24")):
        held[0].fulfill(json={"results": [], "freshness_met": True})
    expect(page.locator(".toast")).to_contain_text("gone after")
    expect(page.locator("#results")).to_have_attribute("aria-busy", "false")
    expect(page.locator("#text")).to_have_value("yellow")


def test_a_product_whose_picture_is_gone_can_be_deleted(demo: str, open_page: OpenPage) -> None:
    page = open_page(demo, expected=("404",))
    page.locator("#grid .open").first.click()
    expect(page.locator("#drawer .view").first).to_be_visible()
    page.route(re.compile("size=512"), lambda route: route.fulfill(status=404, json={"code": "not-found"}))
    page.route("**/v1/products/*", lambda route: route.fulfill(json={"read_token": "deleted"}))
    gone = {"results": [], "freshness_met": True}
    page.route(re.compile("/v1/search[?]"), lambda route: route.fulfill(json=gone))
    page.get_by_role("button", name="Delete").click()
    with page.expect_request(re.compile("/v1/search[?]")) as request:
        page.get_by_role("button", name="Really delete?").click()
    assert request.value.post_data_json["text"]
    expect(page.locator(".toast")).to_contain_text("gone after")


SEARCHED_SINCE: list[tuple[Callable[[Page], object], tuple[str, str, str]]] = [
    (lambda page: write(page, "red"), ("demo", "?tenant=demo&q=red", "Results for “red”")),
    (lambda page: page.check("#tenants [value=default]"), ("default", "", "")),
    (lambda page: page.go_back(), ("demo", "?tenant=demo&q=blue", "Results for “blue”")),
]


@pytest.mark.parametrize(("act", "place"), SEARCHED_SINCE, ids=["words", "catalogue", "back"])
def test_a_photo_that_comes_late_replaces_nothing_that_was_asked_since(
    demo: str, open_page: OpenPage, act: Callable[[Page], object], place: tuple[str, str, str]
) -> None:
    page = open_page(demo)
    page.evaluate(SLOW_PHOTOS)
    for words in ("blue", "green"):
        write(page, words)
    page.set_input_files("#file", files=[upload(photo(3), "slow.jpg")])
    act(page)
    expect_place(page, *place)
    page.evaluate("() => goOn()")
    wait(page, "() => ended === 1")
    expect_place(page, *place)
    expect(page.locator("#photo")).not_to_have_class(re.compile("filled"))


def test_a_sample_whose_picture_comes_late_replaces_nothing_that_was_asked_since(
    demo: str, open_page: OpenPage
) -> None:
    page = open_page(demo)
    page.evaluate(SLOW_PHOTOS)
    held = hold(page, "/v1/thumbnails/.*size=512")
    page.locator(".sample").first.click()
    write(page, "red")
    answer(page, held)
    wait(page, "() => ended === 1")
    expect_place(page, "demo", "?tenant=demo&q=red", "Results for “red”")


def test_values_of_a_catalogue_that_was_left_are_not_offered_in_the_next(demo: str, open_page: OpenPage) -> None:
    page = open_page(demo)
    expect(page.locator("#category option").nth(1)).to_be_attached()
    late = hold(page, "/v1/products[?]tenant=demo.*facets=")
    write(page, "red")
    expect(page.locator("#results")).to_have_attribute("aria-busy", "false")
    newest = hold(page, "/v1/products[?]limit=24")
    page.check("#tenants [value=default]")
    answer(page, late)
    answer(page, newest)
    expect_place(page, "default", "", "")
    expect(page.locator("#category option")).to_have_count(1)
    expect(page.locator("#picks select")).to_have_count(0)


def test_analytics_shows_the_windows_of_the_catalogue_that_is_chosen(fake_url: str, open_page: OpenPage) -> None:
    page = open_page(f"{fake_url}/analytics?tenant=demo")
    expect(page.locator("#tiles dt").first).to_be_visible()
    held = hold(page, "/v1/search-quality[?]tenant=demo")
    page.select_option("#windows", "1440")
    page.check("#tenants [value=default]")
    expect(page.locator("#state h3")).to_have_text("No searches have been summed up yet.")
    answer(page, held)
    expect(page.locator("#state")).to_be_visible()
    expect(page.locator("#tiles")).to_be_hidden()
