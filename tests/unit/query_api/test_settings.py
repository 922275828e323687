"""Settings from the environment, everything wrong said at once; thresholds and addresses."""

from pathlib import Path

import pytest

from query_api.access.identity import host_name
from query_api.search import no_match
from query_api.search.no_match import Thresholds, load_thresholds
from query_api.settings import ApiSettings, EncoderServiceSettings, check_host
from schemas.errors import SettingsError
from tests.unit.query_api.doubles import api_settings

ENVIRON = {
    "KAFKA_BOOTSTRAP_SERVERS": "localhost:9092",
    "FRESHLENS_SPACE": "test:16",
    "FRESHLENS_DATA": "/data",
    "FRESHLENS_ENCODER_URL": "http://127.0.0.1:8090/",
}


def test_defaults() -> None:
    settings = ApiSettings.from_env(ENVIRON)
    assert (settings.host, settings.port, settings.encoder) == ("127.0.0.1", 8080, "bundled")
    assert settings.encoder_url == "http://127.0.0.1:8090"
    assert settings.store_url == "file:///data/store"
    assert (settings.limits.body_bytes_max, settings.limits.k_max) == (10 * 1024 * 1024, 200)
    assert settings.limits.text_chars_max == 1_000


def test_everything_can_be_set() -> None:
    settings = ApiSettings.from_env(
        {
            **ENVIRON,
            "FRESHLENS_HOST": "[::1]",
            "FRESHLENS_PORT": "0",
            "FRESHLENS_STORE": "file:///elsewhere",
            "FRESHLENS_NO_MATCH_IMAGE": "0.4",
            "FRESHLENS_TIMEOUT_MS": "300",
            "FRESHLENS_K_MAX": "50",
            "FRESHLENS_REQUESTS_MAX": "9",
            "FRESHLENS_KEYS_POLL_S": "0.5",
            "FRESHLENS_CORS_ORIGINS": "https://shop.example, http://localhost:3000",
        }
    )
    assert (settings.host, settings.port, settings.store_url) == ("::1", 0, "file:///elsewhere")
    assert (settings.no_match_image, settings.timeout_ms, settings.limits.k_max) == (0.4, 300, 50)
    assert (settings.limits.requests_max, settings.keys_poll_s) == (9, 0.5)
    assert settings.cors_origins == ("https://shop.example", "http://localhost:3000")


@pytest.mark.parametrize(
    "origin", ["*", "null", "shop.example", "https://shop.example/", "https://*/x", "ftp://shop.example", "https://"]
)
def test_an_origin_is_exact(origin: str) -> None:
    with pytest.raises(SettingsError, match="CORS_ORIGINS"):
        ApiSettings.from_env({**ENVIRON, "FRESHLENS_CORS_ORIGINS": f"https://shop.example,{origin}"})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "search.example"])
def test_other_machines_are_served_only_where_keys_tell_who_may(host: str) -> None:
    check_host(host, has_keys=True)
    with pytest.raises(SettingsError, match="keys create"):
        check_host(host, has_keys=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]"])
def test_this_machine_is_served_without_keys(host: str) -> None:
    check_host(host, has_keys=False)


def test_everything_wrong_is_said_at_once() -> None:
    with pytest.raises(SettingsError) as raised:
        ApiSettings.from_env(
            {
                "FRESHLENS_CORS_ORIGINS": "*",
                "FRESHLENS_PORT": "http",
                "FRESHLENS_NO_MATCH_TEXT": "high",
                "FRESHLENS_TIMEOUT_MS": "0",
            }
        )
    said = "\n".join(raised.value.problems)
    for name in (
        "KAFKA_BOOTSTRAP_SERVERS",
        "SPACE",
        "CORS_ORIGINS",
        "PORT",
        "NO_MATCH_TEXT",
        "TIMEOUT_MS",
        "STORE",
        "ENCODER_URL",
    ):
        assert name in said
    assert len(raised.value.problems) == 8


def test_a_lane_of_vectors_needs_no_encoder() -> None:
    environ = {**ENVIRON, "FRESHLENS_ENCODER": "none:384", "FRESHLENS_ENCODER_URL": ""}
    assert ApiSettings.from_env(environ).has_encoder is False
    with pytest.raises(SettingsError, match="no encoder process"):
        EncoderServiceSettings.from_env(environ)


def test_encoder_settings() -> None:
    settings = EncoderServiceSettings.from_env({"FRESHLENS_ENCODER_PORT": "9000", "FRESHLENS_ENCODER_DECODERS": "2"})
    assert (settings.port, settings.decoders, settings.encoder) == (9000, 2, "bundled")


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost:80", "localhost"),
        ("[::1]:80", "::1"),
        ("127.0.0.1", "127.0.0.1"),
        ("", ""),
        ("[x", ""),
        ("a@b", "b"),
    ],
)
def test_the_name_within_a_host_header(header: str, name: str) -> None:
    assert host_name(header) == name


def test_thresholds_of_the_settings_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        no_match, "_beside_the_model", lambda name: {"image": 0.3, "text": 0.2} if name == "bundled" else {}
    )
    thresholds = load_thresholds(api_settings(no_match_text=0.25))
    assert (thresholds.of("image"), thresholds.of("text"), thresholds.of("image+text")) == (0.3, 0.25, 0.25)
    assert thresholds.of("vector") is None
    assert load_thresholds(api_settings(encoder="none:16")).by_modality == {}


def test_a_checkpoint_brings_thresholds_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "thresholds.json").write_text('{"image": 0.4, "text": 0.3}')
    assert load_thresholds(api_settings(encoder=str(tmp_path))).of("image") == 0.4
    (tmp_path / "thresholds.json").write_text("[")
    assert load_thresholds(api_settings(encoder=str(tmp_path))).by_modality == {}
    assert load_thresholds(api_settings(encoder="ViT-B-16/laion2b_s34b_b88k")).by_modality == {}


def test_a_threshold_rejects_what_lies_below() -> None:
    thresholds = Thresholds({"image": 0.4})
    assert thresholds.rejects("image", 0.39)
    assert not thresholds.rejects("image", 0.4)
    assert not thresholds.rejects("image", None)
    assert not thresholds.rejects("vector", -1.0)
