"""What a caller may ask: the body of a search, checked once, in the form that the pipeline works with. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

import msgspec

from query_api.settings import TIMEOUT_MS, TIMEOUT_MS_MAX, WAIT_MS_MAX, ApiSettings
from schemas.embeddings import Space, Vector, normalise
from schemas.errors import InvalidQuery, UnknownField
from schemas.filters import Filter, parse_filter
from schemas.identity import product_key
from schemas.product_lines import decode_base64
from schemas.progress import Position, ReadToken, decode_token

Crop = tuple[float, float, float, float]
"""Left, top, width and height as shares of the upright picture, 0 to 1."""
_INT64_MAX = 2**63 - 1
_ROUNDING = 0.005
"""A page that rounds its frame may end a little outside."""

Offset = Annotated[int, msgspec.Meta(ge=0, le=_INT64_MAX)]
S = TypeVar("S", bound=msgspec.Struct)


class ImageBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A picture within JSON: its bytes in base64, with or without a ``data:`` prefix."""

    base64: str


class VectorBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A vector that names its embedding space."""

    values: list[float]
    space: str = ""


class OffsetBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A record of an input topic, as any Kafka producer is told it."""

    topic: str
    partition: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
    offset: Offset
    log_id: str = ""


class SearchBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of ``POST /v1/search``: a picture, a text or both; or a product_id; or a vector; or a filter alone."""

    image: ImageBody | str | None = None
    """A picture: base64 in an object, or a data URL."""
    text: str | None = None
    product_id: str | None = None
    """Products like this one, which is not among the results."""
    vector: list[float] | VectorBody | None = None
    crop: Crop | None = None
    """Left, top, width, height, as shares of the picture."""
    text_weight: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5
    """Of picture and text together: how much the text counts."""
    filter: dict[str, Any] | None = None
    k: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 10
    timeout_ms: Annotated[int, msgspec.Meta(ge=1, le=TIMEOUT_MS_MAX)] | None = None
    min_offset: str | OffsetBody | None = None
    """A read token, or one record of an input topic: the answer should be at least as fresh."""
    wait_ms: Annotated[int, msgspec.Meta(ge=0, le=WAIT_MS_MAX)] = 0
    """How long to wait for that; comes before and outside timeout_ms."""
    require: bool = False
    """Refuse with 412 rather than answer from an older state."""
    session: Annotated[str, msgspec.Meta(max_length=200)] | None = None
    """Reads of one session never go back in time."""
    exact: bool = False
    """Scan everything instead of using the approximate indexes."""
    collapse: bool = False
    """Show only the best of several products with the same first picture."""


class ExplainBody(SearchBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A search by picture, text, vector, filter or nothing, and in ``product_id`` the product to account for."""


class RawParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query parameters beside a raw picture in the body; the fields of SearchBody."""

    text: str | None = None
    crop: str | None = None
    text_weight: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5
    filter: str | None = None
    k: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 10
    timeout_ms: Annotated[int, msgspec.Meta(ge=1, le=TIMEOUT_MS_MAX)] | None = None
    min_offset: str | None = None
    wait_ms: Annotated[int, msgspec.Meta(ge=0, le=WAIT_MS_MAX)] = 0
    require: bool = False
    session: Annotated[str, msgspec.Meta(max_length=200)] | None = None
    exact: bool = False
    collapse: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A checked search. ``modality`` says which of image, text, product_id and vector are there."""

    modality: str
    image: bytes | None = None
    text: str | None = None
    product_id: str | None = None
    vector: Vector | None = None
    crop: Crop | None = None
    text_weight: float = 0.5
    filter: Filter | None = None
    filter_json: str | None = None
    k: int = 10
    timeout_ms: int = TIMEOUT_MS
    token: ReadToken = field(default_factory=ReadToken)
    wait_ms: int = 0
    require: bool = False
    session: str | None = None
    exact: bool = False
    collapse: bool = False


def decode_body(raw: bytes, decoder: msgspec.json.Decoder[S]) -> S:
    """The struct that JSON bytes stand for.

    Raises:
        UnknownField: naming those that exist. InvalidQuery: no JSON, or a value of the wrong type or range.
    """
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise _explained(error, decoder.type) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidQuery(f"the body is not JSON: {error}") from None


def convert_parameters(parameters: Mapping[str, str], into: type[S]) -> S:
    """The struct that query parameters stand for; ``tenant`` is the caller's and none of them. Raises as above."""
    values = {name: value for name, value in parameters.items() if name != "tenant"}
    try:
        return msgspec.convert(values, into, strict=False)
    except msgspec.ValidationError as error:
        raise _explained(error, into) from None


def query_of_body(body: SearchBody, settings: ApiSettings) -> Query:
    """The checked search.

    Raises:
        InvalidQuery, InvalidVector, SpaceMismatch, InvalidProduct: what is wrong with it.
    """
    return _checked(body, image_bytes(body.image), settings)


def explained_query(body: ExplainBody, settings: ApiSettings) -> Query:
    """The search within an ExplainBody; without one, whether the product can be found at all. Raises as above."""
    asked = msgspec.structs.replace(body, product_id=None)
    if asked.image is None and asked.vector is None and asked.filter is None and not asked.text:
        return Query(modality="filter", k=body.k, timeout_ms=body.timeout_ms or settings.timeout_ms)
    return query_of_body(asked, settings)


def query_of_picture(raw: bytes, parameters: Mapping[str, str], settings: ApiSettings) -> Query:
    """The checked search of a raw picture with query parameters; raises as :func:`query_of_body`."""
    if not raw:
        raise InvalidQuery("the body is empty; send the picture's bytes")
    given = convert_parameters(parameters, RawParameters)
    fields = msgspec.structs.asdict(given)
    fields["filter"] = None if given.filter is None else _json_object(given.filter)
    fields["crop"] = None if given.crop is None else _numbers(given.crop)
    return _checked(SearchBody(**fields), raw, settings)


def image_bytes(image: ImageBody | str | None) -> bytes | None:
    """The bytes of a picture within JSON; raises InvalidProduct when they do not decode."""
    if image is None:
        return None
    if isinstance(image, str) and not image.startswith("data:"):
        raise InvalidQuery('image is {"base64": "…"} or a data: URL')
    raw = decode_base64(image if isinstance(image, str) else image.base64)
    if not raw:
        raise InvalidQuery("the picture is empty")
    return raw


def _checked(body: SearchBody, image: bytes | None, settings: ApiSettings) -> Query:
    limits = settings.limits
    if body.k > limits.k_max:
        raise InvalidQuery(f"k is at most {limits.k_max}")
    text = (body.text or "").strip() or None
    if text is not None and len(text) > limits.text_chars_max:
        raise InvalidQuery(f"text has at most {limits.text_chars_max} characters")
    if body.product_id is not None:
        product_key("any", body.product_id)
    vector = None if body.vector is None else _vector(body.vector, settings.lane.space)
    return Query(
        modality=_modality(image, text, body.product_id, vector, body.filter),
        image=image,
        text=text,
        product_id=body.product_id,
        vector=vector,
        crop=_crop(body.crop, image),
        text_weight=body.text_weight,
        filter=None if body.filter is None else parse_filter(body.filter),
        filter_json=None if body.filter is None else msgspec.json.encode(body.filter).decode(),
        k=body.k,
        timeout_ms=body.timeout_ms or settings.timeout_ms,
        token=token_of_body(body.min_offset),
        wait_ms=body.wait_ms,
        require=body.require,
        session=body.session or None,
        exact=body.exact,
        collapse=body.collapse,
    )


def token_of_body(given: str | OffsetBody | None) -> ReadToken:
    """The read token of either form of ``min_offset``; raises InvalidQuery."""
    if given is None:
        return ReadToken()
    if isinstance(given, str):
        return decode_token(given)
    return ReadToken((Position(given.log_id, given.topic, given.partition, given.offset),))


def _modality(image: object, text: object, product_id: object, vector: object, filter_: object) -> str:
    pictured = "+".join(name for name, value in (("image", image), ("text", text)) if value is not None)
    ways = [
        *([pictured] if pictured else []),
        *(["product"] if product_id is not None else []),
        *(["vector"] if vector is not None else []),
    ]
    if len(ways) > 1:
        raise InvalidQuery(f"search by one of {', '.join(ways)}; picture and text go together, the others alone")
    if not ways and filter_ is None:
        raise InvalidQuery("say what to search for: image, text, product_id, vector or filter")
    return ways[0] if ways else "filter"


def _vector(given: list[float] | VectorBody, space: Space) -> Vector:
    if isinstance(given, VectorBody):
        return normalise(given.values, space, space_name=given.space)
    return normalise(given, space)


def _crop(crop: Crop | None, image: bytes | None) -> Crop | None:
    if crop is None:
        return None
    if image is None:
        raise InvalidQuery("crop needs a picture")
    left, top, width, height = crop
    is_inside = min(crop) >= 0 and max(left + width, top + height) <= 1 + _ROUNDING
    if not (is_inside and width > 0 and height > 0):
        raise InvalidQuery("crop is left, top, width and height as shares of the picture, all within 0 to 1")
    return left, top, min(width, 1 - left), min(height, 1 - top)


def _json_object(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidQuery(f"filter is a JSON object: {error}") from None


def _numbers(text: str) -> Crop:
    try:
        left, top, width, height = map(float, text.split(","))
    except ValueError:
        raise InvalidQuery("crop is four numbers with commas: left,top,width,height") from None
    return left, top, width, height


def _explained(error: msgspec.ValidationError, kind: type[msgspec.Struct]) -> InvalidQuery | UnknownField:
    said = str(error)
    if "unknown field" not in said:
        return InvalidQuery(said)
    known = ", ".join(kind.__struct_fields__) if isinstance(kind, type) else ""
    return UnknownField(f"{said}; there are: {known}" if "$" not in said and known else said)
