"""Colours, second colours and patterns that products come in."""

from __future__ import annotations

from typing import TypeAlias

Rgb: TypeAlias = tuple[int, int, int]

COLOURS: dict[str, Rgb] = {
    "black": (38, 38, 42),
    "grey": (134, 138, 144),
    "white": (244, 243, 240),
    "cream": (238, 224, 190),
    "beige": (203, 178, 142),
    "brown": (112, 72, 46),
    "burgundy": (112, 24, 48),
    "red": (206, 40, 44),
    "coral": (244, 122, 102),
    "orange": (240, 134, 34),
    "mustard": (206, 160, 36),
    "yellow": (248, 214, 68),
    "lime": (164, 204, 58),
    "olive": (112, 114, 54),
    "green": (44, 144, 74),
    "forest green": (24, 78, 54),
    "mint": (158, 222, 194),
    "teal": (18, 134, 138),
    "sky blue": (132, 192, 234),
    "blue": (42, 98, 204),
    "navy": (28, 42, 94),
    "purple": (108, 58, 158),
    "lilac": (190, 164, 222),
    "pink": (244, 168, 192),
    "magenta": (202, 44, 128),
}
COLOUR_NAMES = tuple(COLOURS)

_LIGHT = ("white", "cream", "yellow", "mint", "sky blue", "pink", "lilac")
_DARK = ("navy", "black", "forest green", "burgundy", "teal", "red", "purple")

PATTERNS: dict[str, str] = {
    "striped": "stripes",
    "pinstriped": "pinstripes",
    "polka-dot": "dots",
    "checked": "checks",
    "argyle": "argyle",
    "floral": "flowers",
    "zigzag": "zigzag",
    "ombre": "a soft gradient",
    "colour-block": "blocks of colour",
    "star-print": "a star",
    "heart-print": "a heart",
    "moon-print": "a moon",
}
"""Adjective of a title, and the words of a description."""
PATTERN_NAMES = tuple(PATTERNS)
SECOND_COLOURS_PER_COLOUR = 4


def luminance(colour: Rgb) -> float:
    """0 (black) to 255 (white)."""
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def second_colour(colour: str, choice: int) -> str:
    """The `choice`-th (0 to 3) colour that stands out from `colour`."""
    offered = _LIGHT if luminance(COLOURS[colour]) < 140 else _DARK
    start = 2 * COLOUR_NAMES.index(colour)
    candidates = [offered[(start + n) % len(offered)] for n in range(len(offered))]
    return [name for name in candidates if name != colour][choice % SECOND_COLOURS_PER_COLOUR]
