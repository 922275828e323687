"""Settings and fields of ranking: defaults, limits, and everything wrong said at once."""

import pytest

from query_api.ranking.options import PREFERRED, RankFields, WeightsBody, options_of
from query_api.ranking.settings import RankSettings, Weights
from query_api.settings import ApiSettings
from schemas.errors import InvalidQuery, SettingsError
from tests.unit.query_api.test_settings import ENVIRON


def test_defaults_are_those_of_the_types() -> None:
    assert RankSettings.from_env({}) == RankSettings()
    assert ApiSettings.from_env(ENVIRON).rank == RankSettings()
    assert RankSettings().weights == Weights(visual=1.0, attributes=0.0, personal=0.1, fresh=0.0, agreement=0.0)
    assert RankSettings.from_env({"FRESHLENS_AGREEMENT": "1"}).weights.agreement > 0, "looked at, so it counts"


def test_everything_can_be_set() -> None:
    settings = RankSettings.from_env(
        {
            "FRESHLENS_RANK_RETRIEVED": "200",
            "FRESHLENS_RANK_WEIGHTS": "visual=0.5, fresh=2",
            "FRESHLENS_RANK_HALF_LIFE_DAYS": "3.5",
            "FRESHLENS_OUT_OF_STOCK": "last",
            "FRESHLENS_RANK_MODEL": "/models/one.txt",
            "FRESHLENS_RANK_EXPECTED_VALUE": "1",
            "FRESHLENS_RANK_LOG_FEATURES": "1",
            "FRESHLENS_VERIFY_MARGIN": "0.05",
            "FRESHLENS_RULES_POLL_S": "0.5",
        }
    )
    assert settings == RankSettings(
        retrieved=200,
        weights=Weights(0.5, 0.0, 0.1, 2.0),
        fresh_half_life_days=3.5,
        out_of_stock="last",
        model="/models/one.txt",
        expected_value=True,
        log_features=True,
        verify_margin=0.05,
        rules_poll_s=0.5,
    )


@pytest.mark.parametrize(
    "text", ["luck=1", "visual", "visual=", "visual=11", "fresh=-1", "fresh=nan", "visual=1;fresh=1"]
)
def test_weights_are_named_numbers_within_limits(text: str) -> None:
    with pytest.raises(SettingsError, match="FRESHLENS_RANK_WEIGHTS"):
        RankSettings.from_env({"FRESHLENS_RANK_WEIGHTS": text})


def test_everything_wrong_is_said_at_once() -> None:
    environ = {"FRESHLENS_OUT_OF_STOCK": "gone", "FRESHLENS_RANK_EXPECTED_VALUE": "1", "FRESHLENS_RANK_RETRIEVED": "5"}
    with pytest.raises(SettingsError) as caught:
        ApiSettings.from_env({**ENVIRON, **environ})
    assert all(name in str(caught.value) for name in environ)


def test_a_request_changes_the_weights_it_names() -> None:
    settings = RankSettings(weights=Weights(1.0, 0.0, 0.3, 0.2))
    asked = RankFields(weights=WeightsBody(fresh=0.0, attributes=2.0))
    assert options_of(asked, settings).weights == Weights(1.0, 2.0, 0.3, 0.0)
    assert options_of(RankFields(), settings).weights == settings.weights


def test_preferring_counts_unless_it_is_told_not_to() -> None:
    prefer = {"color": "red"}
    assert options_of(RankFields(prefer=prefer), RankSettings()).weights.attributes == PREFERRED
    without = RankFields(prefer=prefer, weights=WeightsBody(attributes=0.0))
    assert options_of(without, RankSettings()).weights.attributes == 0
    more = RankSettings(weights=Weights(attributes=0.7))
    assert options_of(RankFields(prefer=prefer), more).weights.attributes == 0.7


def test_an_exact_search_goes_by_looks_unless_it_says_otherwise() -> None:
    settings = RankSettings(weights=Weights(2.0, 0.5, 0.3, 0.2))
    assert options_of(RankFields(mode="exact"), settings).weights == Weights(2.0, 0.0, 0.0, 0.0)
    assert options_of(RankFields(mode="exact", weights=WeightsBody(fresh=1.0)), settings).weights.fresh == 1.0
    with pytest.raises(InvalidQuery, match="leave diversity out"):
        options_of(RankFields(mode="exact", diversity=0.1), settings)
