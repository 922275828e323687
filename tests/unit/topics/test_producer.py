"""A producer that fails for good is replaced, and what it had in hand is known not to be delivered."""

from collections import deque
from collections.abc import Callable
from typing import cast

import pytest
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from topics import producer as module
from topics.producer import LastingProducer, OnDelivery

MESSAGE = cast("Message", None)


class Scripted:
    """Delivers at a poll what it was given; or has lost its broker's state: it says so once, and takes nothing more."""

    def __init__(self, *, fails: bool) -> None:
        self._fails, self._has_failed = fails, False
        self._pending: deque[OnDelivery] = deque()
        self.taken = list[bytes | None]()

    def produce(
        self, topic: str, value: bytes, key: bytes, partition: int, *, on_delivery: OnDelivery, **_: int
    ) -> None:
        if self._has_failed:
            raise KafkaException(KafkaError(KafkaError._FATAL))
        self.taken.append(value)
        self._pending.append(on_delivery)

    def poll(self, _timeout: float) -> int:
        if self._fails and not self._has_failed:
            self._has_failed = True
            raise KafkaException(KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER))
        return 0 if self._fails else self._report(None)

    def purge(self) -> None:
        self._report(KafkaError(KafkaError._PURGE_QUEUE))

    def flush(self, timeout: float) -> int:
        return self.poll(timeout)

    def __len__(self) -> int:
        return len(self._pending)

    def _report(self, error: KafkaError | None) -> int:
        while self._pending:
            self._pending.popleft()(error, MESSAGE)
        return 0


class Made:
    """The producers made so far, of which so many fail."""

    def __init__(self, failing: int) -> None:
        self._failing, self.all = failing, list[Scripted]()

    def __call__(self) -> Producer:
        self.all.append(Scripted(fails=len(self.all) < self._failing))
        return cast("Producer", self.all[-1])


@pytest.fixture
def reports() -> list[str]:
    return []


@pytest.fixture
def note(reports: list[str]) -> OnDelivery:
    return lambda error, _: reports.append("delivered" if error is None else error.name())


@pytest.mark.parametrize("serve", [lambda lasting: lasting.poll(0), lambda lasting: lasting.flush(1)])
def test_one_that_failed_for_good_reports_all_that_it_had_and_the_next_one_delivers(
    serve: Callable[[LastingProducer], object], reports: list[str], note: OnDelivery
) -> None:
    made = Made(failing=1)
    lasting = LastingProducer(made)
    lasting.produce("t", b"1", on_delivery=note)
    lasting.produce("t", b"2", on_delivery=note)
    serve(lasting)
    assert reports == ["_PURGE_QUEUE"] * 2
    lasting.produce("t", b"1", on_delivery=note)
    assert lasting.flush(1) == 0
    assert [producer.taken for producer in made.all] == [[b"1", b"2"], [b"1"]]
    assert reports[2:] == ["delivered"]


def test_producers_that_fail_at_once_are_not_made_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch, note: OnDelivery
) -> None:
    clock = 100.0
    monkeypatch.setattr(module, "monotonic", lambda: clock)
    made = Made(failing=9)
    lasting = LastingProducer(made)
    for _ in range(3):
        lasting.poll(0)
    assert len(made.all) == 2
    with pytest.raises(KafkaException):
        lasting.produce("t", b"1", on_delivery=note)
    clock += module.REPLACE_EVERY_S
    lasting.poll(0)
    assert len(made.all) == 3
