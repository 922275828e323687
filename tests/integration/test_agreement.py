"""How well picture and text agree, on a real Kafka: one text encoded per new content, and nothing for prices."""

import msgspec
import pytest

from schemas.events import Content, Offer, Picture, ProductAdded
from tests.integration.stream_bench import Bench, jpeg, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]
PRODUCTS = [
    ProductAdded(
        "shop",
        f"p{number}",
        content=Content(title=f"{number}" + "x" * (number % 7), pictures=(Picture(inline=jpeg(f"#{number:02x}8040")),)),
    )
    for number in range(230)
]


def test_new_content_costs_one_text_and_prices_cost_nothing(bench: Bench) -> None:
    worker = bench.start(FRESHLENS_AGREEMENT="1")
    for product in PRODUCTS:
        bench.add(product)
    bench.until_indexed(*(product.product_id for product in PRODUCTS))
    contents = [record.content for record in bench.records if record.content is not None]
    scores = [content.agreement for content in contents]
    assert None in scores
    for product in PRODUCTS[:50]:
        bench.add(msgspec.structs.replace(product, offer=Offer(price=3.5)))
        bench.add(ProductAdded("shop", product.product_id, offer=Offer(price=4.0)))
    until(lambda: len(bench.records) >= len(PRODUCTS) + 100 if bench.codes() == [] else False, "the prices")
    again = [record.content for record in bench.records[len(PRODUCTS) :] if record.content is not None]
    printed = worker.stop()
    assert "freshlens_encoded_items_total {'kind': 'text'} 230" in printed
    assert len(again) == 50
    assert sum(int(float(line.rpartition(" ")[2])) for line in printed.splitlines() if "agreement_total" in line) == 280
    told = [content.agreement for content in again if content.agreement is not None]
    assert all(-1 <= score <= 1 for score in told)


def test_without_the_setting_no_text_is_encoded_and_nothing_is_said(bench: Bench) -> None:
    worker = bench.start()
    for product in PRODUCTS[:5]:
        bench.add(product)
    bench.until_indexed(*(product.product_id for product in PRODUCTS[:5]))
    assert [record.content and record.content.agreement for record in bench.records] == [None] * 5
    assert "'kind': 'text'" not in worker.stop()
