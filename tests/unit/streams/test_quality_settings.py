"""How windows are set from the environment."""

import pytest

from processors.feedback.clicks import Windows
from schemas.errors import SettingsError
from streams.quality_settings import QualitySettings


def test_defaults_are_a_minute_and_half_an_hour() -> None:
    assert QualitySettings.from_env({}) == QualitySettings()
    assert QualitySettings().windows == Windows(60_000_000, 1_800_000_000)


def test_seconds_become_microseconds() -> None:
    settings = QualitySettings.from_env({"FRESHLENS_QUALITY_WINDOW_S": "10", "FRESHLENS_QUALITY_LATENESS_S": "20"})
    assert settings.windows == Windows(10_000_000, 20_000_000)


def test_everything_that_is_wrong_is_listed_at_once() -> None:
    with pytest.raises(SettingsError) as refused:
        QualitySettings.from_env({"FRESHLENS_QUALITY_WINDOW_S": "0", "FRESHLENS_QUALITY_LATENESS_S": "x"})
    assert len(refused.value.problems) == 2
