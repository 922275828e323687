"""When to say that nothing fits: thresholds of similarity by modality, calibrated with the encoder."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

import msgspec
import structlog

from query_api.settings import BUNDLED_ENCODER, ApiSettings

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The least similarity of the best hit, by modality (image, text, image+text); absent: none."""

    by_modality: Mapping[str, float]

    def of(self, modality: str) -> float | None:
        """The threshold of a modality; queries by product, vector or filter have none unless one is set."""
        return self.by_modality.get(modality)

    def rejects(self, modality: str, best: float | None) -> bool:
        """Whether the best similarity found (None: nothing was found) is no match."""
        threshold = self.of(modality)
        return threshold is not None and best is not None and best < threshold


def load_thresholds(settings: ApiSettings) -> Thresholds:
    """Those of the encoder's file, with the settings' own in their place where they are given."""
    found = _bundled() if settings.encoder == BUNDLED_ENCODER else {}
    given = {"image": settings.no_match_image, "text": settings.no_match_text}
    found.update({modality: value for modality, value in given.items() if value is not None})
    if "image+text" not in found and {"image", "text"} <= found.keys():
        # A mixed query lies between its parts, so the more lenient threshold is the one that is never wrong.
        found["image+text"] = min(found["image"], found["text"])
    return Thresholds(found)


def _bundled() -> dict[str, float]:
    file = resources.files("processors") / "bundled" / "thresholds.json"
    try:
        values = msgspec.json.decode(file.read_bytes())
        return {name: float(values[name]) for name in ("image", "text", "image+text") if name in values}
    except FileNotFoundError:
        return {}
    except (msgspec.DecodeError, TypeError, ValueError) as error:
        log.error("thresholds unreadable", error=str(error))
        return {}
