"""What a filter can name: the fields every product may have, and the kinds of values. A field may have several."""

from enum import Enum

from schemas.events import AttributeValue


class Kind(Enum):
    """What a value is compared with; integers and floats are one kind, a list of strings is of kind string."""

    BOOLEAN = "boolean"
    NUMBER = "number"
    STRING = "string"


PRODUCT_ID = "product_id"
BUILT_IN = {
    "title": Kind.STRING,
    "price": Kind.NUMBER,
    "currency": Kind.STRING,
    "stock": Kind.NUMBER,
    "in_stock": Kind.BOOLEAN,
    PRODUCT_ID: Kind.STRING,
}
"""These hide attributes of the same name, and have one kind each."""


def kind_of(value: AttributeValue) -> Kind:
    """The kind of one value."""
    if isinstance(value, bool):
        return Kind.BOOLEAN
    return Kind.NUMBER if isinstance(value, int | float) else Kind.STRING
