"""How long from publishing a product to finding it by its photo, and from deleting it to not finding it?

A plain HTTP client publishes a drawn product and searches by its picture with the read token it was given; found
means: it is in the answer, and the answer says that the token was met.

    python -m benchmarks.freshness [--products 200]
"""

import argparse
import asyncio
import base64
import io
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.report import save, spread
from freshlens.catalogue import as_json, draw, product
from freshlens.client import AsyncClient
from tests.running import Running

WAIT_MS = 10_000


def picture(number: int) -> bytes:
    """The drawn product as a JPEG."""
    file = io.BytesIO()
    draw(product(number)).save(file, "JPEG", quality=88)
    return file.getvalue()


async def measure(client: AsyncClient, numbers: range) -> dict[str, Any]:
    """Publish and delete products one after another."""
    added, deleted, first = [], [], 0
    for number in numbers:
        jpeg = picture(number)
        line = {**as_json(product(number)), "image": {"base64": base64.b64encode(jpeg).decode()}}
        began = time.perf_counter()
        published = await client.publish([line])
        answer = await client.search(image=jpeg, k=10, min_offset=published.read_token, wait_ms=WAIT_MS)
        added.append(time.perf_counter() - began)
        ids = [result.product_id for result in answer.results]
        assert answer.freshness_met, answer.freshness
        assert line["product_id"] in ids, (line["product_id"], ids)
        first += ids[0] == line["product_id"]
        if number % 2:
            began = time.perf_counter()
            gone = await client.delete(str(line["product_id"]))
            answer = await client.search(image=jpeg, k=10, min_offset=gone.read_token, wait_ms=WAIT_MS)
            deleted.append(time.perf_counter() - began)
            assert answer.freshness_met
            assert line["product_id"] not in [result.product_id for result in answer.results]
    return {"published_to_found": spread(added), "deleted_to_gone": spread(deleted), "recall@1": first / len(numbers)}


async def run(url: str, count: int) -> dict[str, Any]:
    """Warm up with ten products, then measure."""
    async with AsyncClient(url) as client:
        await measure(client, range(10))
        return await measure(client, range(10, 10 + count))


def main() -> None:
    """Start a Freshlens of its own and measure it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--products", type=int, default=200)
    count = parser.parse_args().products
    with tempfile.TemporaryDirectory() as folder, Running(Path(folder) / "data") as running:
        figures = asyncio.run(run(running.url, count))
    save("freshness", "Publish to found by photo, delete to gone, one after another, idle otherwise", figures)


if __name__ == "__main__":
    main()
