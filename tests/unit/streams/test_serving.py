"""A worker that starts before its topics exist waits for them; where a part of it fails, all of it stops."""

import asyncio
from typing import cast

import pytest

from schemas.errors import BrokerUnavailable, SettingsError
from streams import serving
from streams.app import WorkerApp
from streams.serving import check_topics, serve
from streams.worker import beside
from topics.settings import KafkaSettings

KAFKA = KafkaSettings("127.0.0.1:9", topic_prefix="t-")


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What the cluster says, one after the other: names of topics that exist, or an error; the last one for ever."""
    said: list[object] = []

    def existing(_admin: object, _names: list[str]) -> dict[str, None]:
        answer = said.pop(0) if len(said) > 1 else said[0]
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, list)
        return dict.fromkeys(answer)

    monkeypatch.setattr("topics.administration.existing_topics", existing)
    monkeypatch.setattr("topics.clients.admin", lambda _kafka: None)
    monkeypatch.setattr(serving, "LOOK_EVERY_S", 0.0)
    return said


def test_it_waits_for_the_broker_and_for_topics(answers: list[object]) -> None:
    answers += [BrokerUnavailable("not yet"), [], ["t-clicks"], ["t-clicks", "t-searches"]]
    check_topics(KAFKA, ["clicks", "searches"], patience_s=60)
    assert answers == [["t-clicks", "t-searches"]]


def test_it_gives_up_and_names_what_is_missing(answers: list[object]) -> None:
    answers += [["t-clicks"]]
    with pytest.raises(SettingsError, match="no topic t-searches: run `freshlens topics create`"):
        check_topics(KAFKA, ["clicks", "searches"], patience_s=0)
    answers[:] = [BrokerUnavailable("away")]
    with pytest.raises(BrokerUnavailable):
        check_topics(KAFKA, ["clicks", "searches"], patience_s=0)


class App:
    """A Faust app that receives at once and ends when it is stopped, but not otherwise."""

    crash_reason = None

    def __init__(self) -> None:
        self.receiving, self._stopped = asyncio.Event(), asyncio.Event()
        self.is_stopped = False

    def finalize(self) -> None:
        pass

    async def start(self) -> None:
        self.receiving.set()

    async def wait_until_stopped(self) -> None:
        await self._stopped.wait()

    async def stop(self) -> None:
        await asyncio.sleep(0)  # as the real one, which takes its time
        self.is_stopped = True
        self._stopped.set()


async def test_where_a_part_of_a_worker_fails_faust_is_stopped_and_the_failure_is_raised_as_it_is() -> None:
    app, ready = App(), asyncio.Event()

    async def failing() -> None:
        await ready.wait()
        raise BrokerUnavailable("cannot read product-retry")

    with pytest.raises(BrokerUnavailable, match="product-retry"):
        async with beside(failing()):
            await serve(cast("WorkerApp", app), ready.set)
    assert app.is_stopped


async def test_where_the_block_fails_what_runs_beside_it_may_end_in_peace() -> None:
    ended = list[str]()

    async def tidy() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(3):
                await asyncio.sleep(0)
            ended.append("tidy")

    async def crashing() -> None:
        async with beside(tidy()):
            await asyncio.sleep(0)
            raise BrokerUnavailable("the worker crashed") from ValueError("why")

    with pytest.raises(BrokerUnavailable, match="the worker crashed") as raised:
        await crashing()
    assert ended == ["tidy"]
    assert isinstance(raised.value.__cause__, ValueError)
