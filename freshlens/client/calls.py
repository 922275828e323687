"""What can be asked of the query API: a pure function for each route, from which both clients have their methods.

Pictures are bytes or paths. What is None or left out is not sent. docs/api.md says what every field means.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, Generic, Literal, NotRequired, TypeAlias, TypedDict, TypeVar, Unpack, cast
from urllib.parse import quote

import msgspec

from schemas.answers import (
    BatchAnswer,
    DeleteAnswer,
    Explanation,
    FeedbackAnswer,
    LookupAnswer,
    ProductAnswer,
    ProductPage,
    PublishAnswer,
    QualityAnswer,
    RegionBoxes,
    SearchAnswer,
    StatusAnswer,
)
from schemas.feedback import FeedbackKind

T = TypeVar("T")
Json: TypeAlias = dict[str, Any]
Picture: TypeAlias = bytes | str | PathLike[str]
"""Its bytes, or the path of its file."""
Crop: TypeAlias = tuple[float, float, float, float]
"""Left, top, width and height as shares of the upright picture, 0 to 1."""


class SpacedVector(TypedDict):
    """A vector that names its embedding space."""

    values: Iterable[float]
    space: NotRequired[str]


Vector: TypeAlias = Iterable[float] | SpacedVector
"""(dim,) numbers of the lane's embedding space; need not be of unit norm."""


class Record(TypedDict):
    """A record of an input topic, as its producer was told."""

    topic: str
    partition: int
    offset: int
    log_id: NotRequired[str]


class Part(TypedDict, total=False):
    """One thing to search for: exactly one of image, text, product_id and vector; weight -1 to 1, by default 1."""

    image: Picture
    crop: Crop
    text: str
    product_id: str
    vector: Vector
    weight: float


class Query(TypedDict, total=False):
    """The fields of a search, except for the product to search by."""

    image: Picture | None
    images: Sequence[Picture]
    crop: Crop | None
    text: str | None
    text_weight: float
    minus: str | None
    minus_weight: float
    vector: Vector | None
    parts: Sequence[Part]
    regions: bool
    filter: Mapping[str, Any] | None
    facets: Sequence[str]
    k: int
    timeout_ms: int | None
    min_offset: str | Record | None
    wait_ms: int
    require: bool
    session: str | None
    exact: bool
    collapse: bool
    limited_matches: bool
    partial: Literal["allow", "forbid"]
    mode: Literal["exact", "similar"] | None
    diversity: float | None
    weights: Mapping[str, float] | None
    prefer: Mapping[str, Any] | None
    verify: bool | None
    personalise: bool
    explain: bool


class Search(Query, total=False):
    """The fields of a search."""

    product_id: str | None


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request, and the type of its answer.

    Attributes:
        body: what its JSON stands for; None: no body.
        is_repeatable: twice is as good as once, so that it is sent again when the connection breaks.
    """

    method: str
    path: str
    answer: type[T]
    body: Any = None
    query: Mapping[str, str] = field(default_factory=dict)
    is_repeatable: bool = True


def search(**fields: Unpack[Search]) -> Call[SearchAnswer]:
    """Search by picture, text, product, vector, filter, or several of them."""
    return Call("POST", "/v1/search", SearchAnswer, _body(fields))


def search_batch(searches: Sequence[Search]) -> Call[BatchAnswer]:
    """Up to 64 searches at once; each is answered as if it were alone, in the order asked."""
    return Call("POST", "/v1/search/batch", BatchAnswer, {"searches": [_body(each) for each in searches]})


def similar(
    product_id: str,
    *,
    k: int = 10,
    filter: Mapping[str, Any] | None = None,
    timeout_ms: int | None = None,
    session: str | None = None,
) -> Call[SearchAnswer]:
    """Products like this one."""
    query = _query(k=k, filter=filter, timeout_ms=timeout_ms, session=session)
    return Call("GET", f"{_product_path(product_id)}/similar", SearchAnswer, query=query)


def regions(image: Picture) -> Call[RegionBoxes]:
    """Where objects may be in a picture."""
    return Call("POST", "/v1/regions", RegionBoxes, {"image": _picture(image)})


def explain(product_id: str, **query: Unpack[Query]) -> Call[Explanation]:
    """Why a product is where it is in the answer to a search."""
    return Call("POST", "/v1/explain", Explanation, {**_body(query), "product_id": product_id})


def why_not(product_id: str, **query: Unpack[Query]) -> Call[Explanation]:
    """Why a product is not in the answer to a search, and what would bring it in."""
    return Call("POST", "/v1/why-not", Explanation, {**_body(query), "product_id": product_id})


def feedback(
    query_id: str,
    product_id: str,
    position: int,
    kind: FeedbackKind = "click",
    *,
    dwell_ms: int | None = None,
    session: str | None = None,
) -> Call[FeedbackAnswer]:
    """Tell what a shopper did with a result; ``query_id`` and ``position`` are those of the answer."""
    body = {"query_id": query_id, "product_id": product_id, "position": position, "kind": kind}
    extra = {"dwell_ms": dwell_ms, "session": session}
    return Call("POST", "/v1/feedback", FeedbackAnswer, body | _given(extra), is_repeatable=False)


def publish(products: Mapping[str, Any] | Sequence[Mapping[str, Any]], *, hot: bool = False) -> Call[PublishAnswer]:
    """Publish one product or up to 1,000; search with the answer's ``read_token`` as ``min_offset`` to find them.

    ``image`` and ``images`` may be bytes or paths beside what docs/api.md has; text is an address. ``hot``: ahead of
    everything that is queued, for a few products that cannot wait.
    """
    lines = [products] if isinstance(products, Mapping) else products
    body = [_line(line) for line in lines]
    # Sent twice without a version it would be two versions, and win over what was published between them.
    has_versions = all(line.get("version") is not None for line in lines)
    query = _query(hot=True if hot else None)
    return Call("POST", "/v1/products", PublishAnswer, body, query=query, is_repeatable=has_versions)


def delete(product_id: str, version: int | None = None) -> Call[DeleteAnswer]:
    """Delete a product; without a version as of now."""
    # Sent twice without a version, it would also delete what was published in between.
    query = _query(version=version)
    return Call("DELETE", _product_path(product_id), DeleteAnswer, query=query, is_repeatable=version is not None)


def product(product_id: str) -> Call[ProductAnswer]:
    """One product as it can be found now."""
    return Call("GET", _product_path(product_id), ProductAnswer)


def products(
    *, limit: int = 50, offset: int = 0, filter: Mapping[str, Any] | None = None, facets: Sequence[str] = ()
) -> Call[ProductPage]:
    """A page of the newest 1,000 products, newest first."""
    query = _query(limit=limit, offset=offset, filter=filter, facets=",".join(facets) or None)
    return Call("GET", "/v1/products", ProductPage, query=query)


def lookup(
    product_ids: Sequence[str], *, min_offset: str | Record | None = None, wait_ms: int = 0
) -> Call[LookupAnswer]:
    """Up to 1,000 products by id, deleted ones included."""
    body = {"product_ids": list(product_ids), "wait_ms": wait_ms, **_given({"min_offset": min_offset})}
    return Call("POST", "/v1/products/lookup", LookupAnswer, body)


def thumbnail(path: str) -> Call[bytes]:
    """The JPEG of a result's ``thumbnail``."""
    return Call("GET", path, bytes)


def status() -> Call[StatusAnswer]:
    """Nodes, freshness, products."""
    return Call("GET", "/v1/status", StatusAnswer)


def search_quality(windows: int = 60) -> Call[QualityAnswer]:
    """The newest windows of clicks by position, zero results and conversion; needs the scope ``admin``."""
    return Call("GET", "/v1/search-quality", QualityAnswer, query=_query(windows=windows))


def _body(fields: Search | Query | Part) -> Json:
    body = _given(cast("Json", fields))
    if "image" in body:
        body["image"] = _picture(body["image"])
    if "images" in body:
        body["images"] = [_picture(each) for each in body["images"]]
    if "vector" in body:
        body["vector"] = _vector(body["vector"])
    if "parts" in body:
        body["parts"] = [_body(part) for part in body["parts"]]
    return body


def _picture(picture: Picture) -> Json:
    return {"base64": picture if isinstance(picture, bytes) else Path(picture).read_bytes()}


def _vector(vector: Vector) -> Any:
    if isinstance(vector, Mapping):
        return {**vector, "values": [float(value) for value in vector["values"]]}
    return [float(value) for value in vector]


def _line(product: Mapping[str, Any]) -> Json:
    def located(entry: Any) -> Any:
        return _picture(entry) if isinstance(entry, bytes | PathLike) else entry

    line = dict(product)
    if "image" in line:
        line["image"] = located(line["image"])
    if isinstance(line.get("images"), Sequence):
        line["images"] = [located(entry) for entry in line["images"]]
    if line.get("vector") is not None:
        line["vector"] = _vector(line["vector"])
    if line.get("vectors") is not None:
        line["vectors"] = [_vector(vector) for vector in line["vectors"]]
    return line


def _given(fields: Mapping[str, Any]) -> Json:
    return {name: value for name, value in fields.items() if value is not None}


def _query(**fields: Any) -> dict[str, str]:
    """Query parameters: text as it is, everything else in its JSON form."""
    given = _given(fields)
    return {name: text if isinstance(text, str) else msgspec.json.encode(text).decode() for name, text in given.items()}


def _product_path(product_id: str) -> str:
    return f"/v1/products/{quote(product_id, safe='')}"
