"""The command with a stand-in for the model: the mean colour of a picture. No torch.

STUB_LOG gets a line per encoded picture; after STUB_STOP_AFTER of them one call makes STUB_LOG.stopped and waits for
ever. Run it as ``python -m tests.integration.backfill.stub --data DIR backfill …``.
"""

import os
import time
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from freshlens.cli import main
from processors.encoders.encoder import Pixels
from schemas.embeddings import Vector
from streams import worker
from streams.settings import StreamsSettings
from tests.integration.stub_embed import MeanColour


class CountedColour(MeanColour):
    """Says what it encoded, and stops where it is told."""

    def encode_images(self, pictures: Pixels) -> Vector:
        log = Path(os.environ["STUB_LOG"])
        encoded = len(log.read_text().split()) if log.exists() else 0
        if encoded >= int(os.environ.get("STUB_STOP_AFTER", "1000000")):
            stop_once(log.with_suffix(".stopped"))
        vectors = super().encode_images(pictures)
        with log.open("a") as lines:
            lines.writelines(f"{blake2b(picture.tobytes(), digest_size=8).hexdigest()}\n" for picture in pictures)
        return vectors


def stop_once(stopped: Path) -> None:
    """Wait for ever, unless somebody does already or did."""
    with suppress(FileExistsError):
        stopped.touch(exist_ok=False)
        time.sleep(600)


def counted_colour(settings: StreamsSettings) -> CountedColour:
    """Stands in for :func:`streams.worker.encoder_of`."""
    return CountedColour(0.0)


if __name__ == "__main__":
    worker.encoder_of = counted_colour
    main()
