"""Settings: everything that is wrong is said at once."""

from pathlib import Path

import pytest

from schemas.errors import SettingsError
from streams.settings import StreamsSettings


def test_from_env(tmp_path: Path) -> None:
    settings = StreamsSettings.from_env(
        {
            "KAFKA_BOOTSTRAP_SERVERS": "k:9092",
            "FRESHLENS_SPACE": "none:384",
            "FRESHLENS_DATA": str(tmp_path),
            "FRESHLENS_ENCODER": "none:384",
            "FRESHLENS_FETCH_ROOTS": str(tmp_path),
            "FRESHLENS_FETCH_PRIVATE": "1",
            "FRESHLENS_WORKER_SLOT": "3",
            "FRESHLENS_PROCESSING_EPOCH": "2",
        }
    )
    assert settings.store == f"file://{tmp_path}/store"
    assert (settings.encoder, settings.slot, settings.epoch) == ("none:384", 3, 2)
    assert settings.fetch.roots == (tmp_path.resolve(),)
    assert settings.fetch.private_allowed


def test_all_problems_at_once() -> None:
    with pytest.raises(SettingsError) as refused:
        StreamsSettings.from_env(
            {"FRESHLENS_WORKER_SLOT": "x", "FRESHLENS_FETCH_ROOTS": "/no/such/folder", "FRESHLENS_PARTITIONS": "0"}
        )
    said = "; ".join(refused.value.problems)
    for name in ("KAFKA_BOOTSTRAP", "FRESHLENS_SPACE", "WORKER_SLOT", "FETCH_ROOTS", "FRESHLENS_PARTITIONS"):
        assert name in said
