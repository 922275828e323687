import json
import socket
from pathlib import Path

import pytest

from freshlens import broker, broker_jars
from freshlens.broker import BrokerIdentity, EmbeddedBroker, open_log, server_properties
from schemas.errors import SettingsError
from topics.declarations import MESSAGE_BYTES_MAX

IDENTITY = BrokerIdentity("FbmCSNfqQDqGqK8-Q5KHqg", 29092, 29093)


@pytest.fixture
def jars(tmp_path, monkeypatch):
    """Two jars that are already there, so that nothing is fetched."""
    found = [tmp_path / "kafka.jar", tmp_path / "slf4j.jar"]
    for jar in found:
        jar.write_bytes(b"jar")
    monkeypatch.setattr(broker, "broker_jars", lambda *_: found)
    return found


@pytest.fixture
def formatted(tmp_path, jars):
    """A data directory whose storage needs no formatting."""
    storage = tmp_path / "data" / "kafka" / "log" / "meta.properties"
    storage.parent.mkdir(parents=True)
    storage.touch()
    return tmp_path / "data"


@pytest.fixture
def taken_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def properties(folder=Path("/data")):
    lines = server_properties(IDENTITY, folder).splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_the_broker_listens_on_loopback_only_and_creates_no_topics():
    found = properties()
    assert found["listeners"] == "PLAINTEXT://127.0.0.1:29092,CONTROLLER://127.0.0.1:29093"
    assert found["auto.create.topics.enable"] == "false"
    assert int(found["message.max.bytes"]) >= MESSAGE_BYTES_MAX


def test_a_folder_of_any_name_is_written_as_java_reads_it():
    assert properties(Path("/dätä/\U0001f600 x"))["log.dirs"] == r"/d\u00e4t\u00e4/\ud83d\ude00 x"


def test_the_identity_stays_the_same_from_one_start_to_the_next(formatted):
    first = EmbeddedBroker(formatted)
    first.prepare()
    first.prepare()
    remembered = json.loads((formatted / "kafka" / "broker.json").read_text())
    first.stop()
    second = EmbeddedBroker(formatted)
    second.prepare()
    assert second.address == first.address == f"127.0.0.1:{remembered['port']}"
    assert json.loads((formatted / "kafka" / "broker.json").read_text()) == remembered
    assert len(remembered["cluster_id"]) == 22
    second.stop()


def test_a_port_is_chosen_where_no_client_gets_its_own_from(formatted):
    embedded = EmbeddedBroker(formatted)
    embedded.prepare()
    assert 20_000 <= int(embedded.address.split(":")[1]) < 32_000
    embedded.stop()


def test_a_taken_port_is_refused_when_asked_for_and_replaced_when_remembered(formatted, taken_port):
    with pytest.raises(SettingsError, match=str(taken_port)) as raised:
        EmbeddedBroker(formatted, taken_port).prepare()
    assert raised.value.code == "port-in-use"

    (formatted / "kafka" / "broker.json").write_text(
        json.dumps({"cluster_id": "F" * 22, "port": taken_port, "controller_port": taken_port})
    )
    embedded = EmbeddedBroker(formatted)
    embedded.prepare()
    assert embedded.address != f"127.0.0.1:{taken_port}"
    assert json.loads((formatted / "kafka" / "broker.json").read_text())["cluster_id"] == "F" * 22
    embedded.stop()


def test_two_owners_of_one_directory_are_refused(formatted):
    first = EmbeddedBroker(formatted)
    first.prepare()
    with pytest.raises(SettingsError) as raised:
        EmbeddedBroker(formatted).prepare()
    assert raised.value.code == "already-running"
    first.stop()


def test_the_command_runs_kafka_with_our_properties(formatted, jars):
    embedded = EmbeddedBroker(formatted, heap_mb=300)
    embedded.prepare()
    command = embedded.command()
    assert command[-2:] == ["kafka.Kafka", str(formatted / "kafka" / "server.properties")]
    assert command[command.index("-cp") + 1] == ":".join(map(str, jars))
    assert "-Xmx300m" in command
    embedded.stop()


def test_a_broker_that_ends_says_why(formatted):
    embedded = EmbeddedBroker(formatted)
    embedded.prepare()
    embedded.log_path.write_text("ERROR no space left on device")
    with pytest.raises(SettingsError, match="no space left on device") as raised:
        embedded.wait_until_ready(lambda: False)
    assert raised.value.code == "broker-start-failed"
    embedded.stop()


def test_a_large_log_is_set_aside(tmp_path, monkeypatch):
    monkeypatch.setattr(broker, "_LOG_BYTES_MAX", 10)
    path = tmp_path / "kafka.log"
    path.write_bytes(b"x" * 11)
    with open_log(path) as log:
        log.write(b"new")
    assert path.read_bytes() == b"new"
    assert (tmp_path / "kafka.log.1").stat().st_size == 11


def test_jars_are_resolved_once_and_again_when_one_is_gone(tmp_path, monkeypatch):
    jar, asked = tmp_path / "kafka.jar", []

    def resolved(tell):
        asked.append(tell)
        jar.write_bytes(b"jar")
        return [jar]

    monkeypatch.setattr(broker_jars, "_resolved", resolved)
    remembered = tmp_path / "jars.json"
    for _ in range(2):
        assert broker_jars.broker_jars(remembered, print) == [jar]
    assert len(asked) == 1
    jar.write_bytes(b"cut")
    jar.write_bytes(b"other length")
    assert broker_jars.broker_jars(remembered, print) == [jar]
    assert len(asked) == 2
    remembered.write_text("not json")
    broker_jars.broker_jars(remembered, print)
    assert len(asked) == 3


@pytest.mark.parametrize("error", [OSError("no route"), RuntimeError("not found"), ImportError("jgo")])
def test_jars_that_cannot_be_fetched_are_named_with_the_ways_out(tmp_path, monkeypatch, error):
    def failing(_tell):
        raise error

    monkeypatch.setattr(broker_jars, "_resolved", failing)
    with pytest.raises(SettingsError, match="KAFKA_BOOTSTRAP_SERVERS") as raised:
        broker_jars.broker_jars(tmp_path / "jars.json", print)
    assert raised.value.code == "broker-jars-unavailable"
    assert str(error) in str(raised.value)
