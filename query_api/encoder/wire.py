"""What API and encoder process say to each other: MessagePack, ``POST /encode`` and ``POST /regions``."""

import msgspec


class EncodeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A picture, a text, or both; ``crop`` as in a search; ``tenant``: whose block list counts."""

    image: bytes | None = None
    crop: tuple[float, float, float, float] | None = None
    text: str | None = None
    tenant: str = ""


class EncodeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The vectors: dim little-endian float32 of unit norm each."""

    image: bytes | None = None
    text: bytes | None = None
    decode_ms: float = 0.0
    encode_ms: float = 0.0
    cached: bool = False
    """Nothing had to be encoded."""
    flags: tuple[str, ...] = ()
    """What is wrong with the picture; see :mod:`query_api.query.picture_gate`."""


class RegionsRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A picture to look for objects in."""

    image: bytes


class RegionsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Boxes as a ``crop`` has them, the most striking first; none in a picture of one object."""

    boxes: tuple[tuple[float, float, float, float], ...]


class EncodeProblem(msgspec.Struct, frozen=True):
    """Code and message of one of our errors; sent with status 4xx or 503."""

    code: str
    message: str


class EncoderHealth(msgspec.Struct, frozen=True):
    """What the encoder process serves."""

    space: str
    encoder_id: str
