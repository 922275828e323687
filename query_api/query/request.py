"""What a caller may ask: the body of a search, checked once, in the form that the pipeline works with. Pure."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from query_api.query.parts import (
    PARTS_MAX,
    Crop,
    Given,
    Part,
    PartBody,
    PictureField,
    VectorField,
    checked_crop,
    checked_part,
    checked_text,
    checked_vector,
    image_bytes,
    modality_of,
    weighted,
)
from query_api.ranking.options import RankFields, RankOptions, RankParameters, options_of
from query_api.settings import TIMEOUT_MS, TIMEOUT_MS_MAX, WAIT_MS_MAX, ApiSettings
from schemas.embeddings import Vector, normalise
from schemas.errors import InvalidQuery, UnknownField
from schemas.filters import Filter, parse_filter
from schemas.identity import product_key
from schemas.progress import Position, ReadToken, decode_token

_INT64_MAX = 2**63 - 1

FACETS_MAX = 8
Partial = Literal["allow", "forbid"]
Share = Annotated[float, Meta(ge=0, le=1)]
S = TypeVar("S", bound=msgspec.Struct)

TextField = Annotated[str | None, Meta(description="Words, up to 1,000 characters.", examples=["red dress"])]
TextWeight = Annotated[
    Share, Meta(description="How much the text counts; pictures, product and vector share the rest.", examples=[0.4])
]
MinusField = Annotated[str | None, Meta(description="A text that results should be unlike.", examples=["long"])]
MinusWeight = Annotated[Share, Meta(description="How much `minus` counts.", examples=[0.3])]
RegionsField = Annotated[
    bool, Meta(description="Look for objects in the picture, and search for each of them too.", examples=[False])
]
FilterText = Annotated[str | None, Meta(description="A filter, as JSON.", examples=['{"color": "red"}'])]
FacetNames = Annotated[
    str | None,
    Meta(description="Fields whose values are counted over all that passes, with commas.", examples=["color,price"]),
]
K = Annotated[int, Meta(ge=1, le=1_000, description="How many results, up to the server's limit.", examples=[5])]
TimeoutMs = Annotated[
    Annotated[int, Meta(ge=1, le=TIMEOUT_MS_MAX)] | None,
    Meta(description="Time for the search; null: as the server is set.", examples=[5000]),
]
WaitMs = Annotated[
    int,
    Meta(
        ge=0,
        le=WAIT_MS_MAX,
        description="How long to wait for `min_offset`; comes before and outside `timeout_ms`.",
        examples=[1],
    ),
]
Require = Annotated[bool, Meta(description="Refuse with 412 rather than answer from an older state.", examples=[False])]
Session = Annotated[
    Annotated[str, Meta(max_length=200)] | None,
    Meta(description="A shopper's visit: its reads never go back in time, and its clicks count.", examples=["visit-1"]),
]
Exact = Annotated[bool, Meta(description="Scan everything instead of using the approximate indexes.", examples=[False])]
Collapse = Annotated[
    bool, Meta(description="Show only the best of several products with the same first picture.", examples=[True])
]
LimitedMatches = Annotated[
    bool,
    Meta(description="Where there is no match, show the nearest, apart from `results`.", examples=[True]),
]
PartialField = Annotated[
    Partial,
    Meta(description="`forbid`: refuse with 503 rather than answer without one of the shards.", examples=["allow"]),
]


class OffsetBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A record of an input topic, as any Kafka producer is told it."""

    topic: Annotated[str, Meta(description="An input topic.", examples=["product-added"])]
    partition: Annotated[int, Meta(ge=0, le=2**31 - 1, description="Its partition.", examples=[0])]
    offset: Annotated[int, Meta(ge=0, le=_INT64_MAX, description="The record's offset.", examples=[41])]
    log_id: Annotated[str, Meta(description="Of the topic; empty: the present one.", examples=[""])] = ""


MinOffset = Annotated[
    str | OffsetBody | None,
    Meta(
        description="A read token, or one record of an input topic: the answer should be at least as fresh.",
        examples=[{"topic": "product-added", "partition": 0, "offset": 41}],
    ),
]


class SearchBody(RankFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of ``POST /v1/search``: pictures, texts, products and vectors, summed by weight; or a filter alone."""

    image: PictureField | None = None
    text: TextField = None
    product_id: Annotated[
        str | None, Meta(description="Products like this one, which is not among the results.", examples=["dress-7"])
    ] = None
    vector: VectorField | None = None
    crop: Crop | None = None
    images: Annotated[
        tuple[PictureField, ...],
        Meta(max_length=PARTS_MAX, description="Further pictures, each counting as much as the first."),
    ] = ()
    text_weight: TextWeight = 0.5
    minus: MinusField = None
    minus_weight: MinusWeight = 0.5
    parts: Annotated[
        tuple[PartBody, ...],
        Meta(
            max_length=PARTS_MAX,
            description="Whatever else the query is made of, each with a weight of its own.",
            examples=[[{"product_id": "dress-7", "weight": 0.7}, {"text": "leather", "weight": -0.4}]],
        ),
    ] = ()
    regions: RegionsField = False
    filter: Annotated[
        dict[str, Any] | None,
        Meta(
            description="What must hold: values, ranges, `not`, `any` and `all`; see docs/api.md.",
            examples=[{"color": ["red", "blue"], "price": {"gte": 1, "lt": 50}}],
        ),
    ] = None
    facets: Annotated[
        tuple[str, ...],
        Meta(
            max_length=FACETS_MAX,
            description="Fields whose values are counted over all products that pass the filter.",
            examples=[["color", "price"]],
        ),
    ] = ()
    k: K = 10
    timeout_ms: TimeoutMs = None
    min_offset: MinOffset = None
    wait_ms: WaitMs = 0
    require: Require = False
    session: Session = None
    exact: Exact = False
    collapse: Collapse = False
    limited_matches: LimitedMatches = False
    partial: PartialField = "allow"


class _VectorAlone(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of most searches by vector: to look for the fields it does not have takes longer than to read it."""

    vector: list[float]
    k: K = 10


_alone = msgspec.json.Decoder(_VectorAlone)
_searches = msgspec.json.Decoder(SearchBody)


class ExplainBody(SearchBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A search by picture, text, vector, filter or nothing, and in ``product_id`` the product to account for."""


class RawParameters(RankParameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query parameters beside a raw picture in the body; the fields of SearchBody."""

    text: TextField = None
    crop: Annotated[str | None, Meta(description="As in a body, with commas.", examples=["0.1,0.1,0.8,0.8"])] = None
    text_weight: TextWeight = 0.5
    minus: MinusField = None
    minus_weight: MinusWeight = 0.5
    regions: RegionsField = False
    filter: FilterText = None
    facets: FacetNames = None
    k: K = 10
    timeout_ms: TimeoutMs = None
    min_offset: Annotated[
        str | None, Meta(description="A read token.", examples=["kZOwYzE6cHJvZHVjdC1hZGRlZK1wcm9kdWN0LWFkZGVkgQAp"])
    ] = None
    wait_ms: WaitMs = 0
    require: Require = False
    session: Session = None
    exact: Exact = False
    collapse: Collapse = False
    limited_matches: LimitedMatches = False
    partial: PartialField = "allow"


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """A checked search.

    Attributes:
        modality: the kinds of its parts, see :func:`query_api.query.parts.modality_of`.
        parts: all that its vector is made of; empty for a filter alone.
        image: the picture named ``image``, and its ``crop``; likewise ``text``, ``product_id`` and ``vector``.
        in_company: it came with others in one request.
    """

    modality: str
    parts: tuple[Part, ...] = ()
    image: bytes | None = None
    text: str | None = None
    product_id: str | None = None
    vector: Vector | None = None
    crop: Crop | None = None
    regions: bool = False
    filter: Filter | None = None
    facets: tuple[str, ...] = ()
    filter_json: str | None = None
    k: int = 10
    timeout_ms: int = TIMEOUT_MS
    token: ReadToken = ReadToken()
    wait_ms: int = 0
    require: bool = False
    session: str | None = None
    exact: bool = False
    collapse: bool = False
    limited_matches: bool = False
    forbids_partial: bool = False
    ranking: RankOptions = RankOptions()
    in_company: bool = False


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


class NoParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of a route that has none, and of a search whose body is JSON."""


def convert_parameters(parameters: Mapping[str, str], into: type[S]) -> S:
    """The struct that query parameters stand for; ``tenant`` is the caller's and none of them. Raises as above."""
    values = {name: value for name, value in parameters.items() if name != "tenant"}
    try:
        return msgspec.convert(values, into, strict=False)
    except msgspec.ValidationError as error:
        raise _explained(error, into) from None


def query_of_json(raw: bytes, settings: ApiSettings) -> Query:
    """The checked search that a body of JSON stands for; raises as :func:`decode_body` and :func:`query_of_body`."""
    try:
        alone = _alone.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return query_of_body(decode_body(raw, _searches), settings)
    _check_k(alone.k, settings)
    vector = normalise(alone.vector, settings.lane.space)
    return Query(
        modality="vector",
        parts=(Part(vector=vector),),
        vector=vector,
        k=alone.k,
        timeout_ms=settings.timeout_ms,
        ranking=RankOptions(weights=settings.rank.weights),
    )


def query_of_body(body: SearchBody, settings: ApiSettings) -> Query:
    """The checked search.

    Raises:
        InvalidQuery, InvalidVector, SpaceMismatch, InvalidProduct: what is wrong with it.
    """
    return _checked(body, image_bytes(body.image), settings)


def explained_query(body: ExplainBody, settings: ApiSettings) -> Query:
    """The search within an ExplainBody; without one, whether the product can be found at all. Raises as above."""
    asked = msgspec.structs.replace(body, product_id=None)
    if not _asks_something(asked):
        return Query(modality="filter", k=body.k, timeout_ms=body.timeout_ms or settings.timeout_ms)
    return query_of_body(asked, settings)


def listing(filter_: str | None, facets: str | None) -> Query:
    """All products that pass, as query parameters say it; raises InvalidQuery and what a filter raises."""
    filter_json = None if filter_ is None else _json_object(filter_)
    return Query(modality="filter", filter=parse_filter(filter_json) if filter_json else None, facets=_names(facets))


def query_of_picture(raw: bytes, parameters: Mapping[str, str], settings: ApiSettings) -> Query:
    """The checked search of a raw picture with query parameters; raises as :func:`query_of_body`."""
    if not raw:
        raise InvalidQuery("the body is empty; send the picture's bytes")
    given = convert_parameters(parameters, RawParameters)
    fields = msgspec.structs.asdict(given)
    fields["filter"] = None if given.filter is None else _json_object(given.filter)
    fields["crop"] = None if given.crop is None else _numbers(given.crop)
    fields["facets"] = _names(given.facets)
    return _checked(SearchBody(**fields), raw, settings)


def _asks_something(body: SearchBody) -> bool:
    return bool(body.image or body.images or body.vector is not None or body.parts or body.filter or body.text)


def _checked(body: SearchBody, image: bytes | None, settings: ApiSettings) -> Query:
    _check_k(body.k, settings)
    given = _given(body, image, settings)
    parts = weighted(given)
    if not parts and body.filter is None:
        raise InvalidQuery("say what to search for: image, text, product_id, vector or filter")
    first = {part.kind: part for part in reversed(given.seen)}
    return Query(
        modality=modality_of(parts),
        parts=parts,
        image=image,
        text=given.text,
        product_id=body.product_id,
        vector=first["vector"].vector if "vector" in first else None,
        crop=first["image"].crop if image is not None else None,
        regions=_regions(body, parts),
        filter=None if body.filter is None else parse_filter(body.filter),
        facets=tuple(dict.fromkeys(body.facets)),
        filter_json=None if body.filter is None else msgspec.json.encode(body.filter).decode(),
        k=body.k,
        timeout_ms=body.timeout_ms or settings.timeout_ms,
        token=token_of_body(body.min_offset),
        wait_ms=body.wait_ms,
        require=body.require,
        session=body.session or None,
        exact=body.exact,
        collapse=body.collapse,
        limited_matches=body.limited_matches,
        forbids_partial=body.partial == "forbid",
        ranking=options_of(body, settings.rank),
    )


def _check_k(k: int, settings: ApiSettings) -> None:
    if k > settings.limits.k_max:
        raise InvalidQuery(f"k is at most {settings.limits.k_max}")


def _given(body: SearchBody, image: bytes | None, settings: ApiSettings) -> Given:
    limits, space = settings.limits, settings.lane.space
    crop = checked_crop(body.crop, image)
    seen = [] if image is None else [Part(image=image, crop=crop)]
    seen += [Part(image=image_bytes(each)) for each in body.images]
    if body.product_id is not None:
        seen.append(Part(product_id=product_key("any", body.product_id).product_id))
    if body.vector is not None:
        seen.append(Part(vector=checked_vector(body.vector, space)))
    has_text = body.text is not None and body.text.strip()
    return Given(
        seen=seen,
        text=checked_text(body.text, limits, "text") if body.text is not None and has_text else None,
        text_weight=body.text_weight,
        minus=None if body.minus is None else checked_text(body.minus, limits, "minus"),
        minus_weight=body.minus_weight,
        parts=[checked_part(part, space, limits) for part in body.parts],
    )


def _regions(body: SearchBody, parts: tuple[Part, ...]) -> bool:
    """Whether objects are looked for; raises InvalidQuery unless there is one whole picture to look in."""
    pictures = [part for part in parts if part.kind == "image"]
    if body.regions and (len(pictures) != 1 or pictures[0].crop is not None):
        raise InvalidQuery("regions needs one picture without crop")
    return body.regions


def token_of_body(given: str | OffsetBody | None) -> ReadToken:
    """The read token of either form of ``min_offset``; raises InvalidQuery."""
    if given is None:
        return ReadToken()
    if isinstance(given, str):
        return decode_token(given)
    return ReadToken((Position(given.log_id, given.topic, given.partition, given.offset),))


def _json_object(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidQuery(f"filter is a JSON object: {error}") from None


def _names(text: str | None) -> tuple[str, ...]:
    names = tuple(name.strip() for name in (text or "").split(",") if name.strip())
    if len(names) > FACETS_MAX:
        raise InvalidQuery(f"facets names at most {FACETS_MAX} fields")
    return names


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
