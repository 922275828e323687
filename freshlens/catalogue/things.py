"""Shapes of bags, accessories and things for the home."""

from __future__ import annotations

import numpy as np

from freshlens.catalogue.clothes import Style, Vary
from freshlens.catalogue.geometry import Outline, Part, box, ellipse, line, mirrored, pair, polygon, smooth


def handbag(style: Style, vary: Vary) -> list[Part]:
    """A tote, satchel, shoulder bag or clutch; handle single or double."""
    form = style["form"]
    wide, top, low = {
        "tote": (0.29, 0.4, 0.88),
        "satchel": (0.31, 0.46, 0.84),
        "hobo bag": (0.34, 0.48, 0.86),
        "clutch": (0.36, 0.42, 0.76),
    }[form]
    wide += vary(-0.02, 0.02)
    parts = _handles(form, style["handle"], top, vary)
    parts.append(Part(_bag_body(form, wide, top, low)))
    if form in ("satchel", "clutch"):
        flap = mirrored(
            [(0.5 + wide - 0.02, top), (0.5 + wide - 0.02, top), (0.5 + wide - 0.03, top + 0.12), (0.5, top + 0.24)]
        )
        parts += [Part(flap, "trim"), Part(ellipse(0.5, top + 0.22, 0.02, 0.02), "gold", "flat")]
    elif form == "tote":
        parts.append(Part(box(0.5 - wide * 0.98, top, 0.5 + wide * 0.98, top + 0.045, 0.01), "trim"))
    else:
        parts.append(line([(0.24, top + 0.03), (0.5, top + 0.09), (0.76, top + 0.03)], 0.008, "gold", curved=True))
    return parts


def _bag_body(form: str, wide: float, top: float, low: float) -> Outline:
    if form == "hobo bag":
        return mirrored(
            [(0.5, top + 0.06), (0.66, top), (0.77, top - 0.06), (0.5 + wide, 0.66), (0.72, low), (0.55, low + 0.01)]
        )
    if form == "tote":
        return mirrored([(0.5 + wide, top), (0.5 + wide, top), (0.5 + wide * 0.86, low), (0.5 + wide * 0.86, low)])
    return box(0.5 - wide, top, 0.5 + wide, low, 0.06)


def _handles(form: str, handle: str, top: float, vary: Vary) -> list[Part]:
    if form == "clutch":
        if handle == "chain":
            return [line([(0.2, top + 0.03), (0.3, 0.22), (0.7, 0.22), (0.8, top + 0.03)], 0.012, "gold", curved=True)]
        return [line([(0.82, top + 0.05), (0.92, 0.6), (0.86, 0.78), (0.8, 0.7)], 0.016, "trim", curved=True)]
    rise, reach = vary(0.12, 0.18), 0.16 if form != "hobo bag" else 0.25
    fill, width = ("gold", 0.014) if handle == "chain" else ("trim", 0.026)
    arcs = [ellipse(0.5, top + 0.02, reach, top - rise, 180, 360)]
    if handle == "double-handle":
        arcs.append(ellipse(0.5, top + 0.02, reach * 0.72, (top - rise) * 0.72, 180, 360))
    return [Part(arc, fill, "flat", line_width=width) for arc in arcs]


def backpack(style: Style, vary: Vary) -> list[Part]:
    """Round, square or roll-top; with one, two or no outer pockets."""
    wide, top = vary(0.23, 0.27), 0.2
    radius = {"round": 0.2, "square": 0.06, "roll-top": 0.04}[style["form"]]
    parts = [line([(0.42, 0.2), (0.44, 0.1), (0.56, 0.1), (0.58, 0.2)], 0.026, "trim", curved=True)]
    parts += pair(line([(0.5 + wide, 0.35), (0.56 + wide, 0.5), (0.5 + wide, 0.8)], 0.035, "trim", curved=True))
    parts.append(Part(box(0.5 - wide, top, 0.5 + wide, 0.9, radius)))
    if style["form"] == "roll-top":
        parts += [
            Part(box(0.5 - wide - 0.01, 0.17, 0.5 + wide + 0.01, 0.27, 0.04), "trim"),
            *pair(line([(0.6, 0.25), (0.6, 0.5)], 0.02, "trim")),
        ]
    else:
        parts.append(Part(ellipse(0.5, 0.43, wide * 0.84, 0.17, 180, 360), "dark", "flat", line_width=0.008))
    count = {"one-pocket": 1, "two-pocket": 2, "plain-front": 0}[style["pockets"]]
    if count == 1:
        parts += [
            Part(box(0.5 - wide * 0.8, 0.56, 0.5 + wide * 0.8, 0.85, 0.04), "trim"),
            line([(0.5 - wide * 0.66, 0.62), (0.5 + wide * 0.66, 0.62)], 0.008, "steel"),
        ]
    if count == 2:
        pocket = Part(box(0.515, 0.58, 0.5 + wide * 0.85, 0.85, 0.03), "trim")
        parts += [*pair(pocket), *pair(line([(0.53, 0.63), (0.48 + wide * 0.85, 0.63)], 0.008, "steel"))]
    return parts


def mug(style: Style, vary: Vary) -> list[Part]:
    """Straight, tapered, round or tall; handle round or square."""
    half, top = vary(0.2, 0.23), {"straight": 0.28, "tapered": 0.28, "round": 0.34, "tall": 0.16}[style["form"]]
    low, foot = 0.83, half * (0.72 if style["form"] == "tapered" else 1.0)
    cx = 0.45
    if style["handle"] == "square-handle":
        outer = box(cx + half - 0.06, top + 0.1, cx + half + 0.17, low - 0.14, 0.03)
        handle = Part(
            outer, "trim", "flat", holes=(box(cx + half - 0.06, top + 0.15, cx + half + 0.12, low - 0.19, 0.02),)
        )
    else:
        ring = ellipse(cx + half, (top + low) / 2, 0.15, 0.16)
        handle = Part(ring, "trim", holes=(ellipse(cx + half, (top + low) / 2, 0.1, 0.11),))
    bulge = 0.06 if style["form"] == "round" else 0.0
    right = [
        (cx + half, top),
        (cx + half, top),
        (cx + (half + foot) / 2 + bulge, (top + low) / 2),
        (cx + foot, low - 0.03),
        (cx + foot * 0.9, low),
    ]
    body = smooth([*right, *[(2 * cx - x, y) for x, y in reversed(right)]])
    rim = Part(ellipse(cx, top, half, 0.045), "light", "flat")
    return [
        handle,
        Part(body, "cloth", "glossy"),
        rim,
        Part(ellipse(cx, top + 0.006, half * 0.93, 0.036), "inside", "flat"),
    ]


def lamp(style: Style, vary: Vary) -> list[Part]:
    """Shade cone, drum, dome or globe; base a stick, tripod or vase."""
    parts = _lamp_base(style["base"], vary)
    lower, upper = vary(0.2, 0.25), vary(0.1, 0.13)
    if style["shade"] == "globe":
        return [*parts, Part(ellipse(0.5, 0.3, lower * 0.95, lower * 0.95), "cloth", "round")]
    if style["shade"] == "dome":
        dome = np.concatenate(
            [ellipse(0.5, 0.44, lower, 0.3, 180, 360), polygon([(0.5 + lower, 0.44), (0.5 - lower, 0.44)])]
        )
        return [*parts, Part(ellipse(0.5, 0.44, lower, 0.025), "glow", "flat"), Part(dome, "cloth", "round")]
    top = lower * 0.95 if style["shade"] == "drum" else upper
    shade = polygon([(0.5 - top, 0.13), (0.5 + top, 0.13), (0.5 + lower, 0.45), (0.5 - lower, 0.45)])
    rims = [
        line([(0.5 - top, 0.135), (0.5 + top, 0.135)], 0.012, "trim"),
        line([(0.5 - lower, 0.445), (0.5 + lower, 0.445)], 0.012, "trim"),
    ]
    return [*parts, Part(shade, "cloth", "round"), *rims]


def _lamp_base(base: str, vary: Vary) -> list[Part]:
    if base == "tripod":
        legs = [line([(0.5, 0.42), (x, 0.92)], 0.024, "wood") for x in (0.5, 0.32, 0.68)]
        return [*legs, Part(ellipse(0.5, 0.45, 0.03, 0.03), "dark wood", "flat")]
    if base == "ceramic":
        belly = vary(0.13, 0.17)
        body = mirrored(
            [
                (0.53, 0.45),
                (0.53, 0.52),
                (0.5 + belly, 0.66),
                (0.5 + belly * 0.8, 0.82),
                (0.57, 0.88),
                (0.57, 0.91),
                (0.57, 0.91),
            ]
        )
        return [Part(body, "trim", "glossy")]
    foot = mirrored([(0.5, 0.86), (0.6, 0.865), (0.65, 0.9), (0.65, 0.92), (0.65, 0.92)])
    metal = "gold" if base == "brass" else "steel"
    return [Part(box(0.485, 0.4, 0.515, 0.88), metal, "round"), Part(foot, metal, "round")]


def chair(style: Style, vary: Vary) -> list[Part]:
    """Back slatted, solid, round or open; legs of wood or steel; with or without arms."""
    wide, seat = vary(0.19, 0.22), vary(0.52, 0.57)
    frame = "wood" if style["legs"] == "wooden" else "steel"
    width = 0.034 if frame == "wood" else 0.02
    splay = vary(0.02, 0.06)
    parts = [
        line(
            [(0.5 + s * (wide - 0.05), seat), (0.5 + s * (wide - 0.02), 0.86)],
            width * 0.8,
            "dark wood" if frame == "wood" else "steel",
        )
        for s in (-1, 1)
    ]
    parts += _chair_back(style["back"], wide, seat, frame, width)
    parts += [line([(0.5 + s * (wide - 0.01), seat), (0.5 + s * (wide + splay), 0.93)], width, frame) for s in (-1, 1)]
    cushion = mirrored(
        [
            (0.5, seat - 0.05),
            (0.5 + wide - 0.02, seat - 0.045),
            (0.52 + wide, seat + 0.01),
            (0.5 + wide, seat + 0.055),
            (0.5, seat + 0.06),
        ]
    )
    parts.append(Part(cushion))
    if style["arms"] == "arm":
        arm = line(
            [(0.5 + wide, seat - 0.2), (0.53 + wide, seat - 0.18), (0.53 + wide, seat)], 0.036, frame, curved=True
        )
        parts += pair(arm)
    return parts


def _chair_back(back: str, wide: float, seat: float, frame: str, width: float) -> list[Part]:
    posts = [line([(0.5 + s * (wide - 0.02), seat), (0.5 + s * (wide - 0.03), 0.1)], width, frame) for s in (-1, 1)]
    if back == "slatted":
        return [
            *posts,
            *[line([(0.5 - wide + 0.03, y), (0.5 + wide - 0.03, y)], 0.05, "base") for y in (0.14, 0.24, 0.34)],
        ]
    if back == "round-back":
        return [*posts, Part(ellipse(0.5, 0.27, wide + 0.01, 0.17))]
    if back == "spindle":
        rods = [line([(0.5 + s * wide, 0.12), (0.5 + s * wide, seat)], 0.014, frame) for s in (-0.6, -0.3, 0, 0.3, 0.6)]
        return [*posts, *rods, line([(0.5 - wide, 0.11), (0.5 + wide, 0.11)], 0.06, "base")]
    return [*posts, Part(box(0.5 - wide, 0.09, 0.5 + wide, 0.44, 0.06))]


def sofa(style: Style, vary: Vary) -> list[Part]:
    """One to three seats; arms round, square or none; legs wooden, steel or hidden."""
    seats = {"armchair": 1, "two-seat": 2, "three-seat": 3}[style["seats"]]
    half = {1: 0.22, 2: 0.33, 3: 0.42}[seats] + vary(-0.01, 0.01)
    arm = {"round-arm": 0.09, "square-arm": 0.07, "armless": 0.0}[style["arms"]]
    inner, back = half - arm, vary(0.3, 0.36)
    parts = []
    if style["legs"] != "skirted":
        fill = "wood" if style["legs"] == "wooden-leg" else "steel"
        parts += [
            line([(0.5 + s * (half - 0.05), 0.76), (0.5 + s * (half - 0.035), 0.86)], 0.026, fill) for s in (-1, 1)
        ]
    low = 0.84 if style["legs"] == "skirted" else 0.78
    parts += [
        Part(box(0.5 - half + 0.02, back, 0.5 + half - 0.02, 0.7, 0.06)),
        Part(box(0.5 - half + 0.01, 0.62, 0.5 + half - 0.01, low, 0.02), "base"),
    ]
    step = 2 * inner / seats
    for n in range(seats):
        left = 0.5 - inner + n * step
        parts += [
            Part(box(left + 0.004, back + 0.025, left + step - 0.004, 0.6, 0.045)),
            Part(box(left + 0.002, 0.56, left + step - 0.002, 0.68, 0.035)),
        ]
    if arm:
        radius = 0.06 if style["arms"] == "round-arm" else 0.015
        parts += pair(Part(box(0.5 + inner - 0.005, 0.46, 0.5 + half + 0.01, low, radius)))
    throw = box(0.5 - inner + 0.02, 0.46, 0.5 - inner + 0.15, 0.59, 0.025)
    return [*parts, Part(throw, "trim")]


def cushion(style: Style, vary: Vary) -> list[Part]:
    """Square, round, long or a star; edge piped, fringed, tasselled or plain."""
    pinch = vary(0.02, 0.045)
    form = style["form"]
    if form == "round":
        outline = ellipse(0.5, 0.52, 0.35, 0.34)
    else:
        half_x, half_y = (0.4, 0.23) if form == "lumbar" else (0.34, 0.34)
        corner = [
            (0.5, 0.52 - half_y + pinch),
            (0.5 + half_x, 0.52 - half_y),
            (0.5 + half_x, 0.52 - half_y),
            (0.5 + half_x - pinch, 0.52),
        ]
        outline = mirrored(
            [*corner, (0.5 + half_x, 0.52 + half_y), (0.5 + half_x, 0.52 + half_y), (0.5, 0.52 + half_y - pinch)]
        )
    parts = _cushion_edge(style["edge"], outline)
    parts.append(Part(outline))
    if style["edge"] == "piped":
        parts.append(Part(np.concatenate([outline, outline[:1]]), "trim", "flat", line_width=0.018))
    if style["edge"] == "buttoned":
        parts.append(Part(ellipse(0.5, 0.52, 0.028, 0.028), "trim"))
    return parts


def _cushion_edge(edge: str, outline: Outline) -> list[Part]:
    if edge != "fringed":
        return []
    centre = outline.mean(0)
    tips = centre + (outline - centre) * 1.1
    return [Part(np.stack([a, b]), "trim", "flat", line_width=0.009) for a, b in zip(outline, tips, strict=True)]


def watch(style: Style, vary: Vary) -> list[Part]:
    """Case round, square or oval; strap leather, mesh or link; hands or digital."""
    wide = vary(0.085, 0.1)
    case = {
        "round": ellipse(0.5, 0.5, 0.19, 0.19),
        "square": box(0.32, 0.32, 0.68, 0.68, 0.05),
        "oval": ellipse(0.5, 0.5, 0.16, 0.21),
    }[style["case"]]
    face = 0.5 + (case - 0.5) * 0.82
    strap = mirrored(
        [(0.5 + wide, 0.06), (0.5 + wide, 0.06), (0.5 + wide * 1.15, 0.5), (0.5 + wide, 0.94), (0.5 + wide, 0.94)]
    )
    parts = [Part(box(0.68, 0.485, 0.72, 0.515, 0.01), "steel", "flat"), Part(strap)]
    if style["strap"] == "link":
        parts += [line([(0.5 - wide * 1.05, y), (0.5 + wide * 1.05, y)], 0.006) for y in np.arange(0.09, 0.95, 0.05)]
    elif style["strap"] == "stitched":
        parts += pair(
            line([(0.5 + wide * 0.75, 0.08), (0.5 + wide * 0.85, 0.5), (0.5 + wide * 0.75, 0.92)], 0.006, "trim")
        )
    metal = "gold" if style["finish"] == "gold" else "steel"
    parts += [Part(case, metal, "glossy"), Part(face, "trim", "flat")]
    return [*parts, *_dial(vary, "dark")]


def _dial(vary: Vary, fill: str, radius: float = 0.14, cy: float = 0.5) -> list[Part]:
    ticks = []
    for n in range(12):
        c, s = np.cos(n * np.pi / 6), np.sin(n * np.pi / 6)
        ticks.append(
            line(
                [(0.5 + c * radius * 0.86, cy + s * radius * 0.86), (0.5 + c * radius, cy + s * radius)],
                radius * 0.06,
                fill,
            )
        )
    parts = ticks
    for length, width in ((0.55, 0.1), (0.8, 0.06)):
        angle = vary(0, 6.28)
        parts.append(
            line(
                [(0.5, cy), (0.5 + np.cos(angle) * radius * length, cy + np.sin(angle) * radius * length)],
                radius * width,
                fill,
            )
        )
    return [*parts, Part(ellipse(0.5, cy, radius * 0.08, radius * 0.08), fill, "flat")]


def sunglasses(style: Style, vary: Vary) -> list[Part]:
    """Frame aviator, round, square or cat-eye; lenses dark, tinted or mirrored."""
    x, r = vary(0.285, 0.3), vary(0.145, 0.165)
    points = {
        "round": ellipse(x, 0.5, r, r),
        "square": box(x - r * 1.1, 0.5 - r * 0.85, x + r * 1.1, 0.5 + r * 0.85, 0.04),
        "aviator": smooth(
            [
                (x - r, 0.4),
                (x + r * 0.9, 0.4),
                (x + r * 1.0, 0.5),
                (x + r * 0.4, 0.64),
                (x - r * 0.4, 0.67),
                (x - r * 1.1, 0.55),
            ]
        ),
        "cat-eye": smooth(
            [
                (x - r * 1.45, 0.36),
                (x - r * 1.45, 0.36),
                (x, 0.39),
                (x + r, 0.43),
                (x + r * 0.85, 0.56),
                (x, 0.62),
                (x - r, 0.57),
            ]
        ),
    }[style["frame"]]
    inner = points.mean(0) + (points - points.mean(0)) * (0.92 if style["rim"] == "thin-rim" else 0.76)
    lens = {"dark-lens": "lens", "tinted-lens": "trim", "gold-lens": "gold"}[style["lens"]]
    one = [Part(points), Part(inner, lens, "round"), line([(x - r * 0.5, 0.45), (x - r * 0.1, 0.41)], 0.014, "white")]
    arms = pair(line([(x - r * 1.0, 0.43), (0.09, 0.38), (0.05, 0.45)], 0.026, "base", curved=True))
    bridge = line([(x + r * 0.85, 0.46), (0.5, 0.435), (1 - x - r * 0.85, 0.46)], 0.022, "base", curved=True)
    return [*arms, bridge, *[p for part in one for p in pair(part)]]


def bottle(style: Style, vary: Vary) -> list[Part]:
    """Sports, slim, wide or flask; lid screw, loop or straw."""
    half = {"slim": 0.115, "sports": 0.15, "wide-mouth": 0.17, "flask": 0.19}[style["form"]] + vary(-0.008, 0.008)
    top = vary(0.24, 0.28)
    mouth = half * {"slim": 0.6, "sports": 0.62, "wide-mouth": 0.85, "flask": 0.35}[style["form"]]
    waist = half * 0.88 if style["form"] == "sports" else half
    body = mirrored(
        [
            (0.5 + mouth, top),
            (0.5 + mouth, top),
            (0.5 + half, top + 0.12),
            (0.5 + waist, 0.6),
            (0.5 + half, 0.8),
            (0.5 + half, 0.9),
            (0.5 + half * 0.85, 0.925),
        ]
    )
    parts = [Part(body, "cloth", "glossy"), line([(0.5 - half * 0.97, 0.86), (0.5 + half * 0.97, 0.86)], 0.016, "trim")]
    lid = Part(box(0.5 - mouth * 1.06, top - 0.085, 0.5 + mouth * 1.06, top + 0.012, 0.015), "trim", "round")
    if style["lid"] == "loop-lid":
        ring = Part(
            ellipse(0.5, top - 0.1, 0.055, 0.06), "trim", "flat", holes=(ellipse(0.5, top - 0.1, 0.035, 0.038),)
        )
        return [*parts, ring, lid]
    if style["lid"] == "straw-lid":
        return [*parts, line([(0.5, top - 0.08), (0.51, 0.1), (0.58, 0.07)], 0.028, "white", curved=True), lid]
    return [*parts, lid]


def vase(style: Style, vary: Vary) -> list[Part]:
    """Amphora, bud, cylinder, round or hourglass; empty, with tulips or with branches."""
    top, low, mouth = 0.36, 0.92, vary(0.07, 0.1)
    middle, foot = {
        "amphora": (0.2, 0.08),
        "bud": (0.12, 0.1),
        "cylinder": (mouth, mouth),
        "round": (0.24, 0.12),
        "hourglass": (0.075, 0.15),
    }[style["form"]]
    neck = {"bud": 0.035, "round": 0.075, "amphora": 0.065, "hourglass": 0.13}.get(style["form"], mouth)
    middle += vary(-0.01, 0.02)
    level = 0.74 if style["form"] == "bud" else 0.58 if style["form"] == "amphora" else 0.66
    lip = neck * 1.25 if style["form"] != "cylinder" else neck
    body = mirrored(
        [
            (0.5 + lip, top),
            (0.5 + lip, top),
            (0.5 + neck, top + 0.07),
            (0.5 + middle, level),
            (0.5 + foot, low - 0.02),
            (0.5 + foot, low),
            (0.5 + foot, low),
        ]
    )
    parts = _stems(style["filling"], vary)
    rim = Part(ellipse(0.5, top, lip, 0.018), "inside", "flat")
    return [
        *parts,
        Part(body, "cloth", "glossy"),
        rim,
        line([(0.5 - foot, low - 0.008), (0.5 + foot, low - 0.008)], 0.012, "trim"),
    ]


def _stems(filling: str, vary: Vary) -> list[Part]:
    if filling == "empty":
        return []
    parts = []
    for tip in (-0.16, -0.05, 0.07, 0.17):
        x, y = 0.5 + tip + vary(-0.02, 0.02), vary(0.1, 0.18)
        fill = "leaf" if filling == "with tulips" else "dark wood"
        parts.append(line([(0.5 + tip * 0.15, 0.4), (0.5 + tip * 0.6, 0.26), (x, y)], 0.01, fill, curved=True))
        if filling == "with tulips":
            parts.append(Part(ellipse(x, y, 0.035, 0.048), "trim"))
        else:
            parts += [
                Part(ellipse(x + dx, y + dy, 0.016, 0.024), "leaf")
                for dx, dy in ((0, -0.01), (-0.03, 0.05), (0.035, 0.07))
            ]
    return parts


def clock(style: Style, vary: Vary) -> list[Part]:
    """Wall round, square, sunburst, or a twin-bell alarm clock."""
    form = style["form"]
    radius, cy = (0.25, 0.56) if form == "alarm" else (0.36, 0.5) if form != "sunburst" else (0.24, 0.5)
    radius += vary(-0.015, 0.015)
    outline = (
        box(0.5 - radius, cy - radius, 0.5 + radius, cy + radius, 0.06)
        if form == "square"
        else ellipse(0.5, cy, radius, radius)
    )
    parts = _clock_extras(form, radius, cy)
    face_fill = {"light-face": "white", "dark-face": "black", "coloured-face": "trim"}[style["face"]]
    face = np.array([0.5, cy]) + (outline - np.array([0.5, cy])) * 0.8
    parts += [Part(outline), Part(face, face_fill, "flat")]
    return [*parts, *_dial(vary, "ivory" if face_fill == "black" else "black", radius * 0.7, cy)]


def _clock_extras(form: str, radius: float, cy: float) -> list[Part]:
    if form == "alarm":
        bells = pair(Part(ellipse(0.64, 0.28, 0.1, 0.075), "gold", "glossy"))
        legs = pair(line([(0.62, 0.76), (0.68, 0.87)], 0.035, "gold"))
        return [line([(0.44, 0.2), (0.5, 0.16), (0.56, 0.2)], 0.02, "gold", curved=True), *legs, *bells]
    if form != "sunburst":
        return []
    rays = []
    for n in range(16):
        angle = n * np.pi / 8
        reach = 0.43 if n % 2 == 0 else 0.37
        c, s = np.cos(angle), np.sin(angle)
        points = [
            (0.5 + c * radius * 0.8 - s * 0.03, cy + s * radius * 0.8 + c * 0.03),
            (0.5 + c * reach, cy + s * reach),
        ]
        rays.append(
            Part(
                polygon([*points, (0.5 + c * radius * 0.8 + s * 0.03, cy + s * radius * 0.8 - c * 0.03)]),
                "gold" if n % 2 else "base",
            )
        )
    return rays
