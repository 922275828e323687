"""The kinds of products: their named options, materials and prices, and the function that draws each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from freshlens.catalogue import clothes, things
from freshlens.catalogue.clothes import Style, Vary
from freshlens.catalogue.geometry import Part


@dataclass(frozen=True)
class Kind:
    """One category. `options` maps the name of a choice to its values, `title` puts them in words."""

    category: str
    title: str
    options: dict[str, tuple[str, ...]]
    materials: tuple[str, ...]
    price_low: float
    price_high: float
    draw: Callable[[Style, Vary], list[Part]]
    standing: bool = True

    @property
    def shapes(self) -> int:
        """How many combinations of options there are."""
        return prod(len(values) for values in self.options.values())

    def style(self, shape: int) -> dict[str, str]:
        """The options of combination number `shape` (0 to `shapes` - 1)."""
        chosen = {}
        for name, values in self.options.items():
            shape, place = divmod(shape, len(values))
            chosen[name] = values[place]
        return chosen


_FABRICS = ("cotton", "linen", "jersey", "organic cotton")

KINDS: tuple[Kind, ...] = (
    Kind(
        "t-shirt",
        "{neck} {sleeve} t-shirt",
        {
            "neck": ("crew-neck", "v-neck", "polo", "turtleneck", "scoop-neck"),
            "sleeve": ("short-sleeve", "long-sleeve", "sleeveless"),
        },
        _FABRICS,
        9,
        45,
        clothes.t_shirt,
        standing=False,
    ),
    Kind(
        "dress",
        "{length} {cut} {top} dress",
        {
            "length": ("mini", "midi", "maxi"),
            "cut": ("a-line", "sheath", "flared"),
            "top": ("strappy", "sleeveless", "short-sleeve", "long-sleeve"),
        },
        ("viscose", "cotton", "satin", "linen"),
        29,
        180,
        clothes.dress,
        standing=False,
    ),
    Kind(
        "hoodie",
        "{front} hoodie, {hood}",
        {"front": ("pullover", "zip-up"), "hood": ("hood-up", "hood-down")},
        ("fleece", "brushed cotton", "jersey"),
        29,
        110,
        clothes.hoodie,
        standing=False,
    ),
    Kind(
        "trousers",
        "{length} {leg} trousers",
        {"length": ("full-length", "cropped", "short"), "leg": ("slim", "straight", "wide-leg")},
        ("denim", "cotton twill", "linen", "wool"),
        25,
        140,
        clothes.trousers,
        standing=False,
    ),
    Kind(
        "skirt",
        "{length} {cut} skirt",
        {"length": ("mini", "midi", "maxi"), "cut": ("pencil", "a-line", "pleated")},
        ("cotton", "denim", "satin", "wool"),
        19,
        110,
        clothes.skirt,
        standing=False,
    ),
    Kind(
        "hat",
        "{form}",
        {"form": ("cap", "beanie", "fedora", "bucket hat", "sun hat")},
        ("wool", "cotton", "felt", "straw"),
        12,
        70,
        clothes.hat,
    ),
    Kind(
        "sneakers",
        "{height} {closing} sneakers, {sole} sole",
        {"height": ("low-top", "high-top"), "closing": ("lace-up", "strap", "slip-on"), "sole": ("flat", "chunky")},
        ("canvas", "leather", "suede", "mesh"),
        35,
        160,
        clothes.sneakers,
    ),
    Kind(
        "boots",
        "{shaft} boots, {heel}",
        {"shaft": ("ankle", "knee-high"), "heel": ("flat", "block-heel", "stiletto")},
        ("leather", "suede", "rubber"),
        59,
        290,
        clothes.boots,
    ),
    Kind(
        "handbag",
        "{form}, {handle}",
        {"form": ("tote", "satchel", "hobo bag", "clutch"), "handle": ("single-handle", "double-handle", "chain")},
        ("leather", "canvas", "vegan leather"),
        39,
        420,
        things.handbag,
    ),
    Kind(
        "backpack",
        "{form} backpack, {pockets}",
        {"form": ("round", "square", "roll-top"), "pockets": ("plain-front", "one-pocket", "two-pocket")},
        ("nylon", "canvas", "recycled polyester"),
        29,
        190,
        things.backpack,
    ),
    Kind(
        "mug",
        "{form} mug, {handle}",
        {"form": ("straight", "tapered", "round", "tall"), "handle": ("round-handle", "square-handle")},
        ("stoneware", "porcelain", "enamel"),
        7,
        32,
        things.mug,
    ),
    Kind(
        "lamp",
        "{shade}-shade table lamp, {base} base",
        {"shade": ("cone", "drum", "dome", "globe"), "base": ("steel", "brass", "tripod", "ceramic")},
        ("linen", "glass", "paper", "metal"),
        29,
        240,
        things.lamp,
    ),
    Kind(
        "chair",
        "{back} {arms} chair, {legs} legs",
        {
            "back": ("solid-back", "slatted", "round-back", "spindle"),
            "legs": ("wooden", "steel"),
            "arms": ("armless", "arm"),
        },
        ("velvet", "wool", "leather", "oak"),
        49,
        390,
        things.chair,
    ),
    Kind(
        "sofa",
        "{seats} sofa, {arms}, {legs}",
        {
            "seats": ("armchair", "two-seat", "three-seat"),
            "arms": ("round-arm", "square-arm", "armless"),
            "legs": ("wooden-leg", "steel-leg", "skirted"),
        },
        ("velvet", "linen", "leather", "bouclé"),
        290,
        1900,
        things.sofa,
    ),
    Kind(
        "cushion",
        "{form} {edge} cushion",
        {"form": ("square", "round", "lumbar"), "edge": ("plain-edge", "piped", "fringed", "buttoned")},
        ("cotton", "velvet", "linen", "wool"),
        12,
        65,
        things.cushion,
        standing=False,
    ),
    Kind(
        "watch",
        "{case} {strap}-strap watch, {finish}",
        {"case": ("round", "square", "oval"), "strap": ("smooth", "link", "stitched"), "finish": ("gold", "steel")},
        ("leather", "steel mesh", "silicone"),
        49,
        890,
        things.watch,
        standing=False,
    ),
    Kind(
        "sunglasses",
        "{frame} {rim} sunglasses, {lens}",
        {
            "frame": ("round", "square", "aviator", "cat-eye"),
            "rim": ("thin-rim", "bold-rim"),
            "lens": ("dark-lens", "tinted-lens", "gold-lens"),
        },
        ("acetate", "metal", "bio-acetate"),
        15,
        210,
        things.sunglasses,
        standing=False,
    ),
    Kind(
        "bottle",
        "{form} bottle, {lid}",
        {"form": ("sports", "slim", "wide-mouth", "flask"), "lid": ("screw-lid", "loop-lid", "straw-lid")},
        ("steel", "glass", "tritan"),
        12,
        48,
        things.bottle,
    ),
    Kind(
        "vase",
        "{form} vase, {filling}",
        {
            "form": ("amphora", "bud", "cylinder", "round", "hourglass"),
            "filling": ("empty", "with tulips", "with branches"),
        },
        ("stoneware", "porcelain", "glass"),
        14,
        120,
        things.vase,
    ),
    Kind(
        "clock",
        "{form} clock, {face}",
        {"form": ("round", "square", "sunburst", "alarm"), "face": ("light-face", "dark-face", "coloured-face")},
        ("wood", "metal", "ceramic"),
        19,
        140,
        things.clock,
    ),
)
CATEGORIES = tuple(kind.category for kind in KINDS)
