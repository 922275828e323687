"""The demo: the drawn catalogue in tenant ``demo``, and a first search by a phone photo."""

import asyncio
import io
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from freshlens.catalogue import draw_cutout, phone_photo, product, write_catalogue
from freshlens.cli.context import Context
from freshlens.cli.search import print_results
from freshlens.client import ApiError, AsyncClient
from freshlens.publishing import Following, Sender, locate_beside, read_products
from schemas.errors import FreshlensError, InvalidQuery
from schemas.progress import decode_token, token_of
from topics import administration, clients
from topics.publisher import Publisher
from topics.settings import KafkaSettings

TENANT = "demo"
PRODUCTS = 2_000
_PHOTOGRAPHED = 42
_WAIT_MS = 5_000
_TELL_EVERY = 500
_RETRY_S = 0.5
_COMES_BACK = ("api-unreachable", "shard-unavailable")
"""Said while a process is started again."""

Tell = Callable[[str], None]


class _Ended(Exception):
    """Nobody waits for the demo any more."""


class Demo:
    """Draws and publishes the demo catalogue, once per data directory; ``tell`` gets lines for the terminal."""

    def __init__(self, context: Context, url: str, tell: Tell) -> None:
        self._context = replace(context, tenant=TENANT)
        self._url = url
        self._tell = tell
        self._folder = context.data / "demo"
        self._ended = threading.Event()

    async def run(self, *, with_search: bool) -> None:
        """Have the catalogue published and searchable; then, if wanted, search it by a phone photo.

        Raises:
            FreshlensError: a product could not be published, or the search was refused.
        """
        try:
            token = await asyncio.to_thread(self._published)
        finally:
            self._ended.set()  # a thread cannot be cancelled, and the process would not end before it
        async with AsyncClient(self._url, tenant=TENANT) as client:
            await self._until_searchable(client, token)
            if with_search:
                await self._first_search(client)

    def _published(self) -> str:
        marker = self._folder / "published"
        if marker.exists() and _is_of_this_log(token := marker.read_text(), self._context.kafka()):
            return token
        listing = self._drawn()
        following = Following()
        publisher = Publisher(self._context.kafka(), store=self._context.store())
        sender = Sender(publisher, following)
        locate = locate_beside(listing.parent)
        for name, line in read_products(listing):
            self._go_on()
            sender.send_line(name, line, tenant=TENANT, volatile=frozenset(), locate=locate)
        publisher.close()
        self._go_on()  # else what a stopped broker did not confirm would count as published
        if sender.failed:
            raise FreshlensError(f"the demo catalogue was not published: {sender.failed[0].rejected}")
        self._tell(f"demo: published {len(following.positions):,} products to tenant {TENANT}")
        token = token_of(following.positions).encode()
        marker.write_text(token)
        return token

    def _drawn(self) -> Path:
        listing = self._folder / "products.jsonl"
        if listing.exists():
            return listing
        self._tell(f"demo: drawing {PRODUCTS:,} products, once")

        def progress(done: int, count: int) -> None:
            self._go_on()
            if done % _TELL_EVERY == 0:
                self._tell(f"demo: {done:,} of {count:,} drawn")

        return write_catalogue(self._folder, PRODUCTS, progress=progress)

    def _go_on(self) -> None:
        if self._ended.is_set():
            raise _Ended

    async def _until_searchable(self, client: AsyncClient, token: str) -> None:
        while True:
            try:
                answer = await client.search(filter={"in_stock": True}, k=1, min_offset=token, wait_ms=_WAIT_MS)
                if answer.freshness_met:
                    return
                known = (await client.status()).products or 0
            except ApiError as error:
                if error.code not in _COMES_BACK:
                    raise
                await asyncio.sleep(_RETRY_S)
                continue
            self._tell(f"demo: embedding, {known:,} of {PRODUCTS:,} searchable")

    async def _first_search(self, client: AsyncClient) -> None:
        item = product(_PHOTOGRAPHED)
        photo = phone_photo(draw_cutout(item), np.random.default_rng(_PHOTOGRAPHED), severity=0.3)
        jpeg = io.BytesIO()
        photo.save(jpeg, "JPEG", quality=88)
        (self._folder / "phone-photo.jpg").write_bytes(jpeg.getvalue())
        self._tell(f"demo: searching by a phone photo of {item.product_id} ({item.title}): "
                   f"{self._folder / 'phone-photo.jpg'}")  # fmt: skip
        answer = await client.search(image=jpeg.getvalue(), k=5)
        print_results(answer)
        self._tell(f"open {self._url}/ and search by a photo of your own")


def _is_of_this_log(token: str, kafka: KafkaSettings) -> bool:
    """Whether that is where the catalogue went: the same directory may be used with another Kafka, or prefix."""
    try:
        position, *_ = decode_token(token).positions
    except (InvalidQuery, ValueError):  # what a full disk left of it
        return False
    log = administration.describe_log(clients.admin(kafka), kafka.topic(position.topic))
    return position.log_id == str(log)
