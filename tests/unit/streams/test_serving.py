"""A worker that starts before its topics exist waits for them, and says at last which are missing."""

import pytest

from schemas.errors import BrokerUnavailable, SettingsError
from streams import serving
from streams.serving import check_topics
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
