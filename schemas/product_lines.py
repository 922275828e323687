"""The JSON form of a product (DESIGN 13, "Keys of a product"), shared by the command, the API and back-fills."""

import base64
import binascii
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

from schemas.errors import InvalidProduct
from schemas.events import Attributes, AttributeValue, Content, GivenVector, Offer, Picture, ProductAdded
from schemas.identity import product_key

IDENTITY_KEYS = frozenset({"product_id", "version", "event_time"})
OFFER_KEYS = frozenset({"price", "currency", "stock", "in_stock"})
VIEW_KEYS = frozenset({"image", "images", "videos", "vector", "vectors"})
ATTRIBUTES_MAX = 128
NAME_CHARS_MAX = 256
"""Of an attribute."""
TEXT_CHARS_MAX = 20_000
_INT64 = 2**63

LocatePicture = Callable[[str], Picture]
"""Turns a path or URI of a line into a picture; the caller knows what a path is relative to."""


def product_added(
    line: Mapping[str, Any], *, tenant: str, volatile: frozenset[str] = frozenset(), locate: LocatePicture
) -> ProductAdded:
    """The event that one JSON line stands for.

    Args:
        line: a decoded JSON object with the keys of DESIGN 13.
        tenant: whose product it is.
        volatile: the tenant's declared volatile attributes, part of the offer group.
        locate: turns a picture's path or URI into a Picture.

    Raises:
        InvalidProduct: any rule is broken; the message names the key.
    """
    if not isinstance(line, Mapping):
        raise InvalidProduct("a product is a JSON object")
    key = product_key(tenant, _text(line, "product_id", required=True) or "")
    offer_keys = {name for name in line if name in OFFER_KEYS or name in volatile}
    content_keys = set(line) - IDENTITY_KEYS - offer_keys
    if not content_keys and not offer_keys:
        raise InvalidProduct(f"{key}: neither content nor offer: nothing would change", code="empty-event")
    return ProductAdded(
        tenant=key.tenant,
        product_id=key.product_id,
        version=_integer(line, "version"),
        event_time=_integer(line, "event_time"),
        content=_content(line, content_keys, locate) if content_keys else None,
        offer=_offer(line, offer_keys) if offer_keys else None,
    )


def _content(line: Mapping[str, Any], keys: set[str], locate: LocatePicture) -> Content:
    if not keys & VIEW_KEYS:
        raise InvalidProduct(
            f"{line.get('product_id')}: content is always sent whole, and this line has no picture, video or vector; "
            'send one, or "images": [] to say that there is none',
            code="content-without-view",
        )
    names = keys - VIEW_KEYS - {"title", "description"}
    return Content(
        title=_text(line, "title"),
        description=_text(line, "description"),
        attributes=_attributes(line, names),
        pictures=tuple(_picture(entry, locate) for entry in _entries(line, "image", "images")),
        videos=tuple(_video(entry, locate) for entry in _list(line, "videos")),
        vectors=tuple(_vector(entry) for entry in _vector_entries(line)),
    )


def _offer(line: Mapping[str, Any], keys: set[str]) -> Offer:
    price = line.get("price")
    if price is not None and not (_is_finite(price) and price >= 0):
        raise InvalidProduct(f"price must be a number of 0 or more, not {str(price)[:40]}")
    in_stock = line.get("in_stock")
    if in_stock is not None and not isinstance(in_stock, bool):
        raise InvalidProduct(f"in_stock must be true or false, not {in_stock!r}")
    return Offer(
        price=None if price is None else float(price),
        currency=_text(line, "currency"),
        stock=_integer(line, "stock"),
        in_stock=in_stock,
        attributes=_attributes(line, keys - OFFER_KEYS),
    )


def _attributes(line: Mapping[str, Any], names: set[str]) -> Attributes:
    if len(names) > ATTRIBUTES_MAX:
        raise InvalidProduct(f"{len(names)} attributes, at most {ATTRIBUTES_MAX} are allowed", code="invalid-attribute")
    if any(len(name) > NAME_CHARS_MAX for name in names):
        raise InvalidProduct(f"an attribute's name has at most {NAME_CHARS_MAX} characters", code="invalid-attribute")
    values = ((name, line[name]) for name in sorted(names))
    return {name: attribute_value(name, value) for name, value in values if value is not None}


def attribute_value(name: str, value: Any) -> AttributeValue:
    """The value of an attribute in its JSON type; a list must be of strings.

    Raises:
        InvalidProduct: ``invalid-attribute``.
    """
    if isinstance(value, str) and len(value) <= TEXT_CHARS_MAX:
        return value
    if isinstance(value, bool) or (isinstance(value, int) and -_INT64 <= value < _INT64):
        return value
    if isinstance(value, float) and value - value == 0:  # neither infinite nor NaN
        return value
    if (
        isinstance(value, list)
        and len(value) <= 256
        and all(isinstance(entry, str) for entry in value)
        and sum(map(len, value)) <= TEXT_CHARS_MAX
    ):
        return tuple(value)
    raise InvalidProduct(
        f"attribute {name!r} must be a boolean, a 64-bit integer, a number, a string or a list of strings",
        code="invalid-attribute",
    )


def _picture(entry: Any, locate: LocatePicture) -> Picture:
    if isinstance(entry, str):
        return Picture(inline=decode_base64(entry)) if _DATA_URL.match(entry) else locate(entry)
    if isinstance(entry, Mapping) and set(entry) == {"base64"}:
        return Picture(inline=decode_base64(entry["base64"]))
    if isinstance(entry, Mapping) and set(entry) == {"uri"} and isinstance(entry["uri"], str):
        return locate(entry["uri"])
    raise InvalidProduct('a picture is a path, a URI, a data: URL, {"uri": "…"} or {"base64": "…"}')


def _video(entry: Any, locate: LocatePicture) -> str:
    """The address of a video, which is subject to the rules of the addresses of pictures."""
    uri = locate(_string(entry, "videos")).uri
    if uri is None:
        raise InvalidProduct(f"{entry!r}: a video is an address, as https://…")
    return uri


_DATA_URL = re.compile(r"data:[\w.+-]+/[\w.+-]+;base64,")


def decode_base64(text: Any) -> bytes:
    """The bytes of base64 text, with or without a ``data:`` prefix; raises InvalidProduct."""
    if not isinstance(text, str):
        raise InvalidProduct("base64 must be a string")
    try:
        return base64.b64decode(_DATA_URL.sub("", text, count=1), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidProduct("the base64 of a picture does not decode") from None


def _vector(entry: Any) -> GivenVector:
    space, values = "", entry
    if isinstance(entry, Mapping):
        space, values = entry.get("space", ""), entry.get("values")
    if not (isinstance(values, list) and all(map(_is_finite, values)) and isinstance(space, str)):
        raise InvalidProduct('a vector is a list of finite numbers, or {"space": "…", "values": […]}')
    return GivenVector(space, tuple(map(float, values)))


def _is_finite(value: Any) -> bool:
    """Whether it is a number that a double can hold; JSON's integers have no end."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) <= sys.float_info.max


def _entries(line: Mapping[str, Any], one: str, many: str) -> list[Any]:
    if line.get(one) is not None and line.get(many) is not None:
        raise InvalidProduct(f"give either {one!r} or {many!r}, not both")
    return [line[one]] if line.get(one) is not None else _list(line, many)


def _vector_entries(line: Mapping[str, Any]) -> list[Any]:
    return _entries(line, "vector", "vectors")


def _list(line: Mapping[str, Any], name: str) -> list[Any]:
    value = line.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidProduct(f"{name!r} must be a list")
    return value


def _string(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise InvalidProduct(f"{name!r} must hold strings")
    return value


def _text(line: Mapping[str, Any], name: str, *, required: bool = False) -> str | None:
    value = line.get(name)
    if value is None and not required:
        return None
    if not isinstance(value, str) or len(value) > TEXT_CHARS_MAX:
        raise InvalidProduct(f"{name!r} must be a string of at most {TEXT_CHARS_MAX} characters")
    return value


def _integer(line: Mapping[str, Any], name: str) -> int | None:
    value = line.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not -_INT64 <= value < _INT64:
        raise InvalidProduct(f"{name!r} must be a 64-bit integer")
    return value
