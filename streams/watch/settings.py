"""How sources are watched, read once from the environment."""

from collections.abc import Mapping
from dataclasses import dataclass

from schemas.environment import Environment


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """How sources are watched.

    Attributes:
        window_us: FRESHLENS_WATCH_WINDOW_S (default 300), in microseconds; 0: nothing is watched.
        is_holding: FRESHLENS_WATCH_HOLD=1: a source that becomes alarming is held.
    """

    window_us: int = 300_000_000
    is_holding: bool = False

    @staticmethod
    def from_env(environ: Mapping[str, str]) -> "WatchSettings":
        """Raises SettingsError, listing everything that is wrong."""
        env = Environment(environ)
        window_s = env.integer("FRESHLENS_WATCH_WINDOW_S", 300, 0, 86_400)
        is_holding = env.text("FRESHLENS_WATCH_HOLD") == "1"
        env.finish()
        return WatchSettings(window_s * 1_000_000, is_holding)
