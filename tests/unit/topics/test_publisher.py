"""Publishing, as far as it needs no broker."""

import asyncio
import threading
from pathlib import Path

import pytest

from schemas.errors import BrokerUnavailable
from schemas.events import Content, Picture, ProductAdded
from topics import administration
from topics.publisher import INLINE_BYTES_MAX, Publisher
from topics.settings import KafkaSettings
from topics.store import FileStore


class Hanging(FileStore):
    """Takes nothing before it is let go."""

    asked, answers = threading.Event(), threading.Event()

    def put(self, key: str, data: bytes) -> None:
        self.asked.set()
        assert self.answers.wait(30)
        super().put(key, data)


async def test_a_store_that_hangs_does_not_hold_up_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(administration, "describe_log", lambda *_: "cluster:topic")
    store = Hanging(tmp_path)
    publisher = Publisher(KafkaSettings("127.0.0.1:1"), store=store)
    picture = Picture(inline=bytes(INLINE_BYTES_MAX + 1))
    event = ProductAdded("shop", "p", content=Content(pictures=(picture,)))
    publishing = asyncio.create_task(publisher.publish(event))
    async with asyncio.timeout(20):
        while not store.asked.is_set():
            await asyncio.sleep(0.01)
    assert not publishing.done()
    store.answers.set()
    async with asyncio.timeout(20):
        while not publisher.flush(0):  # until it was sent
            await asyncio.sleep(0.01)
        assert len(store.list("originals")) == 1
        await asyncio.to_thread(publisher.close, 0.1)
        with pytest.raises(BrokerUnavailable):
            await publishing
