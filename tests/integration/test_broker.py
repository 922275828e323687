import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from confluent_kafka import TopicPartition

from freshlens.broker import EmbeddedBroker, end_process
from schemas.layout import Layout
from topics import administration, clients
from topics.settings import KafkaSettings

pytestmark = pytest.mark.kafka


@pytest.fixture
def embedded(tmp_path):
    broker = EmbeddedBroker(tmp_path / "dätä dir", heap_mb=256)
    yield broker
    broker.stop()


def write(settings, topic, count):
    producer = clients.producer(settings)
    for number in range(count):
        producer.produce(topic, b"%d" % number, partition=number % 8)
    assert producer.flush(60) == 0


def test_data_and_identity_survive_kill_and_stop(embedded):
    settings = KafkaSettings(embedded.start(), topic_prefix="x-")
    admin, log = clients.admin(settings), settings.topic("index-log")
    administration.create_topics(admin, settings, Layout())
    write(settings, log, 800)
    identity = administration.describe_log(admin, log)

    for end in (signal.SIGKILL, signal.SIGTERM):
        process = psutil.Process(embedded.pid)
        process.send_signal(end)
        process.wait(20)
        embedded.stop()
        assert embedded.start() == settings.bootstrap_servers
        assert administration.describe_log(admin, log) == identity
        assert sum(administration.end_offsets(admin, log).values()) == 800


def test_a_reader_and_a_writer_go_on_over_a_killed_broker(embedded):
    settings = KafkaSettings(embedded.start())
    administration.create_topics(clients.admin(settings), settings, Layout())
    topic = settings.topic("index-log")
    consumer, producer = clients.consumer(settings), clients.producer(settings)
    consumer.assign([TopicPartition(topic, 0, 0)])
    producer.produce(topic, b"before", partition=0)
    producer.flush(30)
    os.kill(embedded.pid, signal.SIGKILL)
    producer.produce(topic, b"after", partition=0)
    embedded.stop()
    embedded.start()
    assert producer.flush(30) == 0

    values, deadline = [], time.monotonic() + 20
    while len(values) < 2 and time.monotonic() < deadline:
        record = consumer.poll(0.5)
        if record is not None and record.error() is None:
            values.append(record.value())
    consumer.close()
    assert values == [b"before", b"after"]


def test_a_broker_whose_owner_was_killed_is_replaced(tmp_path):
    code = (
        "import sys, time, pathlib; from freshlens.broker import EmbeddedBroker;"
        "b = EmbeddedBroker(pathlib.Path(sys.argv[1]), heap_mb=256); b.start();"
        "print(b.pid, flush=True); time.sleep(600)"
    )
    owner = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    orphan = psutil.Process(int(owner.stdout.readline()))
    owner.kill()
    owner.wait()
    owner.stdout.close()
    assert orphan.is_running()

    successor = EmbeddedBroker(tmp_path, heap_mb=256)
    try:
        successor.start()
        assert not orphan.is_running()
        assert successor.pid != orphan.pid
    finally:
        successor.stop()
        end_process(orphan)
