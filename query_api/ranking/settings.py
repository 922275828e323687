"""Settings of ranking. Read once at the start of the API."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast, get_args

from schemas.environment import Environment

WEIGHT_MAX = 10.0
RETRIEVED = 500
OutOfStock = Literal["as-is", "last", "hidden"]
AGREEMENT = 0.1
"""Weight of agreement where it is looked at: what disagrees comes later, and is never hidden."""
DAY_US = 86_400_000_000


class Weights(NamedTuple):
    """α, β, γ and δ of the linear score, and what disagreement of picture and text takes from it."""

    visual: float = 1.0
    attributes: float = 0.0
    personal: float = 0.1
    """Counts only where the session has clicked on something."""
    fresh: float = 0.0
    agreement: float = 0.0


@dataclass(frozen=True, slots=True)
class RankSettings:
    """How answers are ordered; build it with :meth:`from_env`."""

    retrieved: int = RETRIEVED
    """Candidates of a search that a stage may reorder; others retrieve what they show."""
    weights: Weights = Weights()  # noqa: RUF009  # frozen
    fresh_half_life_days: float = 14.0
    out_of_stock: OutOfStock = "as-is"
    model: str = ""
    """Path of a LightGBM model; empty: no learned stage."""
    expected_value: bool = False
    """The learned score is P(click) × price."""
    log_features: bool = False
    """Searches are logged with the features of what was shown, to train a model on; with a model they always are."""
    verify_margin: float = 0.0
    """A best similarity so near to the threshold of a match is verified by geometry."""
    rules_poll_s: float = 5.0
    """How often business rules are read again."""

    @staticmethod
    def from_env(environ: Mapping[str, str]) -> "RankSettings":
        """Read FRESHLENS_RANK_*, FRESHLENS_OUT_OF_STOCK, FRESHLENS_VERIFY_MARGIN and FRESHLENS_RULES_POLL_S.

        Raises:
            SettingsError: listing everything that is wrong.
        """
        env = Environment(environ)
        settings = RankSettings(
            retrieved=env.integer("FRESHLENS_RANK_RETRIEVED", RETRIEVED, 10, 1_000),
            weights=_weights(env),
            fresh_half_life_days=float(env.number("FRESHLENS_RANK_HALF_LIFE_DAYS", 14.0, 0.01, 36_500.0)),
            out_of_stock=_out_of_stock(env),
            model=env.text("FRESHLENS_RANK_MODEL"),
            expected_value=env.integer("FRESHLENS_RANK_EXPECTED_VALUE", 0, 0, 1) == 1,
            log_features=env.integer("FRESHLENS_RANK_LOG_FEATURES", 0, 0, 1) == 1,
            verify_margin=float(env.number("FRESHLENS_VERIFY_MARGIN", 0.0, 0.0, 1.0)),
            rules_poll_s=env.seconds("FRESHLENS_RULES_POLL_S", 5.0),
        )
        if settings.expected_value and not settings.model:
            env.problems.append("FRESHLENS_RANK_EXPECTED_VALUE=1 needs FRESHLENS_RANK_MODEL, which says P(click)")
        env.finish()
        return settings


def _weights(env: Environment) -> Weights:
    text = env.text("FRESHLENS_RANK_WEIGHTS")
    given = {"agreement": AGREEMENT} if env.text("FRESHLENS_AGREEMENT") == "1" else {}
    for part in filter(None, (each.strip() for each in text.split(","))):
        name, _, value = part.partition("=")
        try:
            given[name] = float(value)
        except ValueError:
            given[name] = -1.0
        if name not in Weights._fields or not 0 <= given[name] <= WEIGHT_MAX:
            env.problems.append(
                f"FRESHLENS_RANK_WEIGHTS: {part!r} is not one of {', '.join(Weights._fields)} with a number from 0 to "
                f"{WEIGHT_MAX:g}, as in visual=1,fresh=0.1"
            )
            return Weights()
    return Weights()._replace(**given)


def _out_of_stock(env: Environment) -> OutOfStock:
    text = env.text("FRESHLENS_OUT_OF_STOCK", "as-is")
    if text not in get_args(OutOfStock):
        env.problems.append(f"FRESHLENS_OUT_OF_STOCK={text!r} must be one of {', '.join(get_args(OutOfStock))}")
        return "as-is"
    return cast("OutOfStock", text)
