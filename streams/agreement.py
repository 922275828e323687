"""How well each product's pictures and text agree: what the worker knows of it, kept over restarts."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import structlog

from processors.added import ReadyView
from processors.watch.agreement import Agreement, Calibration
from schemas.embeddings import from_fp16
from schemas.hashing import content_hash
from schemas.metrics import Metrics

LOW = 0.0
"""Below this the text could as well be another product's."""
_PICTURES = ("image", "frame")
_KEEP_EVERY = 500
_log = structlog.get_logger()


class Agreements:
    """Scores products for one worker; use it from one event loop. ``folder`` keeps what is usual for this encoder."""

    def __init__(self, folder: Path, encoder_id: str, metrics: Metrics) -> None:
        self._file = folder / f"agreement-{content_hash(encoder_id.encode()).hex()}.json"
        self._metrics = metrics
        self._agreement = Agreement(self._restored())
        self._scored = 0

    def score(self, views: Sequence[ReadyView], text: str, text_vector: bytes) -> float | None:
        """-1 to 1, None where it cannot be told; the vectors are little-endian float16 of one space."""
        pictures = [view.vector for view in views if view.kind in _PICTURES]
        if not pictures:
            return None
        dim = len(text_vector) // 2
        vectors = np.stack([from_fp16(vector, dim) for vector in pictures]).astype(np.float32)
        found = self._agreement.score(vectors, text, from_fp16(text_vector, dim).astype(np.float32))
        result = "unknown" if found is None else "low" if found < LOW else "good"
        self._metrics.count("freshlens_agreement_total", result=result)
        self._scored += 1
        if self._scored % _KEEP_EVERY == 0:
            self.keep()
        return found

    def keep(self) -> None:
        """Keep what is usual for the next start; where that fails, it is learnt again."""
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.write_bytes(msgspec.json.encode(self._agreement.calibration))
        except OSError as error:
            _log.warning("what is usual between pictures and texts is not kept", reason=str(error))

    def _restored(self) -> Calibration | None:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=Calibration)
        except (OSError, msgspec.DecodeError):
            return None
