"""What an encoder is: pictures and texts in, vectors of one space out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from schemas.embeddings import Space, Vector

Pixels = npt.NDArray[np.uint8]
"""(size, size, 3) or (n, size, size, 3) uint8, sRGB, C-contiguous: a picture in an encoder's form."""


@dataclass(frozen=True, slots=True)
class PictureForm:
    """How an encoder wants its pictures: what decoding needs to know, without importing the model.

    Attributes:
        size: height and width in pixels.
        resize: ``shortest`` crops the centre, ``longest`` pads to a square, ``squash`` ignores the aspect.
        interpolation: ``bicubic`` or ``bilinear``.
        fill: grey value 0 to 255 of the padding.
    """

    size: int
    resize: Literal["shortest", "longest", "squash"] = "shortest"
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    fill: int = 0


class Encoder(Protocol):
    """One model. Calls block and use the processor fully: keep them off the event loop.

    Attributes:
        space: the agreement its vectors belong to.
        encoder_id: hash of weights and preprocessing; a part of every cache key.
        form: how pictures must be given.
    """

    space: Space
    encoder_id: str
    form: PictureForm

    def encode_images(self, pictures: Pixels) -> Vector:
        """(n, size, size, 3) uint8 → (n, dim) float32, rows of unit norm, in the same order.

        Raises:
            EncoderFailed: the model raised; try the items one by one.
            MemoryError: so many do not fit; try fewer.
        """
        ...

    def encode_texts(self, texts: Sequence[str]) -> Vector:
        """n texts → (n, dim) float32, rows of unit norm; text beyond the context is cut.

        Raises:
            EncoderFailed: the model raised; try the items one by one.
            MemoryError: so many do not fit; try fewer.
        """
        ...

    def count_tokens(self, text: str) -> tuple[int, int]:
        """How many of a text's tokens the model sees, and how many lie beyond its context."""
        ...


def is_out_of_memory(error: BaseException) -> bool:
    """Whether fewer items may still fit: MemoryError, or torch's own error, known by name without importing it."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
