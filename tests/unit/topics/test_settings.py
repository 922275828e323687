import ssl
import subprocess
import sys

import pytest

from schemas.errors import SettingsError
from topics.settings import KafkaSettings

PLAIN = {"KAFKA_BOOTSTRAP_SERVERS": "a:9092, b:9093"}
SASL = {
    **PLAIN,
    "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
    "KAFKA_SASL_USERNAME": "shop",
    "KAFKA_SASL_PASSWORD": "hidden-word",
}


def problems_of(environ):
    with pytest.raises(SettingsError) as raised:
        KafkaSettings.from_env(environ)
    return raised.value.problems


def test_the_environment_wins_over_the_broker_we_found():
    assert KafkaSettings.from_env(PLAIN, discovered="c:1").bootstrap_servers == "a:9092,b:9093"
    assert KafkaSettings.from_env({}, discovered="c:1").bootstrap_servers == "c:1"


def test_without_any_broker_the_variable_is_named():
    assert "KAFKA_BOOTSTRAP_SERVERS is not set" in problems_of({})[0]


def test_every_problem_is_listed_at_once():
    said = problems_of(
        {
            "KAFKA_BOOTSTRAP_SERVERS": "nowhere",
            "KAFKA_SASL_USERNAME": "shop",
            "KAFKA_SSL_CAFILE": "/not/there.pem",
            "KAFKA_SSL_KEYFILE": "/not/there.key",
            "FRESHLENS_TOPIC_PREFIX": "a b",
            "FRESHLENS_LANE": "Ä",
            "SCHEMA_REGISTRY_URL": "ftp://x",
        }
    )
    text = "\n".join(said)
    for variable in (
        "KAFKA_BOOTSTRAP_SERVERS", "KAFKA_SASL_USERNAME", "KAFKA_SSL_CAFILE", "KAFKA_SSL_CERTFILE",
        "FRESHLENS_TOPIC_PREFIX", "FRESHLENS_LANE", "SCHEMA_REGISTRY_URL",
    ):  # fmt: skip
        assert variable in text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"KAFKA_BOOTSTRAP_SERVERS": "a:99999"}, "KAFKA_BOOTSTRAP_SERVERS"),
        ({"KAFKA_SECURITY_PROTOCOL": "TLS"}, "KAFKA_SECURITY_PROTOCOL"),
        ({"KAFKA_SASL_MECHANISM": "MAGIC"}, "KAFKA_SASL_MECHANISM"),
        ({"KAFKA_SASL_PASSWORD": ""}, "KAFKA_SASL_PASSWORD"),
    ],
)
def test_one_wrong_value_is_refused_by_its_name(change, said):
    assert any(said in problem for problem in problems_of({**SASL, **change}))


def test_secrets_do_not_show():
    settings = KafkaSettings.from_env({**SASL, "SCHEMA_REGISTRY_URL": "https://u:other-word@r"})
    assert "hidden-word" not in repr(settings)
    assert "other-word" not in repr(settings)
    assert "shop" in repr(settings)


@pytest.mark.parametrize("environ", [PLAIN, {**PLAIN, "KAFKA_SECURITY_PROTOCOL": "SSL"}, SASL])
def test_the_three_clients_are_told_the_same(environ):
    from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

    settings = KafkaSettings.from_env(environ)
    confluent, aiokafka, faust = settings.confluent(), settings.aiokafka(), settings.faust()
    auth = credentials_to_aiokafka_auth(faust["broker_credentials"])

    servers = confluent["bootstrap.servers"].split(",")
    assert servers == aiokafka["bootstrap_servers"] == [url.removeprefix("kafka://") for url in faust["broker"]]
    assert confluent["security.protocol"] == aiokafka["security_protocol"] == auth["security_protocol"]
    assert isinstance(aiokafka["ssl_context"], ssl.SSLContext) == isinstance(auth.get("ssl_context"), ssl.SSLContext)
    for theirs, ours in [
        ("sasl.mechanism", "sasl_mechanism"),
        ("sasl.username", "sasl_plain_username"),
        ("sasl.password", "sasl_plain_password"),
    ]:
        assert confluent.get(theirs) == aiokafka.get(ours) == auth.get(ours)


def test_a_child_process_reads_back_the_same_settings():
    settings = KafkaSettings.from_env({**SASL, "FRESHLENS_TOPIC_PREFIX": "x-", "FRESHLENS_LANE": "large"})
    assert KafkaSettings.from_env(settings.environment()) == settings


def test_topics_and_groups_carry_prefix_and_lane():
    settings = KafkaSettings("a:1", topic_prefix="x-", lane="large")
    assert settings.topic("index-log") == "x-index-log.large"
    assert settings.topic("clicks") == "x-clicks"
    assert settings.group("embed") == "x-freshlens-embed.large"
    assert KafkaSettings("a:1").group("embed") == "freshlens-embed"


def test_the_settings_alone_load_no_client():
    code = "import sys, topics.settings; print([m for m in ('faust', 'aiokafka', 'torch') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
