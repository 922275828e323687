"""What a query is made of: pictures, texts, products and vectors, each with a weight, and their sum. Pure."""

from collections.abc import Iterable, Sequence
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta
from msgspec.structs import replace

from query_api.settings import Limits
from schemas.embeddings import Space, Vector, normalise
from schemas.errors import InvalidProduct, InvalidQuery
from schemas.identity import product_key
from schemas.product_lines import decode_base64

Crop = Annotated[
    tuple[float, float, float, float],
    Meta(
        description="Left, top, width and height as shares of the upright picture, 0 to 1.",
        examples=[[0.1, 0.1, 0.8, 0.8]],
    ),
]
PARTS_MAX = 8
"""Pictures, texts, products and vectors of one query together."""
_ROUNDING = 0.005
"""A page that rounds its frame may end a little outside."""
_NOTHING = 1e-6


PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
"""The picture of examples: one pixel."""


class ImageBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A picture within JSON: its bytes in base64, with or without a ``data:`` prefix."""

    base64: Annotated[str, Meta(description="Its bytes: JPEG, PNG, WebP, GIF, TIFF, BMP or AVIF.", examples=[PIXEL])]


class VectorBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A vector that names its embedding space."""

    values: Annotated[list[float], Meta(description="Normalised by us.", examples=[[0.12, -0.53, 0.84]])]
    space: Annotated[str, Meta(description="Its embedding space; empty: the lane's.", examples=[""])] = ""


PictureField = Annotated[
    ImageBody | str, Meta(description="A picture: base64 in an object, or a `data:` URL.", examples=[{"base64": PIXEL}])
]
VectorField = Annotated[
    list[float] | VectorBody,
    Meta(description="Numbers of the lane's embedding space, or with its name.", examples=[[0.12, -0.53, 0.84]]),
]


class PartBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing to search for: exactly one of image, text, product_id and vector."""

    image: PictureField | None = None
    crop: Crop | None = None
    text: Annotated[str | None, Meta(description="Words to search for.", examples=["leather"])] = None
    product_id: Annotated[str | None, Meta(description="What this product looks like.", examples=["dress-7"])] = None
    vector: VectorField | None = None
    weight: Annotated[
        float,
        Meta(ge=-1, le=1, description="How much it counts beside the others; below 0: unlike this.", examples=[-0.4]),
    ] = 1.0


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A checked part: exactly one of image, text, product_id and vector, and a weight that is not 0."""

    weight: float = 1.0
    image: bytes | None = None
    crop: Crop | None = None
    text: str | None = None
    product_id: str | None = None
    vector: Vector | None = None

    @property
    def kind(self) -> str:
        """``image``, ``text``, ``product`` or ``vector``."""
        if self.vector is not None:
            return "vector"
        if self.image is not None:
            return "image"
        return "text" if self.text is not None else "product"


class Given(msgspec.Struct, frozen=True):
    """The parts of a body as they are named there; ``text_weight`` is shared between the text and what is seen."""

    seen: Sequence[Part]
    text: str | None = None
    text_weight: float = 0.5
    minus: str | None = None
    minus_weight: float = 0.5
    parts: Sequence[Part] = ()


def weighted(given: Given) -> tuple[Part, ...]:
    """The parts of a query with their weights; those that count nothing are left out.

    Raises:
        InvalidQuery: too many, or nothing but what the answer should be unlike.
    """
    if len(given.seen) == 1 and given.text is None and given.minus is None and not given.parts:
        return tuple(given.seen)  # it alone counts all there is
    text_share = 0.0 if given.text is None else given.text_weight if given.seen else 1.0
    seen_share = (1 - text_share) / max(1, len(given.seen))
    parts = [
        *(part if part.weight == seen_share else replace(part, weight=seen_share) for part in given.seen),
        *([] if given.text is None else [Part(text=given.text, weight=text_share)]),
        *([] if given.minus is None else [Part(text=given.minus, weight=-given.minus_weight)]),
        *given.parts,
    ]
    if len(parts) > PARTS_MAX:
        raise InvalidQuery(
            f"a query has at most {PARTS_MAX} pictures, texts, products and vectors, this one {len(parts)}"
        )
    counted = tuple(part for part in parts if part.weight != 0)
    if parts and not any(part.weight > 0 for part in counted):
        raise InvalidQuery("say what the answer should be like, too: nothing in this query has a weight above 0")
    return counted


def modality_of(parts: Sequence[Part]) -> str:
    """The kinds of the parts, as in ``image+text``, with ``-text`` for what is unwanted; ``filter`` for none."""
    if len(parts) == 1:
        return parts[0].kind
    wanted = _kinds(part for part in parts if part.weight > 0)
    unwanted = _kinds(part for part in parts if part.weight < 0)
    return "+".join(wanted) + "".join(f"-{kind}" for kind in unwanted) or "filter"


def _kinds(parts: Iterable[Part]) -> list[str]:
    found = {part.kind for part in parts}
    return [kind for kind in ("image", "text", "product", "vector") if kind in found]


def composed(vectors: Sequence[Vector], weights: Sequence[float]) -> Vector:
    """Early fusion: the (dim,) weighted sum, of unit norm again. One vector alone is itself.

    Raises:
        InvalidQuery: they cancel out.
    """
    if len(vectors) == 1:
        return vectors[0]
    total = np.asarray(weights, np.float32) @ np.stack(vectors)
    norm = float(np.linalg.norm(total))
    if norm < _NOTHING:
        raise InvalidQuery("the parts of this query say opposite things; choose other weights")
    return (total / norm).astype(np.float32)


def checked_part(body: PartBody, space: Space, limits: Limits) -> Part:
    """The part that a body stands for; raises InvalidQuery and what its one field raises."""
    given = (body.image, body.text, body.product_id, body.vector)
    if sum(value is not None for value in given) != 1:
        raise InvalidQuery("each of parts has exactly one of image, text, product_id and vector")
    image = image_bytes(body.image)
    return Part(
        weight=body.weight,
        image=image,
        crop=checked_crop(body.crop, image),
        text=None if body.text is None else checked_text(body.text, limits, "text"),
        product_id=None if body.product_id is None else product_key("any", body.product_id).product_id,
        vector=None if body.vector is None else checked_vector(body.vector, space),
    )


def checked_text(text: str, limits: Limits, name: str) -> str:
    """The text without blanks around it; raises InvalidQuery for an empty or too long one."""
    stripped = text.strip()
    if not stripped:
        raise InvalidQuery(f"{name} is empty")
    if len(stripped) > limits.text_chars_max:
        raise InvalidQuery(f"{name} has at most {limits.text_chars_max} characters")
    return stripped


def image_bytes(image: ImageBody | str | None) -> bytes | None:
    """The bytes of a picture within JSON; raises InvalidQuery when they do not decode."""
    if image is None:
        return None
    if isinstance(image, str) and not image.startswith("data:"):
        raise InvalidQuery('image is {"base64": "…"} or a data: URL')
    try:
        raw = decode_base64(image if isinstance(image, str) else image.base64)
    except InvalidProduct as error:
        raise InvalidQuery(error.message) from None
    if not raw:
        raise InvalidQuery("the picture is empty")
    return raw


def checked_vector(given: list[float] | VectorBody, space: Space) -> Vector:
    """The vector of unit norm; raises InvalidVector, SpaceMismatch."""
    if isinstance(given, VectorBody):
        return normalise(given.values, space, space_name=given.space)
    return normalise(given, space)


def checked_crop(crop: Crop | None, image: bytes | None) -> Crop | None:
    """The rectangle within the picture; raises InvalidQuery."""
    if crop is None:
        return None
    if image is None:
        raise InvalidQuery("crop needs a picture")
    left, top, width, height = crop
    is_inside = min(crop) >= 0 and max(left + width, top + height) <= 1 + _ROUNDING
    if not (is_inside and width > 0 and height > 0):
        raise InvalidQuery("crop is left, top, width and height as shares of the picture, all within 0 to 1")
    return left, top, min(width, 1 - left), min(height, 1 - top)
