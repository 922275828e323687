"""The outer contract (DESIGN 13) as a catalogue, a shop and an analyst meet it.

Waiting is by read token and ``wait_ms`` only: no test depends on how fast the machine is.
"""

import base64
import json
from typing import Any

import pytest

from freshlens.client import AsyncClient, SearchAnswer
from schemas.feedback import SearchQuality
from tests.running import Running
from tests.whole.photos import photo, studio
from tests.whole.plain_client import PlainProducer

WAIT_MS = 20_000


def _added(tenant: str, product_id: str, version: int | None, **groups: Any) -> dict[str, Any]:
    return {"tenant": tenant, "product_id": product_id, "version": version, **groups}


def _content(number: int, title: str) -> dict[str, Any]:
    return {"title": title, "pictures": [{"inline": studio(number)}]}


def _token(topic: str, place: tuple[int, int]) -> dict[str, Any]:
    return {"topic": topic, "partition": place[0], "offset": place[1]}


async def _search(client: AsyncClient, token: Any, **query: Any) -> SearchAnswer:
    answer = await client.search(k=5, min_offset=token, wait_ms=WAIT_MS, require=True, **query)
    assert answer.freshness_met
    return answer


def _ids(answer: SearchAnswer) -> list[str]:
    return [result.product_id for result in answer.results]


@pytest.mark.parametrize("partitioner", ["murmur2", "consistent"])
async def test_the_life_of_a_product_from_a_plain_kafka_producer(running: Running, partitioner: str) -> None:
    tenant, version = f"life-{partitioner}", 1_790_000_000_000_000
    producer = PlainProducer(running.kafka, partitioner)

    def add(version: int, **groups: Any) -> dict[str, Any]:
        return _token("product-added", producer.send("product-added", _added(tenant, "p", version, **groups)))

    async with running.client(tenant) as client:
        answer = await _search(client, add(version, content=_content(11, "new")), image=studio(11))
        assert _ids(answer) == ["p"]
        assert answer.results[0].version == version
        rows = await _delta_rows(client, answer)

        answer = await _search(client, add(version - 5, content=_content(12, "older")), image=studio(11))
        assert answer.results[0].title == "new"

        priced = await _search(client, add(version + 1, offer={"price": 12.5, "currency": "EUR"}), image=studio(11))
        assert priced.results[0].attributes["price"] == 12.5
        assert await _delta_rows(client, priced) == rows

        place = producer.send("product-deleted", {"tenant": tenant, "product_id": "p", "version": version + 10})
        assert _ids(await _search(client, _token("product-deleted", place), image=studio(11))) == []

        same = add(version + 10, content=_content(11, "same version as the delete"))
        assert _ids(await _search(client, same, image=studio(11))) == []

        answer = await _search(client, add(version + 11, content=_content(11, "back")), image=studio(11))
        assert [result.title for result in answer.results] == ["back"]


async def _delta_rows(client: AsyncClient, answer: SearchAnswer) -> int:
    """The delta's rows once the node has reported the state that gave this answer."""
    applied = answer.freshness[0].applied
    while True:
        node = (await client.status()).nodes[0]
        if all(node.applied[partition] >= offset for partition, offset in applied.items()):
            return node.delta_rows


async def test_a_product_is_found_by_a_phone_photo_by_text_and_by_both(running: Running) -> None:
    async with running.client("find") as client:
        lines = [
            {"product_id": f"p{number}", "title": f"product {number}", "category": "drawn", "price": number,
             "image": {"base64": base64.b64encode(studio(number)).decode()}}
            for number in range(12)
        ]  # fmt: skip
        token = (await client.publish(lines)).read_token
        for number in range(12):
            assert _ids(await _search(client, token, image=studio(number)))[0] == f"p{number}"
        found = [f"p{number}" in _ids(await client.search(image=photo(number), k=5)) for number in range(12)]
        assert sum(found) >= 8, found
        by_product = await client.search(product_id="p3", k=5)
        assert by_product.results
        assert "p3" not in _ids(by_product)
        filtered = await client.search(image=studio(3), k=5, filter={"price": {"lte": 4}})
        assert set(_ids(filtered)) == {"p0", "p1", "p2", "p3", "p4"}
        both = await client.search(image=studio(3), text="a mug", k=5)
        assert both.results or both.no_match


async def test_another_tenants_products_are_not_there(running: Running) -> None:
    async with running.client("theirs") as theirs, running.client("ours") as ours:
        line = {"product_id": "secret", "image": {"base64": base64.b64encode(studio(20)).decode()}}
        token = (await theirs.publish([line])).read_token
        assert _ids(await _search(theirs, token, image=studio(20))) == ["secret"]
        assert _ids(await _search(ours, token, image=studio(20))) == []
        assert _ids(await ours.search(filter={"product_id": "secret"})) == []


async def test_an_old_timestamp_and_a_version_in_milliseconds(running: Running) -> None:
    """HOLES 4: milliseconds would never win against microseconds, so they are refused with the way out."""
    producer = PlainProducer(running.kafka)
    place = producer.send("product-added", _added("units", "p", 1_790_000_000_000, content=_content(21, "ms")))
    async with running.client("units") as client:
        answer = await _search(client, _token("product-added", place), image=studio(21))
        assert answer.results == []
    listed = running.freshlens("dead-letters", "list")
    assert "version-out-of-range" in listed.stdout, listed.stdout + listed.stderr


async def test_a_click_comes_out_as_a_topic_and_as_quality(running: Running, tmp_path: Any) -> None:
    async with running.client("clicks") as client:
        line = {"product_id": "p", "image": {"base64": base64.b64encode(studio(30)).decode()}}
        token = (await client.publish([line])).read_token
        answer = await _search(client, token, image=studio(30))
        await client.feedback(answer.query_id, "p", 1)
        windows: list[SearchQuality] = []
        while not any(window.clicks for window in windows):
            windows = (await client.search_quality()).windows
        clicked = next(window for window in windows if window.clicks)
        assert clicked.positions[0].position == 1
        assert clicked.positions[0].clicks == 1
    exported = running.freshlens("export", "clicks", "--to", str(tmp_path))
    assert exported.returncode == 0, exported.stderr
    import duckdb

    rows = duckdb.sql(f"select product_id, kind from '{tmp_path}/**/*.parquet' where query_id = '{answer.query_id}'")
    assert rows.fetchall() == [("p", "click")]


GARBAGE = [b"", b"\x00", b"not avro at all", b"\xc3\x01" + b"\xff" * 40, b"\x00\x00\x00\x00\x07abc", None]


@pytest.mark.parametrize("topic", ["product-added", "product-deleted", "searches", "clicks", "product-retry"])
async def test_garbage_on_a_topic_ends_in_dead_letters_and_nothing_dies(running: Running, topic: str) -> None:
    before = dict(running.run.processes)
    producer = PlainProducer(running.kafka)
    for value in GARBAGE:
        producer.send_raw(topic, value, b"garbage")
    async with running.client(f"after-{topic}") as client:
        line = {"product_id": "p", "image": {"base64": base64.b64encode(studio(40)).decode()}}
        token = (await client.publish([line])).read_token
        assert _ids(await _search(client, token, image=studio(40))) == ["p"]
    assert running.run.processes == before
    letters = running.freshlens("dead-letters", "list", "--json")
    codes = {json.loads(each)["code"] for each in letters.stdout.splitlines() if topic in each}
    assert codes, letters.stdout + letters.stderr


async def test_garbage_on_internal_topics_is_void_for_every_reader(running: Running) -> None:
    before = dict(running.run.processes)
    producer = PlainProducer(running.kafka)
    for topic in ("index-log", "index-progress", "node-status", "dead-letters", "search-quality"):
        for value in (b"", b"garbage", b"\xc3\x01short"):
            producer.send_raw(topic, value, b"garbage")
    async with running.client("after-internal") as client:
        line = {"product_id": "p", "image": {"base64": base64.b64encode(studio(41)).decode()}}
        token = (await client.publish([line])).read_token
        assert _ids(await _search(client, token, image=studio(41))) == ["p"]
    assert running.run.processes == before
