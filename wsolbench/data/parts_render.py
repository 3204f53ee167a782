"""One picture of the generated dataset ``parts``: clutter, a large body, and on it a small part that names the class.

Four independent streams of random numbers draw the pose, the clutter, the body's look and the noise of image i, so that
none of them can depend on the class unless it is told the class here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wsolbench.data.parts_canvas import (
    SUBSAMPLES,
    TEXTURES,
    Canvas,
    Colour,
    Draws,
    Floats,
    Mask,
    Shape,
    block_sums,
    hue_colour,
    local_axes,
    second_tone,
)

_POSE, _CLUTTER, _BODY, _NOISE = range(4)

# Dark and light colours alternate, so that an odd step from one to another has contrast.
PALETTE: dict[str, Colour] = {
    "red": (0.80, 0.10, 0.12),
    "white": (0.96, 0.96, 0.94),
    "blue": (0.12, 0.22, 0.78),
    "yellow": (0.98, 0.86, 0.15),
    "purple": (0.45, 0.12, 0.58),
    "cyan": (0.35, 0.88, 0.92),
    "black": (0.06, 0.06, 0.08),
    "orange": (0.98, 0.52, 0.10),
    "green": (0.05, 0.52, 0.22),
    "pink": (0.99, 0.68, 0.80),
}
_STEPS = (3, 5, 7, 1, 9, 2, 4, 6, 8)  # from the plate's colour to the ink's: the contrasting ones first


def _discs(u: Floats, v: Floats, radius: float, *centres: tuple[float, float]) -> Mask:
    mask = np.zeros(u.shape, bool)
    for x, y in centres or ((0.0, 0.0),):
        mask |= (u - x) * (u - x) + (v - y) * (v - y) < radius * radius
    return mask


# Where the ink goes on a disc of radius 1; no glyph is a rotation or a mirror image of another.
GLYPHS: dict[str, Callable[[Floats, Floats], Mask]] = {
    "cross": lambda u, v: (abs(u) < 0.26) | (abs(v) < 0.26),
    "half": lambda u, v: u > 0.0,
    "dot": lambda u, v: _discs(u, v, 0.52),
    "bar": lambda u, v: abs(u) < 0.32,
    "quarters": lambda u, v: u * v > 0.0,
    "ring": lambda u, v: _discs(u, v, 0.74) & ~_discs(u, v, 0.34),
    "rails": lambda u, v: (abs(u) > 0.22) & (abs(u) < 0.62),
    "triangle": lambda u, v: (v > -0.45) & (v < 0.8 - 1.8 * abs(u)),
    "pair": lambda u, v: _discs(u, v, 0.36, (-0.48, 0.0), (0.48, 0.0)),
    "crescent": lambda u, v: _discs(u, v, 0.76) & ~_discs(u, v, 0.62, (0.42, 0.0)),
    "trio": lambda u, v: _discs(u, v, 0.32, (0.0, 0.56), (0.5, -0.3), (-0.5, -0.3)),
    "square": lambda u, v: (abs(u) < 0.52) & (abs(v) < 0.52),
}

MAX_CLASSES = len(PALETTE) * len(_STEPS) * len(GLYPHS)


@dataclass(frozen=True)
class Look:
    """What a class's part looks like: a glyph in one colour of :data:`PALETTE` on a disc of another."""

    glyph: str
    ink: str
    plate: str

    def __str__(self) -> str:
        return f"{self.ink} {self.glyph} on {self.plate}"


def part_look(label: int) -> Look:
    """Return the look of a class's part; all of the first :data:`MAX_CLASSES` classes differ.

    >>> str(part_look(0)), str(part_look(1))
    ('yellow cross on red', 'purple half on white')
    """
    assert 0 <= label < MAX_CLASSES
    colours = list(PALETTE)
    plate = label % len(colours)
    ink = (plate + _STEPS[label // len(colours) % len(_STEPS)]) % len(colours)
    # There are 90 pairs of colours; each round through them moves the glyph by 91 = 7 (mod 12), which visits all 12.
    glyph = (label + label // (len(colours) * len(_STEPS))) % len(GLYPHS)
    return Look(glyph=list(GLYPHS)[glyph], ink=colours[ink], plate=colours[plate])


@dataclass(frozen=True)
class Scene:
    """What a picture is drawn from.

    Attributes:
        key: non-negative integers that seed everything random in the picture.
        label: the class, 0 .. classes - 1.
        classes: number of classes.
        size: side of the picture in pixels.
        body_evidence: whether the body's hue and texture depend, weakly, on the class.
        context: class whose colour and texture the background has; None for a background without a class.
    """

    key: tuple[int, ...]
    label: int
    classes: int
    size: int
    body_evidence: bool = True
    context: int | None = None


@dataclass(frozen=True, eq=False)
class Outline:
    """Where the object of a picture is.

    Attributes:
        part: bool (size, size), the part.
        body: bool (size, size), the visible body: what of the object is not part.
        box: ``x0 y0 x1 y1``, inclusive, the exact extent of part and body together.
    """

    part: Mask
    body: Mask
    box: tuple[int, int, int, int]


@dataclass(frozen=True)
class _Pose:
    body: Shape
    part: Shape


def outline(scene: Scene) -> Outline:
    """Return where the object is, without drawing the picture; a pixel belongs to it if half its subsamples do."""
    pose = _pose(scene.key)
    n = scene.size * SUBSAMPLES
    axis = (np.arange(n) + 0.5) / n
    part, both = np.zeros((n, n), np.int32), np.zeros((n, n), np.int32)
    for shape, layers in ((pose.body, (both,)), (pose.part, (both, part))):
        window, u, v = local_axes(shape, axis)
        for layer in layers:
            layer[window] |= shape.depth(u, v) <= 1.0
    half = SUBSAMPLES * SUBSAMPLES // 2
    part_mask, whole = block_sums(part) >= half, block_sums(both) >= half
    rows, cols = np.flatnonzero(whole.any(1)), np.flatnonzero(whole.any(0))
    box = (int(cols[0]), int(rows[0]), int(cols[-1]), int(rows[-1]))
    return Outline(part=part_mask, body=whole & ~part_mask, box=box)


def render(scene: Scene) -> npt.NDArray[np.uint8]:
    """Draw the picture of a scene.

    Returns:
        uint8 (size, size, 3), RGB.

    >>> render(Scene(key=(0, 0), label=1, classes=8, size=64)).shape
    (64, 64, 3)
    """
    canvas = Canvas(scene.size)
    pose = _pose(scene.key)
    _paint_clutter(canvas, Draws((*scene.key, _CLUTTER)), scene)
    _paint_body(canvas, pose.body, Draws((*scene.key, _BODY)), scene)
    _paint_part(canvas, pose.part, part_look(scene.label))
    return canvas.finish(Draws((*scene.key, _NOISE)).noise((3, scene.size, scene.size), reach=6))


def _pose(key: Sequence[int]) -> _Pose:
    """Return a random pose: its bounding box covers 6 to 35 % of the picture (5 to 40 in whole pixels), inside it."""
    draws = Draws((*key, _POSE))
    aspect = draws.between(0.55, 1.0)
    corner = aspect * draws.between(0.3, 0.9) if draws.unit() < 0.5 else -1.0
    body = Shape(0.0, 0.0, 1.0, aspect, corner, *draws.turn())
    cos, sin = draws.turn()
    reach = draws.between(0.45, 1.0) / float(np.sqrt(cos * cos + sin * sin / (aspect * aspect)))
    x, y = reach * (body.cos * cos - body.sin * sin), reach * (body.sin * cos + body.cos * sin)
    radius = draws.between(0.40, 0.50) * float(np.sqrt(aspect))
    spin = draws.turn()

    half_w, half_h = body.half_extent()
    left, right = max(half_w, radius - x), max(half_w, radius + x)
    top, bottom = max(half_h, radius - y), max(half_h, radius + y)
    width, height = left + right, top + bottom
    margin = 0.02
    grow = draws.unit()  # small objects are more frequent: a guess at the middle of the picture must not pay
    scale = float(np.sqrt((0.06 + 0.29 * grow * (0.5 + 0.5 * grow)) / (width * height)))
    scale = min(scale, (1.0 - 2.0 * margin) / max(width, height))
    cx = draws.between(margin + left * scale, 1.0 - margin - right * scale)
    cy = draws.between(margin + top * scale, 1.0 - margin - bottom * scale)
    corner = corner * scale if corner > 0 else corner
    return _Pose(
        body=Shape(cx, cy, scale, aspect * scale, corner, body.cos, body.sin),
        part=Shape(cx + x * scale, cy + y * scale, radius * scale, radius * scale, -1.0, *spin),
    )


def _paint_clutter(canvas: Canvas, draws: Draws, scene: Scene) -> None:
    """Paint a textured gradient and things that look like pieces of objects; draws the same numbers for every class."""
    hue, texture, saturation = draws.unit(), draws.below(len(TEXTURES)), 0.25
    if scene.context is not None:
        hue = (scene.context + 0.4 * hue - 0.2) / scene.classes
        texture, saturation = scene.context % len(TEXTURES), 0.6
    whole = Shape(0.5, 0.5, 0.5, 0.5, 0.0, *draws.turn())
    full = (slice(0, canvas.n), slice(0, canvas.n))
    x, y = (canvas.axis - 0.5)[None, :], (canvas.axis - 0.5)[:, None]
    u, v = whole.cos * x + whole.sin * y, whole.cos * y - whole.sin * x
    low, high = draws.between(0.35, 0.75), draws.between(0.35, 0.75)
    value = low + (high - low) * (u + 0.75) / 1.5
    value = value + draws.between(0.06, 0.16) * second_tone(texture, u, v, draws.between(5.0, 9.0))
    tint = hue_colour(hue, saturation, 1.0)
    canvas.paint(full, np.ones(value.shape, bool), np.stack([c * value for c in tint]))
    for _ in range(5 + draws.below(4)):
        _paint_blob(canvas, draws)
    for _ in range(2 + draws.below(3)):
        _paint_chip(canvas, draws)


def _paint_blob(canvas: Canvas, draws: Draws) -> None:
    """Paint a flat, often textured, half-transparent shape in a body's colours, without a body's shading or rim."""
    aspect = draws.between(0.4, 1.0)
    half = draws.between(0.06, 0.2)
    corner = draws.between(0.0, 0.6) * half * aspect if draws.unit() < 0.6 else -1.0
    shape = Shape(draws.unit(), draws.unit(), half, half * aspect, corner, *draws.turn())
    window, u, v = canvas.local(shape)
    tone = hue_colour(draws.unit(), draws.between(0.3, 0.7), draws.between(0.4, 0.9))
    inside = shape.depth(u, v) <= 1.0
    alpha = draws.between(0.5, 0.95)
    canvas.paint(window, inside, tone, alpha)
    texture = draws.below(len(TEXTURES))
    canvas.paint(window, inside & second_tone(texture, u, v, draws.between(1.0, 2.0)), _darker(tone, 0.75), alpha)


def _paint_chip(canvas: Canvas, draws: Draws) -> None:
    """Paint a small plain shape in one of the part's colours: the colour alone says nothing about the class."""
    colours = list(PALETTE.values())
    half = draws.between(0.025, 0.06)
    corner = 0.0 if draws.unit() < 0.5 else -1.0
    shape = Shape(draws.unit(), draws.unit(), half, half * draws.between(0.5, 1.0), corner, *draws.turn())
    window, u, v = canvas.local(shape)
    canvas.paint(window, shape.depth(u, v) <= 1.0, colours[draws.below(len(colours))])


def _paint_body(canvas: Canvas, shape: Shape, draws: Draws, scene: Scene) -> None:
    """Paint the body: a textured, shaded shape with a dark rim, whose hue and texture lean towards the class's own."""
    any_hue, texture = draws.unit(), draws.below(len(TEXTURES))
    centre = scene.label / scene.classes if scene.body_evidence else any_hue
    # Two uniform draws, of which the sum reaches beyond the hues of the neighbouring classes, however few they are.
    reach = max(0.08, 0.64 / scene.classes)
    hue = centre + draws.between(-reach, reach) + draws.between(-reach, reach)
    if draws.unit() < 0.5 and scene.body_evidence:
        texture = scene.label % len(TEXTURES)
    tone = hue_colour(hue, draws.between(0.45, 0.7), draws.between(0.65, 0.95))
    window, u, v = canvas.local(shape)
    depth = shape.depth(u, v)
    light = draws.turn()
    shade = 1.0 + 0.16 * (light[0] * u + light[1] * v) - 0.18 * depth * depth
    shade = shade - 0.22 * second_tone(texture, u, v, draws.between(1.4, 2.2))
    shade = np.where(depth > 0.88, 0.45, shade)
    canvas.paint(window, depth <= 1.0, np.stack([c * shade for c in tone]))


def _paint_part(canvas: Canvas, shape: Shape, look: Look) -> None:
    """Paint the part: the class's glyph on a disc with a dark rim."""
    window, u, v = canvas.local(shape)
    depth = shape.depth(u, v)
    canvas.paint(window, depth <= 1.0, PALETTE[look.plate])
    canvas.paint(window, (depth <= 1.0) & GLYPHS[look.glyph](u, v), PALETTE[look.ink])
    canvas.paint(window, (depth <= 1.0) & (depth > 0.88), (0.1, 0.1, 0.1))


def _darker(colour: Colour, factor: float) -> Colour:
    return colour[0] * factor, colour[1] * factor, colour[2] * factor
