"""What a product-added event means for the index: validated, its version resolved, its views planned. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TypeAlias

from schemas.embeddings import Space, normalise, to_fp16
from schemas.errors import InvalidProduct, UndecodableRecord
from schemas.events import Attributes, Content, Offer, Picture, ProductAdded, Source
from schemas.framing import PRODUCT_ADDED, SchemaRegistry
from schemas.hashing import content_hash, group_digest, view_hash
from schemas.identity import ProductKey, check_record_key, product_key
from schemas.index_log import VIEWS_MAX, IndexedContent, IndexedOffer, IndexedView, IndexLogRecord
from schemas.join import Rank
from schemas.product_lines import ATTRIBUTES_MAX, NAME_CHARS_MAX, TEXT_CHARS_MAX
from schemas.tenants import TenantDeclaration
from schemas.versions import ResolvedVersion, resolve

DeclarationOf = Callable[[str], TenantDeclaration]
URI_CHARS_MAX = 4_096
TELLING = ("brand", "category", "product_type", "type", "color", "colour", "material", "pattern", "style", "gender")
"""Attributes whose values a text view holds, the most telling first."""
DESCRIPTION_CHARS_MAX = 1_000
"""More than the context of any encoder we know holds."""
REVISION_VIEWS = 1 << 16
"""revision = processing epoch * this + usable views."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """An event that passed every check, with its version resolved once and for all."""

    key: ProductKey
    source: Source
    event: ProductAdded
    resolved: ResolvedVersion


@dataclass(frozen=True, slots=True)
class PictureView:
    """A picture to fetch, decode and encode."""

    picture: Picture


@dataclass(frozen=True, slots=True)
class VectorView:
    """A vector that came with the event: dim little-endian float16 of unit norm."""

    vector: bytes


@dataclass(frozen=True, slots=True)
class TextView:
    """A text to encode, for a product without pictures."""

    text: str


@dataclass(frozen=True, slots=True)
class VideoView:
    """A video to fetch; its key frames become views of kind ``frame``."""

    uri: str


PlannedView: TypeAlias = PictureView | VectorView | TextView | VideoView


@dataclass(frozen=True, slots=True)
class ReadyView:
    """A view with its vector. ``content`` is what the view hash covers: content hash, text, or vector bytes.

    Of a frame, ``frame`` tells it from the others of its video, and ``timestamp_ms`` is where it lies there.
    """

    kind: str
    content: bytes
    vector: bytes
    content_hash: bytes | None = None
    phash: bytes | None = None
    uri: str | None = None
    frame: int = 0
    timestamp_ms: int | None = None
    flags: tuple[str, ...] = ()


def read(
    raw_key: bytes | None,
    raw: bytes | None,
    source: Source,
    declaration_of: DeclarationOf,
    registry: SchemaRegistry | None = None,
) -> Incoming:
    """Decode and check one record of product-added.

    Raises:
        InvalidRecord: with the code that says why. Dead-letter it.
    """
    if raw is None:
        raise UndecodableRecord("the record has no value")
    event = PRODUCT_ADDED.decode(raw, ProductAdded, registry)
    key = product_key(event.tenant, event.product_id)
    check_record_key(raw_key, key)
    declaration = declaration_of(key.tenant)
    check_event(event, declaration)
    resolved = resolve(declaration.versions, event.version, appended_at_ms=source.appended_at, offset=source.offset)
    return Incoming(key, source, event, resolved)


def check_event(event: ProductAdded, declaration: TenantDeclaration) -> None:
    """Do nothing if the event keeps every limit; raises InvalidProduct."""
    if event.content is None and event.offer is None:
        raise InvalidProduct("neither content nor offer: nothing would change", code="empty-event")
    if event.content is not None:
        _check_content(event.content, declaration)
    if event.offer is not None:
        _check_offer(event.offer, declaration)


def plan_views(content: Content, space: Space, *, can_encode: bool) -> tuple[PlannedView, ...]:
    """The views of a product, pictures first, videos last; a text of its own where there is nothing of these.

    At most VIEWS_MAX: further ones are left out. A video counts as one here; its frames are cut when they are there.

    Raises:
        SpaceMismatch, InvalidVector: a given vector cannot be of this lane. Dead-letter the record.
    """
    views: list[PlannedView] = [PictureView(picture) for picture in content.pictures[:VIEWS_MAX]]
    for given in content.vectors[: VIEWS_MAX - len(views)]:
        views.append(VectorView(to_fp16(normalise(given.values, space, space_name=given.space))))
    views += [VideoView(uri) for uri in content.videos[: VIEWS_MAX - len(views)]]
    if not views and content.title and can_encode:
        views.append(TextView(text_of(content)))
    return tuple(views)


def text_of(content: Content) -> str:
    """What a product says of itself, the telling first: an encoder sees the beginning and cuts the rest.

    Title, then brand, category and the like in the order of TELLING, then the description, of which only the beginning
    can matter. What the title says already is not said again.
    """
    said = [content.title or ""]
    for name in TELLING:
        value = content.attributes.get(name)
        for word in (value,) if isinstance(value, str) else value if isinstance(value, tuple) else ():
            if word.lower() not in " ".join(said).lower():
                said.append(word)
    said.append((content.description or "")[:DESCRIPTION_CHARS_MAX])
    return ", ".join(part for part in said if part)


def views_left_out(content: Content) -> int:
    """How many views are beyond VIEWS_MAX."""
    return max(0, len(content.pictures) + len(content.vectors) + len(content.videos) - VIEWS_MAX)


def index_record(
    incoming: Incoming,
    views: Sequence[ReadyView] | None,
    *,
    space: Space,
    epoch: int,
    decode_version: int,
    with_offer: bool = True,
    agreement: float | None = None,
) -> IndexLogRecord | None:
    """The record for index-log, or None if there would be nothing in it.

    Args:
        views: the usable views; None: none of them is there yet, so the content group waits.
        with_offer: False where the offer was emitted before.
        agreement: how well pictures and text agree; None: not looked at. It decides nothing between two records.
    """
    event, content, offer = incoming.event, None, None
    if event.content is not None and views is not None:
        content = _content(incoming, event.content, views, space, epoch, decode_version, agreement)
    if event.offer is not None and with_offer:
        offer = _offer(incoming, event.offer)
    if content is None and offer is None:
        return None
    return IndexLogRecord(incoming.key.tenant, incoming.key.product_id, incoming.source, content, offer)


def _content(
    incoming: Incoming,
    content: Content,
    views: Sequence[ReadyView],
    space: Space,
    epoch: int,
    decode_version: int,
    agreement: float | None,
) -> IndexedContent:
    indexed = tuple(_indexed(view, epoch, decode_version) for view in views)
    fields = {
        "title": content.title,
        "description": content.description,
        "attributes": content.attributes,
        "videos": content.videos,
        "views": [(view.view_hash, view.uri) for view in indexed],
    }
    version, sequence = incoming.resolved
    return IndexedContent(
        rank=Rank(version, sequence, epoch * REVISION_VIEWS + len(indexed), group_digest(fields)),
        space=space.name,
        title=content.title,
        description=content.description,
        attributes=content.attributes,
        views=indexed,
        dup_group=_dup_group(views),
        agreement=agreement,
    )


def _indexed(view: ReadyView, epoch: int, decode_version: int) -> IndexedView:
    return IndexedView(
        view_hash=view_hash(view.kind, view.content, frame=view.frame, decode_version=decode_version, epoch=epoch),
        kind=view.kind,
        vector=view.vector,
        content_hash=view.content_hash,
        phash=view.phash,
        uri=view.uri,
        timestamp_ms=view.timestamp_ms,
        flags=view.flags,
    )


def _dup_group(views: Sequence[ReadyView]) -> bytes:
    first_hash = next((view.phash for view in views if view.phash is not None), None)
    if first_hash is not None:
        return first_hash
    return content_hash(views[0].content) if views else b""


def _offer(incoming: Incoming, offer: Offer) -> IndexedOffer:
    version, sequence = incoming.resolved
    return IndexedOffer(
        rank=Rank(version, sequence, 0, group_digest(offer)),
        price=offer.price,
        currency=offer.currency,
        stock=offer.stock,
        in_stock=offer.in_stock,
        attributes=offer.attributes,
    )


def _check_content(content: Content, declaration: TenantDeclaration) -> None:
    for name, text in (("title", content.title), ("description", content.description)):
        if text is not None and len(text) > TEXT_CHARS_MAX:
            raise InvalidProduct(f"{name} has {len(text)} characters, at most {TEXT_CHARS_MAX} are allowed")
    for picture in content.pictures:
        if (picture.uri is None) == (picture.inline is None):
            raise InvalidProduct("a picture has either a uri or its bytes inline")
        _check_uri(picture.uri or "")
    for video in content.videos:
        _check_uri(video)
    _check_attributes(content.attributes, declaration)


def _check_uri(uri: str) -> None:
    if len(uri) > URI_CHARS_MAX:
        raise InvalidProduct(f"a uri has {len(uri)} characters, at most {URI_CHARS_MAX} are allowed")


def _check_offer(offer: Offer, declaration: TenantDeclaration) -> None:
    if offer.price is not None and not (isfinite(offer.price) and offer.price >= 0):
        raise InvalidProduct(f"price {offer.price} is not a number of 0 or more")
    if offer.currency is not None and len(offer.currency) > 16:
        raise InvalidProduct("currency has more than 16 characters")
    _check_attributes(offer.attributes, declaration)


_TYPES = {
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "string": lambda value: isinstance(value, str),
    "strings": lambda value: isinstance(value, tuple),
}


def _check_attributes(attributes: Attributes, declaration: TenantDeclaration) -> None:
    if len(attributes) > ATTRIBUTES_MAX:
        raise _invalid_attribute(f"{len(attributes)} attributes, at most {ATTRIBUTES_MAX} are allowed")
    for name, value in attributes.items():
        if not name or len(name) > NAME_CHARS_MAX:
            raise _invalid_attribute("the name of an attribute has 1 to 256 characters")
        if isinstance(value, float) and not isfinite(value):
            raise _invalid_attribute(f"attribute {name!r} is not finite")
        if isinstance(value, str | tuple) and sum(map(len, value)) > TEXT_CHARS_MAX:
            raise _invalid_attribute(f"attribute {name!r} is longer than {TEXT_CHARS_MAX} characters")
        declared = declaration.attributes.get(name)
        if declared is not None and not _TYPES[declared](value):
            raise _invalid_attribute(f"attribute {name!r} is declared as {declared}, and this is {value!r:.80}")


def _invalid_attribute(message: str) -> InvalidProduct:
    return InvalidProduct(message, code="invalid-attribute")
