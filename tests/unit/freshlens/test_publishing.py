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
from topics import administration
from topics.publisher import Publisher
from topics.settings import KafkaSettings

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
    lines = list(read_products(io.BytesIO(b'{"product_id": "a"}\n\nnot json\n')))
    assert lines[0] == ("line 1", {"product_id": "a"})
    assert lines[1][0] == "line 3"
    assert isinstance(lines[1][1], InvalidProduct)
    assert len(lines) == 2


def test_what_is_no_utf_8_is_refused_and_not_guessed() -> None:
    lines = '{"product_id": "café"}\n{"product_id": "cafè"}\n'
    assert all(isinstance(line, InvalidProduct) for _, line in read_products(io.BytesIO(lines.encode("latin-1"))))
    with_mark = dict(read_products(io.BytesIO(lines.encode("utf-8-sig"))))
    assert with_mark == {"line 1": {"product_id": "café"}, "line 2": {"product_id": "cafè"}}


def test_of_two_pictures_with_one_name_the_second_is_refused(tmp_path: Path) -> None:
    for place in ("shirts/0001.jpg", "shoes/0001.jpg", "shoes/0001.png", "shoes/0002.jpg"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_bytes(b"x")
    lines = [line for _, line in read_products(tmp_path)]
    assert [line["image"] for line in lines if not isinstance(line, InvalidProduct)] == [
        "shirts/0001.jpg",
        "shoes/0002.jpg",
    ]
    assert all("shirts/0001.jpg" in line.message for line in lines if isinstance(line, InvalidProduct))
    assert len(lines) == 4


def test_what_the_broker_never_confirmed_has_failed_once_the_publisher_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(administration, "describe_log", lambda *_: "cluster:topic")
    publisher, following = Publisher(KafkaSettings("127.0.0.1:1")), Following()
    sender = Sender(publisher, following)
    for number in range(3):
        sender.send_delete("shop", f"p{number}", None)
    publisher.close(0.1)
    assert [each.key.product_id for each in sender.failed] == ["p0", "p1", "p2"]
    assert all("broker-unavailable" in (each.rejected or "") for each in sender.failed)
    assert following.positions == []


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
