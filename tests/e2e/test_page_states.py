"""States that the product shows only when something is lacking or wrong; the stand-in shows them on demand."""

import json
import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

from tests.e2e.conftest import PHONE, WIDE, OpenPage, write
from tests.e2e.shop import pair, photo, upload

Snap = Callable[[Page, str], None]


def test_the_demo_is_picked_when_it_has_products(fake_url: str, open_page: OpenPage) -> None:
    page = open_page(f"{fake_url}/")
    expect(page.locator("#tenants input:checked")).to_have_value("demo")
    expect(page.locator("#grid .card:not(.skeleton)")).to_have_count(24)


def test_no_match_is_said_and_offers_a_way_on(demo: str, open_page: OpenPage, snap: Snap) -> None:
    page = open_page(demo)
    write(page, "spaceship")
    expect(page.locator("#state h3")).to_have_text("Nothing in this catalogue looks like it.")
    expect(page.locator("#grid .card")).to_have_count(0)
    expect(page.locator("#live")).to_have_text("No products match. The 8 nearest all the same are below")
    expect(page.locator("#nearest .card")).to_have_count(8)
    expect(page.locator("#nearest-note")).to_contain_text("similarity of 0.00")
    snap(page, "no-match")
    page.locator("#nearest .open").first.press("End")
    expect(page.locator("#nearest .open").last).to_be_focused()
    page.get_by_role("button", name="Show the newest").click()
    expect(page.locator("#grid .card:not(.skeleton)")).to_have_count(24)
    expect(page.locator("#nearest")).to_be_hidden()


def test_a_photo_that_shows_nothing_is_said_to_be_the_reason(demo: str, open_page: OpenPage, snap: Snap) -> None:
    page = open_page(demo)
    blank = {"results": [], "no_match": True, "warnings": ["picture-blank: the picture has one colour only"]}
    page.route("**/v1/search*", lambda route: route.fulfill(body=json.dumps(blank), content_type="application/json"))
    page.set_input_files("#file", files=[upload(photo(3))])
    expect(page.locator("#state p")).to_have_text("The picture has one colour only.")
    expect(page.locator("#nearest")).to_be_hidden()
    expect(page.locator(".notice")).to_have_count(0)
    snap(page, "blank-photo")


def test_nearest_all_the_same_on_a_phone(demo: str, open_page: OpenPage, snap: Snap) -> None:
    page = open_page(demo, size=PHONE)
    write(page, "spaceship")
    expect(page.locator("#nearest .card")).to_have_count(8)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
    page.locator("#nearest").scroll_into_view_if_needed()
    snap(page, "phone-no-match")


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_why_a_product_is_here_and_what_it_is_found_by(
    demo: str, open_page: OpenPage, snap: Snap, size: tuple[int, int]
) -> None:
    page = open_page(demo, size=size)
    page.set_input_files("#file", files=[upload(photo(3))])
    expect(page.locator("#results-note")).to_contain_text("products in")
    page.locator("#grid .open").first.click()
    drawer = page.locator("#drawer")
    rows = drawer.locator(".why dl > div").all_inner_texts()
    assert [row.split("\n")[0] for row in rows] == ["Likeness", "Words and wishes", "Variety", "Score"]
    assert rows[2].split("\n")[-1] == "−0.100"
    expect(drawer.locator(".why")).to_contain_text("own brand")
    likeness, variety = (drawer.locator(".amount").nth(at).bounding_box() for at in (0, 2))
    assert likeness and variety and likeness["width"] > 2 * variety["width"]  # noqa: PT018  # for the type checker
    views = drawer.locator(".view")
    expect(views).to_have_count(4)
    expect(views.nth(1)).to_have_accessible_name("Show view 2: Photo, blurred, small")
    expect(views.nth(2)).to_contain_text("Video 1:23")
    views.nth(2).click()
    expect(drawer.locator(".hero img")).to_be_visible()
    expect(drawer.locator(".views")).to_contain_text("0.31 of 1")
    drawer.locator(".why").scroll_into_view_if_needed()
    if size == PHONE:
        drawer.locator(".views").scroll_into_view_if_needed()
    assert drawer.evaluate("node => node.scrollWidth <= node.clientWidth")
    snap(page, f"why-{size[0]}")


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_things_in_a_photo_are_dots_that_search_for_one_of_them(
    demo: str, open_page: OpenPage, snap: Snap, size: tuple[int, int]
) -> None:
    page = open_page(demo, size=size)
    page.set_input_files("#file", files=[upload(pair(3, 11))])
    expect(page.locator(".spot")).to_have_count(2)
    expect(page.locator("#things-help")).to_contain_text("2 things found")
    snap(page, f"things-{size[0]}")
    with page.expect_response(re.compile("/v1/search")) as answer:
        page.get_by_role("button", name="Search for thing 2 of 2 in the photo").click()
    assert (answer.value.request.post_data_json or {})["crop"] == [0.53, 0.05, 0.44, 0.9]
    expect(page.locator(".spot").nth(1)).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".spot").nth(0)).to_have_attribute("aria-pressed", "false")
    expect(page.locator("#results")).to_have_attribute("aria-busy", "false")
    snap(page, f"thing-chosen-{size[0]}")
    page.set_input_files("#file", files=[upload(photo(3))])
    expect(page.locator(".spot")).to_have_count(0)
    expect(page.locator("#things-help")).to_be_empty()


def test_exactly_this_or_something_similar_is_asked_for_and_taken_back(
    demo: str, open_page: OpenPage, snap: Snap
) -> None:
    page = open_page(demo)
    expect(page.locator("#modes")).to_be_hidden()
    write(page, "blue")
    expect(page.locator("#results-title")).to_have_text("Results for “blue”")
    expect(page.locator("#results")).to_have_attribute("aria-busy", "false")
    for name, mode in (("Exactly this", "exact"), ("Something similar", "similar"), ("Something similar", None)):
        with page.expect_response(re.compile("/v1/search")) as answer:
            page.get_by_role("button", name=name).click()
        assert (answer.value.request.post_data_json or {}).get("mode") == mode
        expect(page.locator("#modes [aria-pressed=true]")).to_have_count(0 if mode is None else 1)
    page.go_back()
    expect(page.get_by_role("button", name="Something similar")).to_have_attribute("aria-pressed", "true")
    expect(page).to_have_url(re.compile("mode=similar"))
    expect(page.locator("#results")).to_have_attribute("aria-busy", "false")
    snap(page, "similar")
    page.reload()
    expect(page.get_by_role("button", name="Something similar")).to_have_attribute("aria-pressed", "true")


def test_what_is_counted_for_a_choice_leaves_that_choice_out(demo: str, open_page: OpenPage) -> None:
    page = open_page(demo)
    choice: dict[str, object] = {
        "category": "hat", "colours": [], "picks": {"brand": "Sorrel"}, "from": None, "to": 9, "inStock": False,
        "clauses": [], "colourName": "colour",
    }  # fmt: skip
    fields = ["category", "colour", "price", "brand"]
    module = "Promise.all([import('/page/counts.js'), import('/page/filters.js')])"
    asked = f"it.questionsOf({json.dumps(fields)}, {json.dumps(choice)}, filters.filterOf)"
    assert page.evaluate(f"{module}.then(([it, filters]) => {asked})") == [
        [["colour"], {"category": "hat", "price": {"lte": 9}, "brand": "Sorrel"}],
        [["category"], {"price": {"lte": 9}, "brand": "Sorrel"}],
        [["price"], {"category": "hat", "brand": "Sorrel"}],
        [["brand"], {"category": "hat", "price": {"lte": 9}}],
    ]


def test_no_match_within_filters_offers_to_loosen_them(demo: str, open_page: OpenPage) -> None:
    page = open_page(demo)
    page.locator(".swatch").first.click()
    write(page, "spaceship")
    page.get_by_role("button", name="Search without filters").click()
    expect(page.locator("#filter-count")).to_be_hidden()


def test_a_partial_and_stale_answer_says_so(demo: str, open_page: OpenPage, snap: Snap) -> None:
    page = open_page(demo)
    write(page, "red partial")
    expect(page.locator(".notice")).to_have_count(2)
    expect(page.locator(".notice").first).to_contain_text("some products are missing here. (1 of 2 shards answered)")
    expect(page.locator(".notice").last).to_contain_text("lagging")
    expect(page.locator("#status")).to_have_attribute("data-state", "stale")
    snap(page, "partial")


def test_a_refusal_shows_message_and_code_and_can_be_tried_again(demo: str, open_page: OpenPage, snap: Snap) -> None:
    page = open_page(demo, expected=("503",))
    write(page, "please fail")
    expect(page.locator("#state p")).to_contain_text("no replica of shard 0 answered")
    expect(page.locator("#state code")).to_have_text("shard-unavailable")
    snap(page, "error")
    page.fill("#text", "blue")
    page.press("#text", "Enter")
    expect(page.locator("#state")).to_be_hidden()
    expect(page.locator("#grid .card:not(.skeleton)").first).to_be_visible()


def test_a_server_that_is_gone_is_said(demo: str, open_page: OpenPage) -> None:
    page = open_page(demo, expected=("ERR_FAILED",))
    expect(page.locator("#grid .card:not(.skeleton)")).to_have_count(24)
    page.route("**/v1/search*", lambda route: route.abort())
    write(page, "blue")
    expect(page.locator("#state")).to_contain_text("The server does not answer.")
    expect(page.locator("#status")).to_have_attribute("data-state", "lost")


def test_skeletons_stand_in_while_an_answer_is_awaited(demo: str, open_page: OpenPage) -> None:
    page = open_page(demo)
    expect(page.locator("#grid .card:not(.skeleton)")).to_have_count(24)
    held: list[Route] = []
    page.route("**/v1/products?*", lambda route: held.append(route))
    page.reload()
    expect(page.locator("#results")).to_have_attribute("aria-busy", "true")
    expect(page.locator("#grid .skeleton").first).to_be_visible()
    for route in held:
        route.continue_()
    page.unroute("**/v1/products?*")
    expect(page.locator("#grid .skeleton")).to_have_count(0)
    expect(page.locator("#results")).to_have_attribute("aria-busy", "false")


def test_the_answer_to_an_earlier_query_never_replaces_a_later_one(demo: str, open_page: OpenPage) -> None:
    page = open_page(demo, expected=("ERR_FAILED",))
    held: list[Route] = []

    def hold_red(route: Route) -> None:
        held.append(route) if "red" in (route.request.post_data or "") else route.continue_()

    page.route("**/v1/search*", hold_red)
    write(page, "red")
    write(page, "blue")
    expect(page.locator("#results-title")).to_have_text("Results for “blue”")
    expect(page.locator("#results")).to_have_attribute("aria-busy", "false")
    before = page.locator("#grid").inner_text()
    for route in held:
        route.abort()
    page.wait_for_timeout(200)
    assert page.locator("#grid").inner_text() == before
    expect(page.locator("#state")).to_be_hidden()


def test_an_unreadable_file_is_refused_in_words(demo: str, open_page: OpenPage) -> None:
    page = open_page(demo)
    page.set_input_files("#file", files=[upload(b"no picture")])
    expect(page.locator(".toast")).to_contain_text("no picture that the browser can read")


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_analytics_draws_click_through_by_position(
    fake_url: str, open_page: OpenPage, snap: Snap, size: tuple[int, int]
) -> None:
    page = open_page(f"{fake_url}/analytics?tenant=demo", size=size)
    expect(page.locator("#ctr .column")).to_have_count(12)
    expect(page.locator("#time .series")).to_have_count(4)
    expect(page.locator("#tiles dt").first).to_have_text("Searches")
    heights = page.locator("#ctr .column").evaluate_all("all => all.map((each) => Number(each.getAttribute('height')))")
    assert heights == sorted(heights, reverse=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    snap(page, f"analytics-{size[0]}")


def evaluated(page: Page, module: str, expression: str) -> object:
    return page.evaluate(f"import('/page/{module}').then((it) => {expression})")


def test_clauses_are_read_as_filters(demo: str, open_page: OpenPage) -> None:
    page = open_page(demo)
    clauses = {
        "brand = acme": {"brand": "acme"},
        "brand = acme, nord": {"brand": ["acme", "nord"]},
        "size >= 40": {"size": {"gte": 40}},
        "colour != red": {"not": {"colour": "red"}},
        'sku = "12"': {"sku": "12"},
        "vegan = true": {"vegan": True},
        "nothing here": None,
        "= 3": None,
    }
    for words, filter_ in clauses.items():
        assert evaluated(page, "filters.js", f"it.parseClause({json.dumps(words)})") == filter_, words
    choice = {"category": "", "colours": [], "from": 5, "to": None, "inStock": True, "clauses": ["price < 9"]}
    both = evaluated(page, "filters.js", f"it.filterOf({json.dumps(choice)})")
    assert both == {"all": [{"price": {"gte": 5}}, {"in_stock": True}, {"price": {"lt": 9}}]}


def test_frames_stay_inside_the_picture(demo: str, open_page: OpenPage) -> None:
    page = open_page(demo)
    assert evaluated(page, "crop.js", "it.moved([0.5, 0.5, 0.4, 0.4], 0.5, -2)") == [0.6, 0, 0.4, 0.4]
    assert evaluated(page, "crop.js", "it.resized([0.2, 0.2, 0.4, 0.4], 'nw', -1, -1)") == [0, 0, 0.6, 0.6]
    assert evaluated(page, "crop.js", "it.resized([0.2, 0.2, 0.4, 0.4], 'se', -1, -1)") == [0.2, 0.2, 0.08, 0.08]
    assert evaluated(page, "crop.js", "it.spanned(0.9, 0.8, 0.1, 0.2)") == [0.1, 0.2, 0.8, 0.6]


def test_revisions_of_a_window_replace_each_other_and_arms_add_up(demo: str, open_page: OpenPage) -> None:
    page = open_page(demo.replace("/?", "/analytics?"))
    window = {
        "window_start": 60,
        "searches": 5,
        "zero_results": 0,
        "abandoned": 0,
        "clicks": 1,
        "carts": 0,
        "purchases": 0,
    }
    windows = [
        {**window, "arm": "a", "revision": 1, "positions": []},
        {**window, "arm": "a", "revision": 2, "searches": 7, "positions": [{"position": 1, "shown": 4, "clicks": 1}]},
        {**window, "arm": "b", "revision": 1, "positions": [{"position": 1, "shown": 6, "clicks": 3}]},
    ]
    rows = evaluated(page, "analytics.js", f"it.byTime({json.dumps(windows)})")
    assert [row["searches"] for row in rows] == [12]  # type: ignore[attr-defined]
    positions = evaluated(page, "analytics.js", f"it.byPosition(it.byTime({json.dumps(windows)}))")
    assert positions == [{"position": 1, "shown": 10, "clicks": 4, "ctr": 0.4}]
