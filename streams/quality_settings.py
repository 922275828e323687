"""How search quality is measured: windows and patience, read once from the environment."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from processors.feedback.clicks import Windows
from schemas.environment import Environment


@dataclass(frozen=True, slots=True)
class QualitySettings:
    """How search quality is measured.

    Attributes:
        windows: FRESHLENS_QUALITY_WINDOW_S (default 60) and FRESHLENS_QUALITY_LATENESS_S (default 1800), in seconds.
        publish_every_s: how soon a change shows on search-quality.
    """

    windows: Windows = field(default_factory=Windows)
    publish_every_s: float = 2.0

    @staticmethod
    def from_env(environ: Mapping[str, str]) -> "QualitySettings":
        """Raises SettingsError, listing everything that is wrong."""
        env = Environment(environ)
        window_s = env.integer("FRESHLENS_QUALITY_WINDOW_S", 60, 1, 86_400)
        lateness_s = env.integer("FRESHLENS_QUALITY_LATENESS_S", 1800, 1, 86_400)
        env.finish()
        return QualitySettings(Windows(window_s * 1_000_000, lateness_s * 1_000_000))
