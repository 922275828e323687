"""What an operator's own files say is not to be shown or answered; without such a file nothing is.

Pictures are scored by their embeddings rather than by their pixels: it costs nothing, and holds for what was embedded
before.
"""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from schemas.embeddings import Space, Vector
from schemas.errors import SettingsError


class SafetyScorer:
    """Logistic regression over embeddings: the score is sigmoid(weights · vector + bias), 0 to 1.

    Args:
        weights: (dim,) float32.
        threshold: scores from here on are refused.
    """

    def __init__(self, weights: Vector, bias: float, threshold: float) -> None:
        self._weights, self._bias, self.threshold = weights, bias, threshold

    def score(self, vector: Vector) -> float:
        """0 to 1 for a (dim,) vector of unit norm."""
        return 1.0 / (1.0 + math.exp(-min(60.0, max(-60.0, float(self._weights @ vector) + self._bias))))

    @staticmethod
    def load(file: Path, space: Space) -> "SafetyScorer":
        """Read a ``.npz`` with ``weights``, ``bias``, ``threshold`` and ``space`` (its name).

        Raises:
            SettingsError: it is no such file, or of another space.
        """
        try:
            with np.load(file, allow_pickle=False) as arrays:
                weights = np.asarray(arrays["weights"], np.float32)
                bias, threshold = float(arrays["bias"]), float(arrays["threshold"])
                name = str(arrays["space"])
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
            raise SettingsError(f"FRESHLENS_SAFETY_MODEL={file}: {type(error).__name__}: {error}") from error
        if name != space.name or weights.shape != (space.dim,) or not np.isfinite(weights).all():
            raise SettingsError(f"FRESHLENS_SAFETY_MODEL={file} is of space {name!r}, this lane is of {space}")
        return SafetyScorer(weights, bias, threshold)


class QueryPolicy(Protocol):
    """Which query texts are not answered; the hook for a policy of one's own."""

    def abstains(self, text: str) -> bool: ...


class SensitiveTerms:
    """A QueryPolicy: regular expressions, of which none may be found in the text, whatever its case."""

    def __init__(self, terms: Sequence[str]) -> None:
        self._terms = re.compile("|".join(f"(?:{term})" for term in terms), re.IGNORECASE) if terms else None

    def abstains(self, text: str) -> bool:
        return self._terms is not None and self._terms.search(text) is not None

    @staticmethod
    def load(file: Path) -> "SensitiveTerms":
        """Read a text file of one expression per line; empty lines and those that begin with ``#`` say nothing.

        Raises:
            SettingsError: it cannot be read, or has an expression that is none.
        """
        try:
            lines = [line.strip() for line in file.read_text("utf-8").splitlines()]
            terms = [line for line in lines if line and not line.startswith("#")]
            for term in terms:
                re.compile(term)
            return SensitiveTerms(terms)
        except (OSError, UnicodeDecodeError, re.error) as error:
            raise SettingsError(f"FRESHLENS_SENSITIVE_TERMS={file}: {error}") from error
