"""Which product a number stands for: deterministic, any of them at once, no two alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import gcd

import numpy as np

from freshlens.catalogue.kinds import KINDS, Kind
from freshlens.catalogue.palette import (
    COLOUR_NAMES,
    PATTERN_NAMES,
    PATTERNS,
    SECOND_COLOURS_PER_COLOUR,
    second_colour,
)

_BRANDS = (
    "Alder & Finch", "Norrvik", "Casa Lumo", "Tidewell", "Marlo", "Ostra", "Kestrel Row", "Bluebird Works",
    "Halden", "Pine & Paper", "Sorrel", "Vantu",
)  # fmt: skip
_PATTERNED = len(COLOUR_NAMES) * len(PATTERN_NAMES) * SECOND_COLOURS_PER_COLOUR
_PLAIN_EVERY = 3


@dataclass(frozen=True)
class Product:
    """One drawn product. `style` names its shape; `look` seeds its proportions and its pattern's details."""

    number: int
    product_id: str
    title: str
    description: str
    category: str
    colour: str
    second_colour: str
    pattern: str
    material: str
    brand: str
    price: float
    currency: str
    stock: int
    look: int
    style: dict[str, str] = field(hash=False)

    @property
    def kind(self) -> Kind:
        """The kind that draws it."""
        return KINDS[self.number % len(KINDS)]


def product(number: int, seed: int = 7) -> Product:
    """Product `number` (0 or more) of the catalogue that `seed` stands for.

    Every third product of a kind is plain until plain ones run out. No two of the first 90,000 share
    category, shape, colours and pattern.
    """
    kind = KINDS[number % len(KINDS)]
    look = seed * 1_000_003 + number
    salt = (seed * 31 + number % len(KINDS)) * 2_654_435_761
    shape, colour, second, pattern = _choice(kind, number // len(KINDS), salt)
    style = kind.style(shape)
    rng = np.random.default_rng(look)
    material = str(rng.choice(kind.materials))
    title = _title(kind, style, colour, second, pattern)
    return Product(
        number=number,
        product_id=f"demo-{number:06d}",
        title=title,
        description=_description(title, material, colour, second, pattern),
        category=kind.category,
        colour=colour,
        second_colour=second,
        pattern=pattern,
        material=material,
        brand=str(rng.choice(_BRANDS)),
        price=_price(kind, rng.beta(1.6, 3.2)),
        currency="EUR",
        stock=0 if rng.random() < 0.06 else int(rng.integers(1, 120)),
        look=look,
        style=style,
    )


def _choice(kind: Kind, nth: int, salt: int) -> tuple[int, str, str, str]:
    plain_total = kind.shapes * len(COLOUR_NAMES)
    plain_before = min(-(-nth // _PLAIN_EVERY), plain_total)
    if nth % _PLAIN_EVERY == 0 and nth // _PLAIN_EVERY < plain_total:
        shape, rest = divmod(_shuffled(nth // _PLAIN_EVERY, plain_total, salt), len(COLOUR_NAMES))
        colour = COLOUR_NAMES[rest]
        return shape, colour, second_colour(colour, (shape + rest) % SECOND_COLOURS_PER_COLOUR), "plain"
    shape, rest = divmod(_shuffled(nth - plain_before, kind.shapes * _PATTERNED, salt), _PATTERNED)
    rest, which_colour = divmod(rest, len(COLOUR_NAMES))
    which_second, which_pattern = divmod(rest, len(PATTERN_NAMES))
    colour = COLOUR_NAMES[which_colour]
    return shape, colour, second_colour(colour, which_second), PATTERN_NAMES[which_pattern]


def _shuffled(place: int, total: int, salt: int) -> int:
    """A permutation of 0 to `total` - 1 that jumps by the golden ratio, so neighbours differ in everything."""
    stride = max(1, round(total * 0.6180339887))
    while gcd(stride, total) != 1:
        stride += 1
    return (place * stride + salt) % total


def _title(kind: Kind, style: dict[str, str], colour: str, second: str, pattern: str) -> str:
    shape = kind.title.format(**style)
    words = f"{colour} {shape}" if pattern == "plain" else f"{pattern} {colour} and {second} {shape}"
    return words[0].upper() + words[1:]


def _description(title: str, material: str, colour: str, second: str, pattern: str) -> str:
    look = (
        f"plain {colour} with {second} details"
        if pattern == "plain"
        else f"{colour} with {PATTERNS[pattern]} in {second}"
    )
    return f"{title} made of {material}. {look[0].upper()}{look[1:]}."


def _price(kind: Kind, place: float) -> float:
    amount = kind.price_low + (kind.price_high - kind.price_low) * place
    return float(round(amount)) - 0.05 if amount < 100 else float(round(amount / 5) * 5)
