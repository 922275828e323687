"""What shoppers and shop keepers do on the page, against the whole product."""

import base64
import re
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from playwright.sync_api import Locator, Page, Response, expect

from freshlens.catalogue import draw, product
from tests.e2e.conftest import PHONE, OpenPage
from tests.e2e.shop import TENANT, Shop, encoded, pair, photo, upload

Snap = Callable[[Page, str], None]
Body = dict[str, Any]


def cards(page: Page) -> Locator:
    return page.locator("#grid .card:not(.skeleton)")


def first_id(page: Page) -> str | None:
    return cards(page).first.get_attribute("data-product-id")


def ids(page: Page) -> list[str]:
    found: list[str] = cards(page).evaluate_all("nodes => nodes.map((node) => node.dataset.productId)")
    return found


def search(page: Page, act: Callable[[], object]) -> Body:
    """Do something that searches; the body that was sent, once the answer is drawn."""
    with page.expect_response(re.compile(r"/v1/search\?")) as response:
        act()
    assert response.value.status == 200, response.value.text()
    expect(page.locator("#results")).to_have_attribute("aria-busy", "false")
    return sent(response.value)


def sent(response: Response) -> Body:
    """The JSON body of the request that was answered."""
    body: Body = response.request.post_data_json or {}
    return body


def give_photo(page: Page, raw: bytes) -> Body:
    return search(page, lambda: page.set_input_files("#file", files=[upload(raw)]))


def write(page: Page, words: str) -> Body:
    page.fill("#text", words)
    return search(page, lambda: page.press("#text", "Enter"))


def test_first_view_shows_the_newest_and_photos_to_try(shop: Shop, open_page: OpenPage, snap: Snap) -> None:
    page = open_page(shop.page)
    expect(cards(page)).to_have_count(24)
    expect(page.locator("#tenants input:checked")).to_have_value(TENANT)
    expect(page.locator("#status")).to_have_attribute("data-state", "fresh")
    snap(page, "first-view")
    search(page, lambda: page.locator(".sample").first.click())
    expect(page.locator("#results-title")).to_have_text("Like your photo")


def test_a_photo_finds_its_product_first_and_was_shrunk(shop: Shop, open_page: OpenPage, snap: Snap) -> None:
    page = open_page(shop.page)
    for number in (3, 11, 20):
        body = give_photo(page, photo(number, size=1600))
        assert first_id(page) == shop.id_of(number)
        raw = base64.b64decode(body["image"]["base64"])
        assert raw.startswith(b"\xff\xd8")
        assert len(raw) < len(photo(number, size=1600))
    expect(cards(page).first.locator("img")).to_have_js_property("complete", True)
    assert cards(page).first.locator("img").evaluate("image => image.naturalWidth") > 0
    snap(page, "photo")


def test_dropped_and_pasted_photos_search_too(shop: Shop, open_page: OpenPage) -> None:
    page = open_page(shop.page)
    for event, number in (("drop", 5), ("paste", 8)):
        search(page, partial(deliver, page, event, photo(number)))
        assert first_id(page) == shop.id_of(number)


def deliver(page: Page, event: str, raw: bytes) -> None:
    page.evaluate(
        """([event, words]) => {
          const transfer = new DataTransfer();
          const bytes = Uint8Array.from(atob(words), (each) => each.charCodeAt(0));
          transfer.items.add(new File([bytes], "photo.jpg", { type: "image/jpeg" }));
          const made = event === "drop"
            ? new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true })
            : new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true });
          document.body.dispatchEvent(made);
        }""",
        [event, base64.b64encode(raw).decode()],
    )


def test_a_frame_drawn_with_the_mouse_searches_within_it(shop: Shop, open_page: OpenPage, snap: Snap) -> None:
    page = open_page(shop.page)
    give_photo(page, pair(3, 11))
    area = page.locator(".surface").bounding_box()
    assert area
    page.mouse.move(area["x"] + area["width"] * 0.505, area["y"] + area["height"] * 0.1)
    page.mouse.down()
    page.mouse.move(area["x"] + area["width"] * 0.8, area["y"] + area["height"] * 0.6, steps=4)
    page.mouse.move(area["x"] + area["width"] - 1, area["y"] + area["height"] - 1, steps=4)
    body = search(page, page.mouse.up)
    left, top, width, height = body["crop"]
    assert 0.47 < left < 0.53
    assert 0.07 < top < 0.13
    assert width > 0.45
    assert height > 0.85
    assert first_id(page) == shop.id_of(11)
    snap(page, "crop")
    assert "crop" not in search(page, lambda: page.click("#crop-reset"))


def test_a_dot_on_one_of_two_things_searches_for_it(shop: Shop, open_page: OpenPage, snap: Snap) -> None:
    page = open_page(shop.page)
    give_photo(page, pair(3, 11))
    spots = page.locator(".spot")
    expect(spots).to_have_count(2)
    # Which of them is more striking is the detector's business; where they are is known.
    at = spots.evaluate_all("all => all.map((each) => each.getBoundingClientRect().left)")
    right = spots.nth(at.index(max(at)))
    body = search(page, right.click)
    assert body["crop"][0] > 0.4
    assert first_id(page) == shop.id_of(11)
    expect(right).to_have_attribute("aria-pressed", "true")
    snap(page, "thing")


def test_a_frame_moves_by_touch(shop: Shop, open_page: OpenPage) -> None:
    page = open_page(shop.page, size=PHONE)
    give_photo(page, pair(3, 11))
    handle = page.locator(".handle.e").bounding_box()
    area = page.locator(".surface").bounding_box()
    assert handle
    assert area
    session = page.context.new_cdp_session(page)
    x, y = handle["x"] + handle["width"] / 2 - 4, handle["y"] + handle["height"] / 2
    touches = [("touchStart", x), ("touchMove", x - area["width"] / 4), ("touchMove", x - area["width"] / 2 + 4)]
    for kind, at in touches:
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": at, "y": y}]})
    body = search(page, lambda: session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []}))
    assert 0.4 < body["crop"][2] < 0.6
    assert first_id(page) == shop.id_of(3)


def test_words_search_alone_and_beside_a_photo(shop: Shop, open_page: OpenPage, snap: Snap) -> None:
    page = open_page(shop.page)
    alone = write(page, "blue")
    assert alone["text"] == "blue"
    assert "image" not in alone
    expect(page).to_have_url(re.compile(r"q=blue"))
    give_photo(page, photo(3))
    expect(page.locator("#results-title")).to_have_text("Like your photo, “blue”")
    both = write(page, "in blue")
    assert both["text"] == "in blue"
    assert both["image"]
    snap(page, "photo-and-words")


def test_what_results_should_be_unlike_counts_beside_a_photo(shop: Shop, open_page: OpenPage, snap: Snap) -> None:
    page = open_page(shop.page)
    expect(page.locator("#minus-form")).to_be_hidden()
    give_photo(page, photo(3))
    before = ids(page)
    page.fill("#minus", "striped")
    body = search(page, lambda: page.press("#minus", "Enter"))
    assert body["minus"] == "striped"
    assert ids(page) != before
    expect(page.locator("#results-title")).to_have_text("Like your photo, not “striped”")
    assert "not=striped" in page.url
    snap(page, "unlike")
    page.fill("#minus", "")
    assert "minus" not in search(page, lambda: page.press("#minus", "Enter"))


def test_several_photos_search_together(shop: Shop, open_page: OpenPage, snap: Snap) -> None:
    page = open_page(shop.page)
    expect(page.locator("#photo-add")).to_be_hidden()
    give_photo(page, photo(3))
    body = search(page, lambda: page.set_input_files("#more-file", files=[upload(photo(11))]))
    assert len(body["images"]) == 1
    assert {shop.id_of(3), shop.id_of(11)} <= set(ids(page)[:6])
    expect(page.locator("#results-title")).to_have_text("Like your 2 photos")
    snap(page, "several-photos")
    body = search(page, lambda: page.set_input_files("#file", files=[upload(photo(20))]))  # in place of the first
    assert len(body["images"]) == 1
    body = search(page, lambda: page.click("#photo-remove"))  # the second takes its place
    assert "images" not in body
    assert first_id(page) == shop.id_of(11)
    expect(page.locator("#more-photos")).to_be_hidden()


def test_filters_narrow_the_answer_and_are_taken_away(shop: Shop, open_page: OpenPage) -> None:
    page = open_page(shop.page)
    expect(cards(page)).to_have_count(24)
    chosen = 3
    category = shop.lines[chosen]["category"]
    matching = {line["product_id"] for line in shop.lines.values() if line["category"] == category}
    body = search(page, lambda: page.select_option("#category", category))
    assert body["filter"] == {"category": category}
    assert set(ids(page)) == matching
    page.fill("#clause", f"brand = {shop.lines[chosen]['brand']}")
    body = search(page, lambda: page.press("#clause", "Enter"))
    assert body["filter"] == {"category": category, "brand": shop.lines[chosen]["brand"]}
    assert shop.id_of(chosen) in ids(page)
    page.fill("#price-max", "0.01")
    search(page, lambda: page.press("#price-max", "Tab"))
    expect(page.locator("#state h3")).to_have_text("No product passes these filters.")
    page.click("#state .primary")
    expect(cards(page)).to_have_count(24)


def test_the_panel_offers_what_the_whole_catalogue_has(shop: Shop, open_page: OpenPage, snap: Snap) -> None:
    page = open_page(shop.page)
    categories = Counter(line["category"] for line in shop.lines.values())
    offered = [f"{name} ({count})" for name, count in sorted(categories.items())]
    options = page.locator("#category option")
    expect(options).to_have_text(["Any", *offered])
    brand = shop.lines[3]["brand"]
    page.get_by_role("combobox", name="brand").scroll_into_view_if_needed()
    search(page, lambda: page.get_by_role("combobox", name="brand").select_option(brand))
    of_brand = {line["product_id"] for line in shop.lines.values() if line["brand"] == brand}
    assert set(ids(page)) == of_brand
    # Other fields are counted within the choice; its own field goes on offering the others.
    within = Counter(line["category"] for line in shop.lines.values() if line["brand"] == brand)
    expect(options).to_have_text(["Any", *(f"{name} ({count})" for name, count in sorted(within.items()))])
    brands = {line["brand"] for line in shop.lines.values()}
    expect(page.get_by_role("combobox", name="brand").locator("option")).to_have_count(1 + len(brands))
    snap(page, "facets")


def test_more_like_this_leaves_the_product_itself_out(shop: Shop, open_page: OpenPage, snap: Snap) -> None:
    page = open_page(shop.page)
    expect(cards(page)).to_have_count(24)
    chosen = first_id(page)
    body = search(page, cards(page).first.locator(".more-like").click)
    assert body["product_id"] == chosen
    expect(page.locator("#like")).to_be_visible()
    assert chosen not in ids(page)
    assert ids(page)
    snap(page, "more-like-this")


def test_a_click_opens_the_product_and_leaves_as_feedback(shop: Shop, open_page: OpenPage, snap: Snap) -> None:
    page = open_page(shop.page)
    give_photo(page, photo(3))
    with page.expect_response(re.compile("/v1/feedback")) as clicked:
        cards(page).first.locator(".open").click()
    assert clicked.value.status == 202
    click = sent(clicked.value)
    assert (click["product_id"], click["position"], click["kind"]) == (shop.id_of(3), 1, "click")
    assert click["query_id"]
    expect(page.locator("#drawer-title")).to_have_text(shop.title_of(3))
    expect(page.locator("#drawer .why dt").first).to_have_text("Likeness")
    expect(page.locator("#drawer .views button")).to_have_count(1)
    snap(page, "product")
    with page.expect_response(re.compile("/v1/feedback")) as carted:
        page.get_by_role("button", name="Add to cart").click()
    assert carted.value.status == 202
    assert sent(carted.value)["kind"] == "add_to_cart"


def test_a_product_added_on_the_page_is_found_and_deleted_again(shop: Shop, open_page: OpenPage, snap: Snap) -> None:
    page = open_page(shop.page)
    page.click("#add-open")
    page.set_input_files("#add-file", files=[upload(photo(77))])
    page.fill("[name=title]", "A <b>photographed</b> thing")
    page.fill("[name=product_id]", "from the page/1")
    page.fill("[name=price]", "19.5")
    page.fill("[name=category]", "found objects")
    page.get_by_text("Ahead of everything queued").click()
    with page.expect_request(lambda request: request.method == "POST" and "hot=true" in request.url):
        page.click("#add-form [type=submit]")
    expect(page.locator(".progress")).to_contain_text(re.compile(r"Searchable after [\d.]+ m?s"))
    snap(page, "added")
    search(page, lambda: page.get_by_role("button", name="Show it in the results").click())
    assert first_id(page) == "from the page/1"
    expect(cards(page).first.locator(".title")).to_have_text("A <b>photographed</b> thing")
    expect(cards(page).first.locator(".price")).to_have_text("€19.50")

    cards(page).first.locator(".open").click()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Really delete?").click()
    expect(page.locator(".toast").last).to_contain_text(re.compile(r"gone after [\d.]+ m?s"))
    expect(page.locator("#grid [data-product-id='from the page/1']")).to_have_count(0)
    snap(page, "deleted")


def test_a_product_deleted_elsewhere_is_gone_from_the_next_answer(shop: Shop, open_page: OpenPage) -> None:
    shop.publish([{"product_id": "short-lived", "title": "Short-lived", "image": encoded(draw(product(78), 320))}])
    page = open_page(shop.page)
    give_photo(page, photo(78))
    assert first_id(page) == "short-lived"
    token = shop.call("DELETE", "/v1/products/short-lived")["read_token"]
    shop.call("POST", "/v1/search", {"text": "anything", "min_offset": token, "wait_ms": 5000})
    give_photo(page, photo(78))
    assert "short-lived" not in ids(page)


def test_the_keyboard_is_enough(shop: Shop, open_page: OpenPage) -> None:
    page = open_page(shop.page)
    expect(cards(page)).to_have_count(24)
    page.keyboard.press("/")
    page.keyboard.type("blue")
    search(page, lambda: page.keyboard.press("Enter"))
    page.keyboard.press("Escape")
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.classList.contains('open')"):
            break
    assert focused(page) == ids(page)[0]
    page.keyboard.press("ArrowRight")
    assert focused(page) == ids(page)[1]
    page.keyboard.press("ArrowDown")
    assert ids(page).index(focused(page)) > 2
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    expect(page.locator("#drawer")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#drawer")).to_be_hidden()
    chosen = focused(page)
    assert chosen == ids(page)[0]
    body = search(page, lambda: page.keyboard.press("m"))
    assert body["product_id"] == chosen
    page.wait_for_function("document.activeElement.classList.contains('open')")


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.closest('.card')?.dataset.productId"))


def test_a_frame_moves_by_keyboard(shop: Shop, open_page: OpenPage) -> None:
    page = open_page(shop.page)
    give_photo(page, pair(3, 11))
    page.locator(".frame").focus()

    def shrink() -> None:
        for _ in range(25):
            page.keyboard.press("Shift+ArrowLeft")

    body = search(page, shrink)
    assert body["crop"] == [0, 0, 0.5, 1]
    assert first_id(page) == shop.id_of(3)
    assert "crop" not in search(page, lambda: page.keyboard.press("Escape"))


def test_back_returns_to_the_query_before_photo_included(shop: Shop, open_page: OpenPage) -> None:
    page = open_page(shop.page)
    give_photo(page, photo(3))
    search(page, lambda: cards(page).nth(1).locator(".more-like").click())
    expect(page.locator("#results-title")).to_have_text("More like this")
    body = search(page, page.go_back)
    assert body["image"]
    assert "product_id" not in body
    expect(page.locator("#results-title")).to_have_text("Like your photo")
    assert first_id(page) == shop.id_of(3)


def test_a_phone_has_no_sideways_scroll_anywhere(shop: Shop, open_page: OpenPage, snap: Snap) -> None:
    page = open_page(shop.page, size=PHONE)
    expect(cards(page)).to_have_count(24)
    assert_fits(page)
    snap(page, "phone-first-view")
    page.locator("#filters summary").click()
    assert_fits(page)
    page.locator("#filters summary").click()
    give_photo(page, photo(3))
    assert_fits(page)
    snap(page, "phone-photo")
    cards(page).first.locator(".open").click()
    assert_fits(page)
    snap(page, "phone-product")
    page.keyboard.press("Escape")
    page.click("#add-open")
    assert_fits(page)
    snap(page, "phone-add")


def assert_fits(page: Page) -> None:
    # Not innerWidth: a phone widens its layout until everything fits.
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
    beyond = page.evaluate(
        """(width) => [...document.querySelectorAll("dialog[open], .bar *, .side *, .card, .state *")]
          .filter((node) => node.checkVisibility() && !node.closest(".unseen, .surface, .segments, svg"))
          .filter((node) => node.getBoundingClientRect().right > width + 1)
          .map((node) => node.outerHTML.slice(0, 80))""",
        PHONE[0],
    )
    assert beyond == []


def test_the_dark_theme_is_chosen_and_remembered(shop: Shop, open_page: OpenPage, snap: Snap) -> None:
    page = open_page(shop.page)
    page.click("#theme")
    page.click("#theme")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    give_photo(page, photo(3))
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(map(int, re.findall(r"\d+", dark)[:3])) < 60
    snap(page, "dark")


def test_another_tenant_is_another_catalogue_and_is_remembered(shop: Shop, open_page: OpenPage) -> None:
    page = open_page(shop.page)
    expect(cards(page)).to_have_count(24)
    page.locator("#tenants label", has_text="default").click()
    expect(page.locator("#state h3")).to_have_text("This catalogue is empty.")
    page.goto(f"{shop.url}/")
    expect(page.locator("#tenants input:checked")).to_have_value("default")


def test_analytics_says_that_there_is_nothing_yet(shop: Shop, open_page: OpenPage) -> None:
    page = open_page(f"{shop.url}/analytics?tenant=nobody-searched-here")
    expect(page.locator("#state h3")).to_have_text("No searches have been summed up yet.")
