"""The embed and delete workers on a real Kafka: every event ends on index-log or as a dead letter, whatever happens."""

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from schemas.events import Content, GivenVector, Offer, Picture, ProductAdded, ProductDeleted
from schemas.framing import PRODUCT_ADDED, PRODUCT_DELETED
from tests.integration.stream_bench import Bench, jpeg, pictured, until, vectors_only
from topics import administration, clients
from topics.store import FileStore, original_key
from topics.thumbnails import get_thumbnail

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]


def test_events_of_every_kind_reach_the_index_log_and_poison_the_dead_letters(bench: Bench) -> None:
    root = bench.data / "pictures"
    root.mkdir(parents=True)
    (root / "blue.jpg").write_bytes(jpeg("blue"))
    worker = bench.start(FRESHLENS_FETCH_ROOTS=str(root))
    bench.add(pictured("inline"))
    bench.add(ProductAdded("shop", "file", content=Content(pictures=(Picture(uri=f"file://{root}/blue.jpg"),))))
    bench.add(vectors_only("vector"))
    bench.add(ProductAdded("shop", "text", content=Content(title="A mug")))
    bench.add(ProductAdded("shop", "offer", offer=Offer(price=3.5)))
    good_and_bad = (Picture(inline=jpeg("green")), Picture(inline=b"no picture"))
    bench.add(ProductAdded("shop", "partly", content=Content(pictures=good_and_bad)))
    poison = {
        "undecodable-record": (b"garbage", None),
        "schema-registry-not-configured": (b"\0\0\0\0\1x", None),
        "key-mismatch": (PRODUCT_ADDED.encode(vectors_only("key")), b"shop/other"),
        "version-out-of-range": (PRODUCT_ADDED.encode(ProductAdded("shop", "v", version=5, offer=Offer())), None),
        "undecodable-image": (
            PRODUCT_ADDED.encode(
                ProductAdded("shop", "i", content=Content(pictures=(Picture(inline=b"x" * 300_000),)))
            ),
            None,
        ),
        "image-refused": (
            PRODUCT_ADDED.encode(
                ProductAdded("shop", "r", content=Content(pictures=(Picture(uri="file:///etc/passwd"),)))
            ),
            None,
        ),
        "space-mismatch": (
            PRODUCT_ADDED.encode(
                ProductAdded("shop", "s", content=Content(vectors=(GivenVector("other", (1.0, 0, 0, 0)),)))
            ),
            None,
        ),
    }
    for value, key in poison.values():
        bench.send("product-added", value, key)
    bench.until_indexed("inline", "file", "vector", "text", "offer", "partly")
    codes = sorted([*poison, "undecodable-image"])  # the view that "partly" lacks is reported, too
    until(lambda: len(bench.codes()) >= len(codes), "dead letters")
    assert bench.codes() == codes

    inline = bench.record("inline").content
    assert inline is not None
    assert [view.kind for view in inline.views] == ["image"]
    assert inline.dup_group == inline.views[0].phash
    digest = inline.views[0].content_hash
    assert digest is not None
    store = FileStore(bench.data / "store")
    assert store.get(original_key(digest.hex())) == jpeg()
    assert all(get_thumbnail(store, "shop", digest.hex(), size) for size in (96, 256, 512))
    partly, text, offer = bench.record("partly").content, bench.record("text").content, bench.record("offer")
    assert partly is not None
    assert len(partly.views) == 1
    assert text is not None
    assert text.views[0].kind == "text"
    assert offer.content is None
    assert offer.offer is not None
    (large,) = [letter for letter in bench.letters if letter.stored_at is not None]
    assert large.code == "undecodable-image"
    assert large.version is not None
    assert large.value is None
    assert large.stored_at is not None
    assert len(store.get(large.stored_at)) > 300_000
    assert "freshlens_dead_letters_total" in worker.stop()


def test_deletes_have_a_worker_of_their_own(bench: Bench) -> None:
    worker = bench.start("deletes")
    raw = PRODUCT_DELETED.encode(ProductDeleted("shop", "1", reason="sold"))
    bench.send("product-deleted", raw, b"shop/1")
    bench.send("product-deleted", b"garbage")
    bench.until_indexed("1")
    until(lambda: bench.codes() == ["undecodable-record"], "a dead letter")
    deleted = bench.record("1").deleted
    assert deleted is not None
    assert deleted.rank.version == bench.record("1").source.appended_at * 1000
    until(lambda: bench.watermarks("product-deleted") == 2, "facts about both")
    worker.stop()


def test_an_aborted_transaction_is_never_indexed(bench: Bench) -> None:
    bench.start()
    producer = Producer({**bench.kafka.confluent(), "transactional.id": f"{bench.kafka.topic_prefix}tx"})
    producer.init_transactions(30)
    topic = bench.kafka.topic("product-added")
    admin = clients.admin(bench.kafka)
    for number, (product_id, commits) in enumerate((("kept-1", True), ("aborted", False), ("kept-2", True)), 1):
        producer.begin_transaction()
        producer.produce(topic, PRODUCT_ADDED.encode(vectors_only(product_id)), partition=0)
        assert producer.flush(30) == 0
        if commits:
            producer.commit_transaction(30)
        else:
            producer.abort_transaction(30)
        # The broker writes the marker in its own time, and the next event is not to come before it.
        until(lambda end=2 * number: administration.end_offsets(admin, topic)[0] == end, "an event and its marker")
    bench.add(vectors_only("after"), partition=0)
    bench.until_indexed("kept-1", "kept-2", "after")
    assert bench.indexed() == {"kept-1", "kept-2", "after"}
    until(lambda: bench.watermarks("product-added") == 7, "a fact beyond the transaction markers")


def test_facts_say_how_far_index_log_must_be_read(bench: Bench) -> None:
    bench.start()
    products = [f"p{number}" for number in range(40)]
    for product in products:
        bench.add(vectors_only(product))
    bench.send("product-added", b"garbage", b"key")
    bench.until_indexed(*products)
    until(lambda: bench.watermarks("product-added") == 41, "facts about all events")
    log_id = str(administration.describe_log(clients.admin(bench.kafka), bench.kafka.topic("product-added")))
    ends = administration.end_offsets(clients.admin(bench.kafka), bench.kafka.topic("index-log"))
    facts = [fact for fact in bench.facts if fact.topic == "product-added"]
    for fact in facts:
        assert (fact.lane, fact.log_id) == ("main", log_id)
        assert set(fact.reach_by_partition) == set(range(8))
        assert all(offset <= ends[partition] for partition, offset in fact.reach_by_partition.items())
    last = {fact.partition: fact for fact in facts}
    for record in bench.records:
        assert last[record.source.partition].watermark > record.source.offset
    reached = [max(fact.reach_by_partition[partition] for fact in last.values()) for partition in range(8)]
    assert reached == [ends[partition] for partition in range(8)]


def test_kill_9_and_restart_lose_nothing(bench: Bench) -> None:
    worker = bench.start(STUB_PICTURE_S="0.01")
    products = [f"p{number}" for number in range(400)]
    for number, product in enumerate(products):
        bench.add(pictured(product, f"rgb({number % 256}, {number // 256}, 9)"))
    for _ in range(2):
        known = len(bench.indexed())
        until(lambda known=known: len(bench.indexed()) > known, "some progress before the kill")  # type: ignore[misc]
        worker.kill()
        worker = bench.start(STUB_PICTURE_S="0.01")
    bench.until_indexed(*products)
    until(lambda: bench.watermarks("product-added") == 400, "facts about all events")
    printed = worker.stop()
    again = bench.start()
    bench.add(vectors_only("after"))
    bench.until_indexed("after")
    assert "freshlens_encoded_items_total" not in again.stop(), "nothing was delivered again after a clean stop"
    assert "freshlens_embedding_cache_total {'result': 'error'}" not in printed


def test_prices_overtake_queued_pictures_and_known_pictures_skip_the_model(bench: Bench) -> None:
    worker = bench.start(STUB_PICTURE_S="1")
    bench.add(pictured("known"))
    bench.until_indexed("known")
    for number in range(100):
        bench.add(pictured(f"slow{number}", f"rgb({number}, 40, 40)"))
    bench.add(pictured("relisted"))
    bench.add(ProductAdded("shop", "price", offer=Offer(price=1)))
    bench.until_indexed("relisted", "price")
    assert len(bench.indexed()) < 90, "the model was still busy"
    worker.kill()


def test_a_dead_image_host_holds_up_nobody_and_its_pictures_are_found_later(bench: Bench) -> None:
    missing = bench.data / "pictures" / "late.jpg"
    missing.parent.mkdir(parents=True)
    bench.start(FRESHLENS_FETCH_ROOTS=str(missing.parent))
    dead = Content(pictures=(Picture(uri="http://127.0.0.1:9/a.jpg"),))
    for number in range(50):
        bench.add(ProductAdded("shop", f"dead{number}", content=dead, offer=Offer(price=1)))
    both = Content(pictures=(Picture(inline=jpeg()), Picture(uri=f"file://{missing}")))
    bench.add(ProductAdded("shop", "late", content=both))
    bench.add(pictured("other"))
    bench.until_indexed("other", "late", "dead0", "dead49")
    first = bench.record("late").content
    assert first is not None
    assert len(first.views) == 1
    assert bench.record("dead0").content is None, "its offer is there, its content waits"
    until(lambda: bench.watermarks("product-added") == 52, "the events are finished all the same")
    missing.write_bytes(jpeg("blue"))
    until(lambda: _views(bench, "late") == 2, "the late picture")
    second = bench.record("late").content
    assert second is not None
    assert second.rank.version == first.rank.version
    assert second.rank > first.rank


def _views(bench: Bench, product_id: str) -> int:
    bench.read()
    content = bench.record(product_id).content
    return len(content.views) if content is not None else 0


def test_two_workers_share_the_work_and_one_takes_over(bench: Bench) -> None:
    first = bench.start(slot=0)
    second = bench.start(slot=1)
    products = [f"p{number}" for number in range(200)]
    for product in products[:100]:
        bench.add(vectors_only(product))
    bench.until_indexed(*products[:100])
    second.kill()
    for product in products[100:]:
        bench.add(vectors_only(product))
    bench.until_indexed(*products)
    until(lambda: bench.watermarks("product-added") == 200, "facts about all events")
    first.stop()


def test_removed_events_are_reported_as_lost(bench: Bench, admin: AdminClient) -> None:
    bench.start().stop()
    for number in range(5):
        bench.add(vectors_only(f"lost{number}"), partition=0)
    bench.producer.flush()
    topic = bench.kafka.topic("product-added")
    administration.delete_records(admin, topic, {0: administration.end_offsets(admin, topic)[0]})
    worker = bench.start()
    bench.add(vectors_only("after"), partition=0)
    bench.until_indexed("after")
    assert "freshlens_events_lost_total {'topic': 'product-added'} 5" in worker.stop()
