"""Shapes of clothes, shoes and hats. Each takes its named options and a source of proportions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from freshlens.catalogue.geometry import (
    Outline,
    Part,
    Points,
    box,
    ellipse,
    flip,
    line,
    mirrored,
    pair,
    polygon,
    smooth,
)

Style: TypeAlias = Mapping[str, str]
Vary: TypeAlias = Callable[[float, float], float]
"""`vary(low, high)`: this product's own value of the next proportion."""


def t_shirt(style: Style, vary: Vary) -> list[Part]:
    """A top: neck crew, v or polo; sleeves short, long or none."""
    chest, hem, neck = vary(0.2, 0.24), vary(0.8, 0.88), vary(0.085, 0.105)
    body = _torso(chest, hem, neck, _NECK_DEPTH[style["neck"]], sleeveless=style["sleeve"] == "sleeveless")
    parts = [_neck_inside(neck)]
    parts += _sleeves(style["sleeve"], chest, vary)
    parts.append(Part(body))
    parts += _collar(style["neck"], neck)
    return [*parts, line([(0.5 - chest, hem - 0.03), (0.5 + chest, hem - 0.03)], 0.004)]


_NECK_DEPTH = {"crew-neck": 0.235, "v-neck": 0.33, "polo": 0.25, "turtleneck": 0.16, "scoop-neck": 0.3}


def _torso(chest: float, hem: float, neck: float, depth: float, *, sleeveless: bool) -> Outline:
    shoulder = 0.17 if sleeveless else 0.2
    half = [(0.5, depth), (0.5, depth), (0.5 + neck * 0.7, depth - 0.03), (0.5 + neck, 0.16), (0.5 + neck, 0.16)]
    half += [(0.5 + shoulder, 0.205), (0.5 + shoulder, 0.205), (0.5 + shoulder + 0.005, 0.33)]
    half += [(0.5 + chest, 0.42), (0.5 + chest, 0.62), (0.5 + chest, hem), (0.5 + chest, hem), (0.6, hem + 0.008)]
    return mirrored(half)


def _neck_inside(neck: float) -> Part:
    return Part(ellipse(0.5, 0.172, neck, 0.042), "inside", "flat")


def _collar(neck: str, width: float) -> list[Part]:
    if neck == "polo":
        leaf = smooth([(0.5, 0.25), (0.5, 0.25), (0.43, 0.29), (0.43, 0.29), (0.5 - width, 0.16), (0.5 - width, 0.16)])
        buttons = [Part(ellipse(0.5, y, 0.008, 0.008), "white", "flat") for y in (0.29, 0.33)]
        return [*pair(Part(leaf, "trim")), line([(0.5, 0.25), (0.5, 0.37)], 0.006), *buttons]
    if neck == "turtleneck":
        return [Part(box(0.5 - width, 0.09, 0.5 + width, 0.19, 0.03), "base", "round")]
    depth = _NECK_DEPTH[neck]
    bend = 0.5 if neck == "v-neck" else 0.75
    half: Points = [(0.5 + width, 0.16), (0.5 + width * bend, depth - 0.045 * (bend > 0.6)), (0.5, depth)]
    if neck == "v-neck":
        half = [(0.5 + width, 0.16), (0.5, depth)]
    rim = line(half, 0.02, "trim", curved=True)
    return pair(rim)


def _sleeves(kind: str, chest: float, vary: Vary) -> list[Part]:
    if kind == "sleeveless":
        return []
    if kind == "short-sleeve":
        reach, drop, cuff = vary(0.335, 0.37), vary(0.4, 0.44), 0.075
        points = [(0.66, 0.19), (0.7, 0.2), (0.5 + reach, drop - 0.03), (0.5 + reach, drop - 0.03)]
        points += [(0.5 + reach - cuff, drop + 0.04), (0.5 + reach - cuff, drop + 0.04), (0.68, 0.36), (0.64, 0.3)]
    else:
        reach, drop = vary(0.36, 0.4), vary(0.72, 0.78)
        points = [(0.66, 0.19), (0.71, 0.21), (0.8, 0.4), (0.5 + reach, drop), (0.5 + reach, drop)]
        points += [(0.43 + reach, drop + 0.02), (0.43 + reach, drop + 0.02), (0.5 + chest, 0.5), (0.66, 0.34)]
    return pair(Part(smooth(points)))


def dress(style: Style, vary: Vary) -> list[Part]:
    """Skirt mini, midi or maxi; line a-line, sheath or flared; straps or sleeves."""
    waist, hem = vary(0.11, 0.135), {"mini": 0.7, "midi": 0.82, "maxi": 0.93}[style["length"]]
    flare = {"a-line": 0.24, "sheath": 0.15, "flared": 0.33}[style["cut"]] + vary(-0.015, 0.015)
    neck, level = 0.08, vary(0.42, 0.46)
    top = _dress_top(style["top"], neck)
    half = [*top, (0.5 + 0.155, 0.3), (0.5 + waist, level), (0.5 + (waist + flare) / 2 + 0.02, (level + hem) / 2)]
    half += [(0.5 + flare, hem), (0.5 + flare, hem), (0.5 + flare * 0.5, hem + 0.022)]
    parts = _dress_sleeves(style["top"])
    parts.append(Part(mirrored(half)))
    belt = box(0.5 - waist - 0.004, level - 0.012, 0.5 + waist + 0.004, level + 0.014, 0.005)
    return [*parts, Part(belt, "trim"), *_pleats(style["cut"], waist, flare, level, hem)]


def _dress_top(top: str, neck: float) -> list[tuple[float, float]]:
    if top == "strappy":
        return [(0.5, 0.21), (0.5, 0.21), (0.58, 0.19), (0.62, 0.17), (0.62, 0.17)]
    edge = 0.185 if top == "short-sleeve" else 0.16
    return [(0.5, 0.2), (0.5, 0.2), (0.5 + neck, 0.12), (0.5 + neck, 0.12), (0.5 + edge, 0.15), (0.5 + edge, 0.15)]


def _dress_sleeves(top: str) -> list[Part]:
    if top == "strappy":
        return pair(line([(0.61, 0.19), (0.57, 0.07)], 0.016, "base"))
    if top == "sleeveless":
        return []
    if top == "short-sleeve":
        points = [(0.64, 0.135), (0.7, 0.15), (0.76, 0.28), (0.76, 0.28), (0.69, 0.31), (0.69, 0.31), (0.63, 0.24)]
    else:
        points = [(0.64, 0.135), (0.69, 0.16), (0.8, 0.5), (0.8, 0.5), (0.74, 0.52), (0.74, 0.52), (0.63, 0.26)]
    return pair(Part(smooth(points)))


def _pleats(cut: str, waist: float, flare: float, level: float, hem: float) -> list[Part]:
    if cut == "sheath":
        return []
    shares = (-0.6, -0.2, 0.2, 0.6)
    return [line([(0.5 + s * waist, level + 0.02), (0.5 + s * flare, hem + 0.01)], 0.004) for s in shares]


def hoodie(style: Style, vary: Vary) -> list[Part]:
    """Zipped or pullover; hood up or down."""
    chest, hem = vary(0.22, 0.25), vary(0.8, 0.86)
    parts = _hood(style["hood"], vary)
    parts += _sleeves("long-sleeve", chest, vary)
    body = Part(_torso(chest, hem, 0.11, 0.25, sleeveless=False))
    band = Part(box(0.5 - chest, hem - 0.01, 0.5 + chest, hem + 0.045, 0.015), "trim")
    pocket = smooth(
        [
            (0.4, 0.58),
            (0.4, 0.58),
            (0.6, 0.58),
            (0.6, 0.58),
            (0.66, 0.7),
            (0.66, 0.76),
            (0.66, 0.76),
            (0.34, 0.76),
            (0.34, 0.76),
            (0.34, 0.7),
        ]
    )
    parts += [body, band, Part(pocket, "base")]
    if style["front"] == "zip-up":
        parts += [
            line([(0.5, 0.25), (0.5, hem + 0.04)], 0.018, "trim"),
            line([(0.5, 0.25), (0.5, hem + 0.04)], 0.006, "steel"),
        ]
    return [*parts, *pair(line([(0.53, 0.26), (0.54, 0.34), (0.535, 0.4)], 0.008, "white", curved=True))]


def _hood(kind: str, vary: Vary) -> list[Part]:
    if kind == "hood-up":
        outer = ellipse(0.5, 0.16, vary(0.13, 0.15), 0.15)
        return [Part(outer, "base"), Part(ellipse(0.5, 0.18, 0.085, 0.11), "dark", "flat")]
    return [
        Part(ellipse(0.5, 0.185, vary(0.16, 0.19), 0.085), "base"),
        Part(ellipse(0.5, 0.2, 0.1, 0.055), "inside", "flat"),
    ]


def trousers(style: Style, vary: Vary) -> list[Part]:
    """Legs slim, straight or wide; length full, cropped or shorts."""
    waist, hip = vary(0.13, 0.15), vary(0.175, 0.2)
    hem = {"full-length": 0.93, "cropped": 0.78, "short": 0.5}[style["length"]]
    spread, width = {"slim": (0.1, 0.075), "straight": (0.13, 0.11), "wide-leg": (0.17, 0.16)}[style["leg"]]
    out = 0.5 + spread + width * 0.55
    leg = [(0.5, 0.08), (0.5, 0.08), (0.5 + waist, 0.08), (0.5 + waist, 0.08), (0.5 + hip, 0.27)]
    leg += [
        ((0.5 + hip + out) / 2, 0.5 if hem > 0.6 else 0.4),
        (out, hem),
        (out, hem),
        (out - width, hem),
        (out - width, hem),
    ]
    leg += [(0.53, 0.38), (0.5, 0.33), (0.5, 0.33)]
    band = Part(box(0.5 - waist - 0.004, 0.07, 0.5 + waist + 0.004, 0.115, 0.008), "base")
    details = [line([(0.5, 0.115), (0.5, 0.3)], 0.005), Part(ellipse(0.5, 0.092, 0.011, 0.011), "steel", "flat")]
    pocket = line([(0.5 + waist - 0.045, 0.115), (0.5 + hip - 0.01, 0.2)], 0.005)
    legs = [Part(smooth(leg)), flip(Part(smooth(leg)))]
    cuff = pair(line([(out - width, hem - 0.02), (out, hem - 0.02)], 0.02, "trim"))
    return [*legs, *(cuff if style["length"] != "full-length" else []), band, *details, *pair(pocket)]


def skirt(style: Style, vary: Vary) -> list[Part]:
    """Cut pencil, a-line or pleated; length mini, midi or maxi."""
    hem = {"mini": 0.6, "midi": 0.76, "maxi": 0.92}[style["length"]]
    waist = vary(0.13, 0.15)
    flare = {"pencil": 0.17, "a-line": 0.28, "pleated": 0.36}[style["cut"]] + vary(-0.02, 0.02)
    half = [
        (0.5 + waist, 0.14),
        (0.5 + waist, 0.14),
        (0.5 + waist + (flare - waist) * 0.55 + 0.02, 0.35),
        (0.5 + flare, hem),
    ]
    half += [(0.5 + flare, hem), (0.5 + flare * 0.5, hem + 0.025)]
    parts = [Part(mirrored(half))]
    if style["cut"] == "pleated":
        shares = [n / 5 for n in range(-4, 5)]
        parts += [line([(0.5 + s * waist, 0.15), (0.5 + s * flare, hem + 0.015)], 0.005) for s in shares]
    return [*parts, Part(box(0.5 - waist - 0.005, 0.11, 0.5 + waist + 0.005, 0.165, 0.01), "trim")]


def hat(style: Style, vary: Vary) -> list[Part]:
    """A cap, beanie, fedora, bucket hat or sun hat."""
    return _HATS[style["form"]](vary)


def _cap(vary: Vary) -> list[Part]:
    dome = smooth(
        [
            (0.2, 0.6),
            (0.2, 0.6),
            (0.21, 0.42),
            (0.34, 0.28),
            (0.5, 0.25),
            (0.64, 0.3),
            (0.72, 0.45),
            (0.73, 0.6),
            (0.73, 0.6),
        ]
    )
    reach = vary(0.9, 0.95)
    peak = smooth(
        [
            (0.45, 0.585),
            (0.45, 0.585),
            (0.73, 0.56),
            (reach, 0.64),
            (reach, 0.68),
            (0.7, 0.655),
            (0.45, 0.62),
            (0.45, 0.62),
        ]
    )
    return [
        Part(dome),
        Part(peak, "trim"),
        line([(0.5, 0.25), (0.52, 0.6)], 0.004),
        Part(ellipse(0.5, 0.248, 0.022, 0.012), "trim", "flat"),
    ]


def _beanie(vary: Vary) -> list[Part]:
    top = vary(0.24, 0.28)
    dome = mirrored([(0.5, top), (0.64, top + 0.05), (0.73, 0.45), (0.74, 0.66), (0.74, 0.66)])
    cuff = Part(box(0.24, 0.6, 0.76, 0.74, 0.03), "trim")
    ribs = [line([(0.24 + 0.052 * n, 0.61), (0.24 + 0.052 * n, 0.73)], 0.003) for n in range(1, 10)]
    return [Part(ellipse(0.5, top - 0.01, 0.085, 0.08), "trim"), Part(dome), cuff, *ribs]


def _fedora(vary: Vary) -> list[Part]:
    brim = Part(ellipse(0.5, 0.63, vary(0.38, 0.42), 0.085))
    crown = mirrored([(0.5, 0.34), (0.57, 0.31), (0.66, 0.34), (0.7, 0.62), (0.62, 0.655)])
    band = smooth(
        [
            (0.305, 0.54),
            (0.305, 0.54),
            (0.5, 0.575),
            (0.695, 0.54),
            (0.695, 0.54),
            (0.703, 0.61),
            (0.703, 0.61),
            (0.5, 0.65),
            (0.297, 0.61),
            (0.297, 0.61),
        ]
    )
    return [brim, Part(crown), Part(band, "trim")]


def _bucket(vary: Vary) -> list[Part]:
    brim = mirrored([(0.7, 0.52), (0.7, 0.52), (0.84, vary(0.68, 0.74)), (0.72, 0.76), (0.5, 0.78)])
    crown = mirrored([(0.5, 0.28), (0.63, 0.285), (0.66, 0.31), (0.715, 0.56), (0.6, 0.6)])
    return [Part(brim), Part(crown), line([(0.288, 0.545), (0.5, 0.585), (0.712, 0.545)], 0.014, "trim", curved=True)]


def _sun_hat(vary: Vary) -> list[Part]:
    reach = vary(0.41, 0.45)
    brim = smooth([(0.5 - reach, 0.62), (0.3, 0.5), (0.7, 0.5), (0.5 + reach, 0.62), (0.7, 0.73), (0.3, 0.73)])
    dome = mirrored([(0.5, 0.3), (0.62, 0.33), (0.68, 0.45), (0.69, 0.6), (0.6, 0.635)])
    return [Part(brim), Part(dome), line([(0.31, 0.575), (0.5, 0.615), (0.69, 0.575)], 0.04, "trim", curved=True)]


_HATS = {"cap": _cap, "beanie": _beanie, "fedora": _fedora, "bucket hat": _bucket, "sun hat": _sun_hat}


def sneakers(style: Style, vary: Vary) -> list[Part]:
    """Low or high tops; closed by laces, straps or slip-on; flat or chunky sole."""
    high, thick = style["height"] == "high-top", 0.085 if style["sole"] == "chunky" else 0.055
    ankle = vary(0.24, 0.28) if high else vary(0.4, 0.43)
    floor = 0.74
    upper = [
        (0.16, floor),
        (0.16, floor),
        (0.14, 0.6),
        (0.16, ankle),
        (0.16, ankle),
        (0.26, ankle + 0.02),
        (0.36, ankle),
    ]
    upper += [(0.36, ankle), (0.5, 0.5), (0.68, 0.57), (0.84, 0.62), (0.885, floor), (0.885, floor)]
    sole = box(0.12, floor - 0.025, 0.905, floor + thick, 0.045)
    toe = smooth([(0.72, floor), (0.72, floor), (0.74, 0.63), (0.84, 0.62), (0.885, floor), (0.885, floor)])
    parts = [
        Part(smooth(upper)),
        Part(toe, "trim"),
        Part(sole, "white", "flat"),
        line([(0.13, floor + 0.02), (0.9, floor + 0.02)], 0.01, "trim"),
    ]
    heel = smooth([(0.16, floor), (0.16, floor), (0.14, 0.6), (0.155, 0.5), (0.2, 0.52), (0.24, floor), (0.24, floor)])
    parts += [Part(heel, "trim"), *_closing(style["closing"], ankle)]
    return parts


def _closing(closing: str, ankle: float) -> list[Part]:
    start, stop = (0.37, ankle + 0.04), (0.64, 0.565)
    steps = [
        (start[0] + (stop[0] - start[0]) * t, start[1] + (stop[1] - start[1]) * t**0.7) for t in (0.05, 0.3, 0.55, 0.8)
    ]
    if closing == "lace-up":
        return [line([(x - 0.01, y - 0.005), (x + -0.045, y + 0.05)], 0.016, "white") for x, y in steps]
    if closing == "strap":
        return [line([(x, y), (x - 0.09, y + 0.13)], 0.05, "trim") for x, y in (steps[1], steps[3])]
    return [Part(smooth([(0.3, ankle + 0.05), (0.38, ankle + 0.02), (0.44, 0.5), (0.36, 0.56), (0.3, 0.52)]), "dark")]


def boots(style: Style, vary: Vary) -> list[Part]:
    """Shaft ankle or knee-high; heel flat, block or stiletto."""
    top = vary(0.1, 0.15) if style["shaft"] == "knee-high" else vary(0.34, 0.4)
    lift = {"flat": 0.0, "block-heel": 0.08, "stiletto": 0.13}[style["heel"]]
    heel_y = 0.84 - lift
    boot = [(0.26, top), (0.26, top), (0.48, top), (0.48, top), (0.47, 0.55), (0.52, 0.66), (0.7, 0.74), (0.84, 0.8)]
    boot += [
        (0.855, 0.86),
        (0.855, 0.86),
        (0.62, 0.855),
        (0.45, heel_y + 0.02),
        (0.27, heel_y),
        (0.27, heel_y),
        (0.25, 0.62),
    ]
    parts = [*_heel(style["heel"], heel_y), Part(smooth(boot), "cloth", "round")]
    sole = [(0.855, 0.86), (0.62, 0.858), (0.45, heel_y + 0.022), (0.265, heel_y)]
    parts.append(line(sole, 0.022, "black", curved=True))
    parts.append(line([(0.26, top + 0.018), (0.48, top + 0.018)], 0.034, "trim"))
    if style["shaft"] == "ankle":
        gore = [
            (0.36, top + 0.04),
            (0.36, top + 0.04),
            (0.44, top + 0.04),
            (0.44, top + 0.04),
            (0.42, 0.66),
            (0.38, 0.66),
        ]
        return [*parts, Part(smooth(gore), "dark")]
    return [
        *parts,
        line([(0.27, 0.6), (0.47, 0.6)], 0.02, "trim"),
        Part(box(0.42, 0.58, 0.46, 0.62, 0.005), "gold", "flat"),
    ]


def _heel(kind: str, y: float) -> list[Part]:
    if kind == "flat":
        return [Part(box(0.26, y - 0.01, 0.46, 0.885, 0.01), "black", "flat")]
    if kind == "block-heel":
        return [Part(polygon([(0.26, y - 0.02), (0.42, y), (0.4, 0.885), (0.27, 0.885)]), "dark", "flat")]
    return [Part(polygon([(0.26, y - 0.02), (0.38, y), (0.3, 0.885), (0.275, 0.885)]), "dark", "flat")]
