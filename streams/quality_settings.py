"""How search quality is measured: windows and patience, read once from the environment."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from processors.clicks import Windows
from schemas.errors import SettingsError


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
        problems: list[str] = []
        window_s = _seconds(environ, "FRESHLENS_QUALITY_WINDOW_S", 60, problems)
        lateness_s = _seconds(environ, "FRESHLENS_QUALITY_LATENESS_S", 1800, problems)
        if problems:
            raise SettingsError(problems)
        return QualitySettings(Windows(window_s * 1_000_000, lateness_s * 1_000_000))


def _seconds(environ: Mapping[str, str], name: str, default: int, problems: list[str]) -> int:
    text = environ.get(name) or str(default)
    if text.isdecimal() and 1 <= int(text) <= 86_400:
        return int(text)
    problems.append(f"{name}={text!r} must be a whole number of seconds from 1 to 86400")
    return default
