"""Following events to their decision, without a broker."""

import io
import json
from pathlib import Path

import pytest

from freshlens.publishing import Following, Sender, locate_beside, read_products
from schemas.errors import InvalidProduct
from schemas.events import DeadLetter, ProductRetry, Source
from schemas.identity import ProductKey
from schemas.index_log import IndexedContent, IndexedOffer, IndexLogRecord
from schemas.join import Rank
from schemas.progress import Position

POSITION = Position("c:t", "product-added", 3, 7)
SOURCE = Source("product-added", 3, 7, 0)
KEY = ProductKey("default", "p")
CONTENT = IndexedContent(Rank(5), "s", None, None, {}, (), b"")
OFFER = IndexedOffer(Rank(5), 1.0, None, None, None, {})


def test_a_decision_is_matched_whether_it_is_read_before_or_after_the_confirmation() -> None:
    record = IndexLogRecord("default", "p", SOURCE, content=CONTENT)
    first, second = Following(), Following()
    first.confirmed("line 1", KEY, POSITION)
    first.seen(SOURCE, record)
    second.seen(SOURCE, record)
    assert second.decided() == []
    second.confirmed("line 1", KEY, POSITION)
    assert first.decided() == second.decided()
    assert first.undecided() == second.undecided() == 0


def test_records_of_other_publishers_decide_nothing() -> None:
    following = Following()
    following.confirmed("line 1", KEY, POSITION)
    following.seen(Source("product-deleted", 3, 7, 0), IndexLogRecord("default", "q", SOURCE))
    assert following.undecided() == 1


def test_an_offer_that_came_through_alone_still_waits_for_its_pictures() -> None:
    following = Following()
    following.confirmed("line 1", KEY, POSITION)
    following.seen(SOURCE, ProductRetry(b"", SOURCE, 5, 0, 1, 0))
    following.seen(SOURCE, IndexLogRecord("default", "p", SOURCE, offer=OFFER))
    assert [each.waiting for each in following.decided()] == [True]
    following.seen(SOURCE, IndexLogRecord("default", "p", SOURCE, content=CONTENT, offer=OFFER))
    assert [each.waiting for each in following.decided()] == [False]


def test_a_dead_letter_is_a_rejection_with_its_code() -> None:
    following = Following()
    following.confirmed("line 1", KEY, POSITION)
    following.seen(SOURCE, DeadLetter("undecodable-image", "truncated", SOURCE, None, b"", b"", 1, 0))
    assert following.decided()[0].rejected == "undecodable-image: truncated"


def test_lines_that_are_not_json_are_named_and_blank_ones_passed_over() -> None:
    lines = list(read_products(io.StringIO('{"product_id": "a"}\n\nnot json\n')))
    assert lines[0] == ("line 1", {"product_id": "a"})
    assert lines[1][0] == "line 3"
    assert isinstance(lines[1][1], InvalidProduct)
    assert len(lines) == 2


def test_a_folder_of_pictures_is_a_catalogue(tmp_path: Path) -> None:
    (tmp_path / "red-mug.JPG").write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("no picture")
    assert [line for _, line in read_products(tmp_path)] == [
        {"product_id": "red-mug", "title": "red-mug", "image": "red-mug.JPG"}
    ]


def test_pictures_are_read_beside_the_file_and_uris_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"bytes")
    locate = locate_beside(tmp_path)
    assert locate("a.jpg").inline == b"bytes"
    assert locate("https://shop.example/a.jpg").uri == "https://shop.example/a.jpg"
    with pytest.raises(InvalidProduct, match=r"gone\.jpg"):
        locate("gone.jpg")


@pytest.mark.parametrize("place", ["/etc/passwd", "../secret.jpg", "a/../../secret.jpg"])
def test_a_file_of_products_reaches_no_file_beyond_its_folder(tmp_path: Path, place: str) -> None:
    (tmp_path / "feed").mkdir()
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    with pytest.raises(InvalidProduct, match="in the folder of their file"):
        locate_beside(tmp_path / "feed")(place)


def test_a_file_of_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "products.jsonl"
    path.write_text("".join(json.dumps({"product_id": str(n)}) + "\n" for n in range(3)))
    assert [line["product_id"] for _, line in read_products(path) if not isinstance(line, InvalidProduct)] == [
        "0",
        "1",
        "2",
    ]


@pytest.mark.parametrize("hot", [False, True])
def test_what_is_hot_is_sent_so(hot: bool) -> None:
    asked: list[bool] = []

    class Lanes:
        def send(self, _event: object, _on_done: object, *, hot: bool = False) -> None:
            asked.append(hot)

    sender = Sender(Lanes(), Following(), hot=hot)  # type: ignore[arg-type]
    line = {"product_id": "p", "price": 1.0}
    sender.send_line("line 1", line, tenant="default", volatile=frozenset(), locate=locate_beside(Path()))
    assert (asked, sender.failed) == ([hot], [])
