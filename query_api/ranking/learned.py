"""The learned stage: a LightGBM model over the features of each candidate. Imported only where one is set."""

import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from query_api.ranking.features import FEATURES, Features
from query_api.ranking.ranked import Ranked, ordered
from query_api.ranking.stages import Pool, StageSkipped
from schemas.errors import SettingsError

_OBJECTIVES = ("binary", "cross_entropy", "lambdarank", "rank_xendcg", "regression")
_PROBABILITIES = ("binary", "cross_entropy")
_TRY_S = 60.0


class Model(Protocol):
    """Scores candidates by their features."""

    @property
    def name(self) -> str: ...

    def predict(self, features: Features) -> npt.NDArray[np.float64]:
        """(n,) from (n, len(FEATURES)); may raise anything."""
        ...


@dataclass(frozen=True)
class LightGbmModel:
    """A model file, checked against the features that we compute."""

    name: str
    booster: Any

    def predict(self, features: Features) -> npt.NDArray[np.float64]:
        # One thread: a pool of a few hundred rows takes less time than handing them out.
        return np.asarray(self.booster.predict(features, num_threads=1), np.float64)


def load_model(path: str, *, expected_value: bool) -> LightGbmModel:
    """The model of a file written by ``Booster.save_model``.

    It is tried in a child process first: LightGBM does not refuse a damaged file, it crashes.

    Raises:
        SettingsError: no such file, not a model, made for other features, or (for an expected value) one that does not
            predict a probability.
    """
    if find_spec("lightgbm") is None:
        raise SettingsError("FRESHLENS_RANK_MODEL needs LightGBM: pip install 'freshlens[ltr]'")
    command = [sys.executable, "-m", __name__, path, str(int(expected_value))]
    try:
        tried = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TRY_S, check=False)
    except subprocess.TimeoutExpired:
        raise SettingsError(f"FRESHLENS_RANK_MODEL={path}: LightGBM did not read it within {_TRY_S:g} s") from None
    if tried.returncode:
        said = tried.stdout.decode(errors="replace").strip() or f"it is damaged: LightGBM ended by {-tried.returncode}"
        raise SettingsError(f"FRESHLENS_RANK_MODEL={path}: {said}")
    return LightGbmModel(Path(path).name, _booster(path))


def tried_model(path: str, *, expected_value: bool) -> None:
    """Load a model and let it predict; raises ValueError or OSError, or takes the process with it."""
    text = Path(path).read_text()
    if not text.startswith("tree\n") or "\nend of trees\n" not in text:
        raise ValueError("it is not a whole LightGBM model in text form")
    booster = _booster(path)
    _check(booster, text, expected_value)
    probes = np.random.default_rng(0).standard_normal((64, len(FEATURES))).astype(np.float32)
    probes[0], probes[1] = 0.0, np.nan
    if not np.isfinite(LightGbmModel(path, booster).predict(probes)).all():
        raise ValueError("it predicts what is no number")


def _booster(path: str) -> Any:
    import lightgbm  # an extra, and slow to import

    return lightgbm.Booster(model_file=path)


def _check(booster: Any, text: str, expected_value: bool) -> None:
    names = tuple(booster.feature_name())
    if names != FEATURES:
        raise ValueError(f"it was trained on the features {', '.join(names)}; ours are {', '.join(FEATURES)}")
    found = [line.removeprefix("objective=").split(" ")[0] for line in text.splitlines() if line[:10] == "objective="]
    objective = found[0] if found else "none"
    if objective not in _OBJECTIVES:
        raise ValueError(f"its objective is {objective}; it must be one of {', '.join(_OBJECTIVES)}")
    if expected_value and objective not in _PROBABILITIES:
        raise ValueError(f"its objective {objective} is no probability: P(click) × price needs binary")


def rescore(pool: Pool, features: Features, model: Model, *, expected_value: bool) -> Pool:
    """The pool by what the model says of each candidate, in place of the linear score.

    Raises:
        StageSkipped: it failed, or said what is no number; the linear score stays.
    """
    if not pool:
        return pool
    try:
        predicted = model.predict(features)
    except Exception as error:
        raise StageSkipped(f"the model failed: {type(error).__name__}") from error
    if predicted.shape != (len(pool),) or not np.isfinite(predicted).all():
        raise StageSkipped("the model predicts what is no number")
    values = predicted * prices_of(pool) if expected_value else predicted
    return ordered(ranked.to("learned", value) for ranked, value in zip(pool, values.tolist(), strict=True))


def prices_of(pool: list[Ranked]) -> npt.NDArray[np.float64]:
    """(n,) prices, at least 0; one that is not known is the median of the others: no penalty and no gain."""
    prices = np.array([np.nan if ranked.hit.price is None else max(ranked.hit.price, 0.0) for ranked in pool])
    known = prices[~np.isnan(prices)]
    filled: npt.NDArray[np.float64] = np.nan_to_num(prices, nan=float(np.median(known)) if len(known) else 1.0)
    return filled


def main() -> None:
    """In the child: exit code 0, or 1 with the reason on standard output. Arguments: path, expected_value."""
    try:
        tried_model(sys.argv[1], expected_value=sys.argv[2] == "1")
    except Exception as error:
        sys.stdout.write(str(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
