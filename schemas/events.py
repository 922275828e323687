"""What catalogues publish: the frozen types of product-added, product-deleted, product-retry and dead-letters."""

from typing import TypeAlias

import msgspec

AttributeValue: TypeAlias = bool | int | float | str | tuple[str, ...]
"""The JSON types an attribute keeps: boolean, integer, number, string, or a list of strings."""

Attributes: TypeAlias = dict[str, AttributeValue]


class Picture(msgspec.Struct, frozen=True):
    """One picture: exactly one of ``uri`` and ``inline`` (its bytes)."""

    uri: str | None = None
    inline: bytes | None = None


class GivenVector(msgspec.Struct, frozen=True):
    """A view that carries its embedding; ``space`` empty means the lane's."""

    space: str
    values: tuple[float, ...]


class Content(msgspec.Struct, frozen=True):
    """Text, attributes and views of a product, always whole."""

    title: str | None = None
    description: str | None = None
    attributes: Attributes = {}
    pictures: tuple[Picture, ...] = ()
    videos: tuple[str, ...] = ()
    vectors: tuple[GivenVector, ...] = ()


class Offer(msgspec.Struct, frozen=True):
    """What changes often, always whole. ``in_stock`` absent means: stock absent or > 0."""

    price: float | None = None
    currency: str | None = None
    stock: int | None = None
    in_stock: bool | None = None
    attributes: Attributes = {}


class ProductAdded(msgspec.Struct, frozen=True):
    """A product appeared or changed; an absent group means unchanged."""

    tenant: str
    product_id: str
    version: int | None = None
    event_time: int | None = None
    content: Content | None = None
    offer: Offer | None = None


class ProductDeleted(msgspec.Struct, frozen=True):
    """A product is gone."""

    tenant: str
    product_id: str
    version: int | None = None
    reason: str | None = None
    event_time: int | None = None


class Source(msgspec.Struct, frozen=True):
    """The input record something came from; ``appended_at`` in milliseconds of the broker's clock."""

    topic: str
    partition: int
    offset: int
    appended_at: int


class ProductRetry(msgspec.Struct, frozen=True):
    """An event to be tried again: its framed bytes, its first source, and its version as resolved the first time."""

    event: bytes
    source: Source
    version: int
    sequence: int
    attempts: int
    not_before: int


class DeadLetter(msgspec.Struct, frozen=True):
    """A record that could not be processed, whole, with the reason."""

    code: str
    reason: str
    source: Source
    key: bytes | None
    value: bytes | None
    value_hash: bytes
    attempts: int
    failed_at: int
    stored_at: str | None = None
    version: int | None = None
    sequence: int | None = None
