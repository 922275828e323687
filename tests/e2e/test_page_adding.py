"""Adding a product from the page: which photo it gets, and what is said of it, and where."""

import base64
import io
import json
from collections.abc import Callable

import pytest
from PIL import Image
from playwright.sync_api import Page, Request, Route, expect

from tests.e2e.conftest import SLOW_PHOTOS, OpenPage, wait
from tests.e2e.shop import photo, upload

Snap = Callable[[Page, str], None]

DROP = """([where, words]) => {
  const dataTransfer = new DataTransfer();
  const bytes = Uint8Array.from(atob(words), (each) => each.charCodeAt(0));
  dataTransfer.items.add(new File([bytes], "photo.jpg", { type: "image/jpeg" }));
  for (const name of ["dragover", "drop"]) {
    document.querySelector(where).dispatchEvent(new DragEvent(name, { dataTransfer, bubbles: true, cancelable: true }));
  }
}"""


def is_publishing(request: Request) -> bool:
    return request.method == "POST" and "/v1/products" in request.url


def test_a_published_product_that_is_never_found_is_not_called_searchable(demo: str, open_page: OpenPage) -> None:
    page = open_page(demo)
    nothing = {"query_id": "q", "results": [], "no_match": True, "freshness_met": True, "freshness": [], "warnings": []}
    page.route("**/v1/search*", lambda route: route.fulfill(body=json.dumps(nothing), content_type="application/json"))
    page.click("#add-open")
    page.set_input_files("#add-file", files=[upload(photo(80))])
    page.fill("[name=title]", "Never found")
    page.click("#add-form [type=submit]")
    expect(page.locator(".progress .failed")).to_contain_text("Not found by its photo")


def test_a_photo_is_asked_for_before_publishing(demo: str, open_page: OpenPage) -> None:
    page = open_page(demo)
    page.click("#add-open")
    page.fill("[name=title]", "No photo")
    page.click("#add-form [type=submit]")
    expect(page.locator(".progress .failed")).to_contain_text("A photo is needed")


@pytest.mark.parametrize("readable", [True, False])
def test_the_photo_that_was_chosen_last_is_shown_and_published_when_an_earlier_one_comes_later(
    demo: str, open_page: OpenPage, readable: bool
) -> None:
    page = open_page(demo)
    page.evaluate(SLOW_PHOTOS)
    page.click("#add-open")
    page.set_input_files("#add-file", files=[upload(photo(3) if readable else b"no picture", "slow.jpg")])
    page.set_input_files("#add-file", files=[upload(photo(5, size=400))])
    shown = page.locator("#add-photo img")
    expect(shown).to_have_js_property("naturalWidth", 400)
    page.evaluate("() => goOn()")
    wait(page, "() => ended === 2")
    expect(shown).to_have_js_property("naturalWidth", 400)
    expect(page.locator(".toast")).to_have_count(0)
    page.fill("[name=title]", "Chosen last")
    with page.expect_request(is_publishing) as published:
        page.click("#add-form [type=submit]")
    sent = (published.value.post_data_json or {})["image"]["base64"]
    assert Image.open(io.BytesIO(base64.b64decode(sent))).width == 400


def test_a_photo_that_cannot_be_read_leaves_the_one_that_is_shown(demo: str, open_page: OpenPage) -> None:
    page = open_page(demo)
    page.click("#add-open")
    page.set_input_files("#add-file", files=[upload(photo(5))])
    expect(page.locator("#add-photo img")).to_be_visible()
    page.set_input_files("#add-file", files=[upload(b"no picture")])
    expect(page.locator(".toast")).to_contain_text("no picture that the browser can read")
    page.fill("[name=title]", "Still has a photo")
    with page.expect_request(is_publishing):
        page.click("#add-form [type=submit]")


def test_a_product_that_is_still_looked_for_says_nothing_in_the_form_of_the_next(
    demo: str, open_page: OpenPage, snap: Snap
) -> None:
    page = open_page(demo)
    held: list[Route] = []
    page.route("**/v1/search*", lambda route: held.append(route))
    page.click("#add-open")
    page.set_input_files("#add-file", files=[upload(photo(81))])
    page.fill("[name=title]", "The first")
    page.fill("[name=product_id]", "the first")
    page.click("#add-form [type=submit]")
    first = page.locator("#add .progress").element_handle()
    expect(page.locator("#add .progress")).to_contain_text("Searching for it by its photo…")
    page.keyboard.press("Escape")
    page.click("#add-open")
    page.fill("[name=title]", "The second")
    held[0].fulfill(json={"results": [{"product_id": "the first"}]})
    wait(page, "(progress) => !progress.querySelector('.running')", first)
    expect(page.locator("#add .progress")).to_be_hidden()
    expect(page.locator("#add .actions button")).to_have_text(["Publish", "Cancel"])
    snap(page, "add-second")


def test_a_photo_dropped_on_the_dialog_is_taken_and_lifts_the_veil(demo: str, open_page: OpenPage, snap: Snap) -> None:
    page = open_page(demo)
    page.click("#add-open")
    page.evaluate(DROP, ["#add-photo", base64.b64encode(photo(2)).decode()])
    expect(page.locator("#add-photo img")).to_be_visible()
    expect(page.locator("#veil")).to_be_hidden()
    snap(page, "add-dropped")
