"""Exact drawing for the generated dataset ``parts``: random numbers, shapes, textures, a canvas.

Every number comes from PCG64's raw stream, which numpy never changes between versions, and from operations that
IEEE 754 rounds exactly (+ - * / sqrt, comparisons, integers), so a picture is the same byte for byte on every machine.
That is why rotations use the rational parametrisation of the circle instead of sines, and why no floats are summed.
Lengths are fractions of the image side, so a picture keeps its composition at every size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Colour = tuple[float, float, float]
Window = tuple[slice, slice]

SUBSAMPLES = 2  # per pixel and axis: an edge pixel is the mean of 4 points
TEXTURES = ("plain", "stripes", "dots", "checks")


class Draws:
    """Random numbers that depend on a key of non-negative integers alone.

    >>> Draws((0, 1)).below(100) == Draws((0, 1)).below(100)
    True
    """

    def __init__(self, key: Sequence[int]) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(list(key)))

    def unit(self) -> float:
        """Return a number in [0, 1)."""
        return (int(self._bits.random_raw()) >> 11) / 9007199254740992.0

    def between(self, low: float, high: float) -> float:
        """Return a number in [low, high]."""
        return low + (high - low) * self.unit()

    def below(self, count: int) -> int:
        """Return an integer in 0 .. count - 1."""
        return int(self.unit() * count)

    def turn(self) -> tuple[float, float]:
        """Return (cosine, sine) of a random angle: a rational point of the first quadrant, then quarter turns."""
        t = self.unit()
        cos, sin = (1.0 - t * t) / (1.0 + t * t), 2.0 * t / (1.0 + t * t)
        return ((cos, sin), (-sin, cos), (-cos, -sin), (sin, -cos))[self.below(4)]

    def noise(self, shape: tuple[int, int, int], reach: int) -> npt.NDArray[np.int16]:
        """Return integers in -reach .. reach (at most 127), int16 of the given shape."""
        count = shape[0] * shape[1] * shape[2]
        raw = np.asarray(self._bits.random_raw(-(-count // 8))).astype("<u8").view(np.uint8)[:count]
        return (raw.reshape(shape).astype(np.int32) * (2 * reach + 1) // 256 - reach).astype(np.int16)


@dataclass(frozen=True)
class Shape:
    """An ellipse or a rounded rectangle; lengths in image sides, x to the right, y down.

    Attributes:
        x: centre.
        y: centre.
        a: half-length along its own first axis.
        b: half-length along its own second axis.
        corner: radius of the corners, at most a and b; negative for an ellipse.
        cos: of the angle from the image's x axis to the first axis.
        sin: of that angle.
    """

    x: float
    y: float
    a: float
    b: float
    corner: float
    cos: float
    sin: float

    def half_extent(self) -> tuple[float, float]:
        """Return half the width and half the height of the upright bounding box.

        >>> Shape(0.5, 0.5, 0.2, 0.1, -1.0, 0.0, 1.0).half_extent()
        (0.1, 0.2)
        """
        cos, sin = abs(self.cos), abs(self.sin)
        if self.corner < 0:
            return _hypot(self.a * cos, self.b * sin), _hypot(self.a * sin, self.b * cos)
        a, b = self.a - self.corner, self.b - self.corner
        return a * cos + b * sin + self.corner, a * sin + b * cos + self.corner

    def depth(self, u: Floats, v: Floats) -> Floats:
        """Return 0 at the centre (less in a rounded rectangle that is longer than wide), 1 on the rim, more outside.

        Args:
            u: float64, coordinates along the first axis, in half-lengths a.
            v: float64, coordinates along the second axis, in half-lengths b.
        """
        if self.corner < 0:
            return np.asarray(np.sqrt(u * u + v * v))
        x, y = abs(u) * self.a - (self.a - self.corner), abs(v) * self.b - (self.b - self.corner)
        over_x, over_y = np.maximum(x, 0.0), np.maximum(y, 0.0)
        distance: Floats = np.sqrt(over_x * over_x + over_y * over_y) + np.minimum(np.maximum(x, y), 0.0) - self.corner
        return distance / self.b + 1.0


def _hypot(x: float, y: float) -> float:
    return float(np.sqrt(x * x + y * y))


class Canvas:
    """A picture under construction: float64 (3, n, n) in [0, 1] with n = size * SUBSAMPLES."""

    def __init__(self, size: int) -> None:
        self.n = size * SUBSAMPLES
        self.axis: Floats = (np.arange(self.n) + 0.5) / self.n
        self.pixels: Floats = np.zeros((3, self.n, self.n))

    def local(self, shape: Shape) -> tuple[Window, Floats, Floats]:
        """Return the window that holds a shape, and the shape's own coordinates u and v of the points in it."""
        return local_axes(shape, self.axis)

    def paint(self, window: Window, where: Mask, colour: Colour | Floats, alpha: float = 1.0) -> None:
        """Cover points of a window with a colour, or with colours (3, h, w); ``alpha`` 1 hides what was there."""
        for channel in range(3):
            view = self.pixels[channel][window]
            np.copyto(view, view + alpha * (colour[channel] - view), where=where)

    def finish(self, noise: npt.NDArray[np.int16]) -> npt.NDArray[np.uint8]:
        """Return the picture, uint8 (size, size, 3): means over subsamples plus noise (3, size, size), in 0 .. 255."""
        fine = np.floor(np.minimum(np.maximum(self.pixels, 0.0), 1.0) * 255.0 + 0.5).astype(np.int32)
        points = SUBSAMPLES * SUBSAMPLES
        coarse = (block_sums(fine) + points // 2) // points + noise
        return np.ascontiguousarray(np.minimum(np.maximum(coarse, 0), 255).astype(np.uint8).transpose(1, 2, 0))


def local_axes(shape: Shape, axis: Floats) -> tuple[Window, Floats, Floats]:
    """Return the window of a square grid that holds a shape, and the shape's own coordinates of the window's points.

    Args:
        shape: the shape; what lies outside the grid is cut off.
        axis: float64 (n,), the grid's coordinates along x and along y.

    Returns:
        The window (rows, columns), then u and v, each float64 of the window's shape; inside, both are in [-1, 1].
    """
    half_w, half_h = shape.half_extent()
    rows, cols = _span(shape.y, half_h, len(axis)), _span(shape.x, half_w, len(axis))
    x, y = (axis[cols] - shape.x)[None, :], (axis[rows] - shape.y)[:, None]
    return (rows, cols), (shape.cos * x + shape.sin * y) / shape.a, (shape.cos * y - shape.sin * x) / shape.b


def _span(centre: float, half: float, n: int) -> slice:
    """Return the grid indices between centre - half and centre + half, with one to spare on each side."""
    start = min(max(int((centre - half) * n) - 1, 0), n)
    return slice(start, max(min(int((centre + half) * n) + 2, n), start))


def block_sums(fine: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Return the sums over blocks of SUBSAMPLES x SUBSAMPLES of the last two axes."""
    rows = fine[..., 0::SUBSAMPLES, :] + fine[..., 1::SUBSAMPLES, :]
    return np.asarray(rows[..., 0::SUBSAMPLES] + rows[..., 1::SUBSAMPLES])


def second_tone(texture: int, u: Floats, v: Floats, bands: float) -> Mask:
    """Return where a texture (index into TEXTURES) has its second tone; ``bands`` periods per unit of u and v."""
    fu, fv = u * bands, v * bands
    fu, fv = fu - np.floor(fu), fv - np.floor(fv)
    match TEXTURES[texture]:
        case "plain":
            return (fu < 0.0) & (fv < 0.0)
        case "stripes":
            return (fu < 0.5) & (fv < 2.0)
        case "dots":
            return (fu - 0.5) * (fu - 0.5) + (fv - 0.5) * (fv - 0.5) < 0.1
        case _:
            return (fu < 0.5) ^ (fv < 0.5)


def hue_colour(hue: float, saturation: float, value: float) -> Colour:
    """Return the RGB colour in [0, 1] of a hue (in turns, any real number), saturation and value in [0, 1].

    >>> hue_colour(0.0, 1.0, 0.5)
    (0.5, 0.0, 0.0)
    """

    def channel(offset: float) -> float:
        place = offset + hue * 6.0
        place -= 6.0 * float(np.floor(place / 6.0))
        return value - value * saturation * max(0.0, min(place, 4.0 - place, 1.0))

    return channel(5.0), channel(3.0), channel(1.0)
