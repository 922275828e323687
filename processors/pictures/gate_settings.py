"""The settings of the quality gate, apart from it: the API reads them and decodes no picture."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from schemas.environment import Environment

FLAGS = ("small", "dark", "bright", "blank", "blurred")
"""What can be wrong with a picture that can be read."""
BITS_MAX = 16
"""Pictures that differ by more than a quarter of their bits have nothing to do with each other."""
BLOCKLIST_BITS = 4
"""A picture saved again as a small JPEG differs by 0 to 4 of its 64 bits, unrelated ones by about 32."""


@dataclass(frozen=True, slots=True)
class GateSettings:
    """What is refused.

    Attributes:
        reject: quality flags; by default a flag is only told.
        blocklist_bits: how many bits of its perceptual hash may differ for a picture to be the one on the block list.
        safety_model: file of :class:`processors.pictures.safety.SafetyScorer`; None: nothing is scored.
        sensitive_terms: file of :class:`processors.pictures.safety.SensitiveTerms`; None: every text is answered.
    """

    reject: frozenset[str] = frozenset()
    blocklist_bits: int = BLOCKLIST_BITS
    safety_model: Path | None = None
    sensitive_terms: Path | None = None

    @staticmethod
    def from_env(environ: Mapping[str, str]) -> "GateSettings":
        """Read FRESHLENS_GATE_REJECT, _BLOCKLIST_BITS, _SAFETY_MODEL and _SENSITIVE_TERMS.

        Raises:
            SettingsError: listing everything that is wrong.
        """
        env = Environment(environ)
        reject = frozenset(filter(None, (flag.strip() for flag in env.text("FRESHLENS_GATE_REJECT").split(","))))
        if unknown := sorted(reject - set(FLAGS)):
            env.problems.append(f"FRESHLENS_GATE_REJECT: no flag {', '.join(unknown)}; there are {', '.join(FLAGS)}")
        model = _file(env, "FRESHLENS_SAFETY_MODEL")
        terms = _file(env, "FRESHLENS_SENSITIVE_TERMS")
        bits = env.integer("FRESHLENS_BLOCKLIST_BITS", BLOCKLIST_BITS, 0, BITS_MAX)
        env.finish()
        return GateSettings(reject, bits, model, terms)


def _file(env: Environment, name: str) -> Path | None:
    text = env.text(name)
    if text and not Path(text).is_file():
        env.problems.append(f"{name}: no such file: {text}")
    return Path(text) if text else None
