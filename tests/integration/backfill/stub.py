"""The command with a stand-in for the model: the mean colour of a picture. No torch.

STUB_LOG gets a line per encoded picture; after STUB_STOP_AFTER of them the next call makes STUB_LOG.stopped and waits
for ever. Run it as ``python -m tests.integration.backfill.stub --data DIR backfill …``.
"""

import os
import time
from hashlib import blake2b
from pathlib import Path

from freshlens.backfill import wiring
from freshlens.cli import main
from processors.encoders.encoder import Pixels
from schemas.embeddings import Vector
from streams.settings import StreamsSettings
from tests.integration.stub_embed import MeanColour


class CountedColour(MeanColour):
    """Says what it encoded, and stops where it is told."""

    def encode_images(self, pictures: Pixels) -> Vector:
        log = Path(os.environ["STUB_LOG"])
        encoded = len(log.read_text().split()) if log.exists() else 0
        if encoded >= int(os.environ.get("STUB_STOP_AFTER", "1000000")):
            log.with_suffix(".stopped").touch()
            time.sleep(600)
        vectors = super().encode_images(pictures)
        with log.open("a") as lines:
            lines.writelines(f"{blake2b(picture.tobytes(), digest_size=8).hexdigest()}\n" for picture in pictures)
        return vectors


def counted_colour(settings: StreamsSettings) -> CountedColour:
    """Stands in for :func:`freshlens.backfill.wiring.encoder_of`."""
    return CountedColour(0.0)


if __name__ == "__main__":
    wiring.encoder_of = counted_colour
    main()
