"""The order in which a score map's pixels are swept, and the few of them at which a component or a hole can change.

"Earlier" is a total order of the pixels: by value, then by index, both descending. What a pixel does to the components
of the earlier ones is told by one byte, which of its 8 neighbours are earlier::

    NW N NE      If the earlier ones are connected among themselves (one arc of the ring), the pixel merges nothing.
    W  .  E      It moves the left side of its component's box only if nothing of the component is in its own column
    SW S SE      or to the left, so only if the arc lies within NE, E, SE; likewise for the other sides.

A pixel that does neither is *inner*. The others are *critical*: it is enough to sort and sweep those. An upsampled
14x14 map has about 4 thousand among its 50,176 pixels. Inverted, the byte says the same of the reverse order, in which
the 4-connected holes grow.

An inner pixel belongs to the component of its arc, so the component of any pixel is found by going from one earlier
neighbour to the next until a critical pixel. Going only up or down ends at the highest pixel of a hill of the column::

    column   3 5 8 9 7 4       8 is earlier than 5, 9 than 8; 9 has nothing earlier above or below, so what is earlier
                  ^            lies to the left or to the right of it, and such a pixel is critical

A pixel that moves the left or the right side is the highest of a hill itself, and its neighbour in the next column is
mostly a step or two from the next hill's highest. For the top and the bottom side go left and right.

Indices are unsigned, which spares the code for negative ones. A distance back is one modulo 2^64.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

Bytes = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.uint64]
Number = Any  # an integer that numba needs as uint64 in places
Numbers = npt.NDArray[Any]  # integers of the narrowest type that holds them

LEVELS = 256
COMPONENT, HOLE = 0, 1  # the two sweeps: 8-connected in the order, 4-connected in its reverse
RING = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))  # (dy, dx) of bits 0 to 7
EAST, WEST = 1 << 2, 1 << 6
_VERTICAL, _HORIZONTAL = (0, 4), (2, 6)
_NOT_BELOW, _NOT_RIGHT, _NOT_ABOVE, _NOT_LEFT = 0b11000111, 0b11110001, 0b01111100, 0b00011111


class Canvas(NamedTuple):
    """One map in a frame, flat, what is known of its pixels, and the memory to sort them; a row is ``1 << shift`` long.

    Attributes:
        value: uint8, 0 in the frame.
        earlier: uint8, each pixel's byte; all bits in the frame, to which nothing is later.
        label: uint32, the component or hole that a critical pixel joined; 0, the outside, in the frame.
        listed: uint32, the critical pixels of either sweep by index.
        picked: uint32, those of one sweep by index.
        order: uint32, those of one sweep by value, then index.
        target: uint32, in that order the pixel at the end of the way from each one.
        axis: uint8, in that order the axis of the way.
        beside: uint64 (9,), the distance to neighbour k at k + 1, modulo 2^64.
        ways: uint64 (2, 2, 256), by sweep, axis (up and down, left and right) and byte: the distance from an inner
            pixel to an earlier neighbour along the axis, modulo 2^64; 0 for a critical pixel.
        shift: int64.
    """

    value: Bytes
    earlier: Bytes
    label: Numbers
    listed: Numbers
    picked: Numbers
    order: Numbers
    target: Numbers
    axis: Bytes
    beside: Indices
    ways: Indices
    shift: int


def _arcs(bits: int, eight: bool) -> list[list[int]]:
    """Group the neighbours set in ``bits`` by how they are connected without the pixel between them.

    Only groups that the pixel itself is connected to are returned, each with such a neighbour first.
    """
    left = {k for k in range(8) if bits >> k & 1}
    groups = []
    while left:
        group = [left.pop()]
        for k in group:
            near = {j for j in left if _touch(RING[k], RING[j], eight)}
            group += near
            left -= near
        group.sort(key=lambda k: (k % 2, k))  # odd bits are diagonal
        if eight or group[0] % 2 == 0:
            groups.append(group)
    return groups


def _touch(a: tuple[int, int], b: tuple[int, int], eight: bool) -> bool:
    """Say whether two positions of the ring are neighbours of each other."""
    dy, dx = abs(a[0] - b[0]), abs(a[1] - b[1])
    return max(dy, dx) == 1 if eight else dy + dx == 1


def _tables() -> tuple[Bytes, Bytes, Bytes, Bytes]:
    """Work out what each byte means in the sweeps; the last index is always the byte of the component sweep.

    Returns:
        uint8 (2, 256), a neighbour of each arc, as bits; 0 where a component or a hole begins.
        uint8 (2, 256), 1 + that neighbour where there is one arc, else 0.
        uint8 (2, 2, 256), per axis 1 + the neighbour to which the way from an inner pixel leads, 0 for critical ones.
        uint8 (256,), bit 0 if critical for components, bit 1 for holes.
    """
    unite, only = np.zeros((2, 2, LEVELS), dtype=np.uint8)
    ways, critical = np.zeros((2, 2, LEVELS), dtype=np.uint8), np.zeros(LEVELS, dtype=np.uint8)
    for sweep, byte in np.ndindex(2, LEVELS):
        arcs = _arcs(LEVELS - 1 - byte if sweep == HOLE else byte, eight=sweep == COMPONENT)
        unite[sweep, byte] = sum(1 << arc[0] for arc in arcs)
        only[sweep, byte] = 1 + arcs[0][0] if len(arcs) == 1 else 0
        members = [RING[k] for arc in arcs for k in arc]
        moves_a_side = any(set(axis) in ({-1}, {1}) for axis in zip(*members, strict=True))
        if len(arcs) != 1 or moves_a_side:
            critical[byte] |= 1 << sweep
        else:
            for axis, wanted in enumerate((_VERTICAL, _HORIZONTAL)):
                ways[sweep, axis, byte] = 1 + next(k for k in arcs[0] if k in wanted)
    return unite, only, ways, critical


UNITE, ONLY, WAYS, CRITICAL = _tables()
_LISTED = np.minimum(CRITICAL, 1)
# By 1 + neighbour, the axis to go on along: 0, up and down, from the one to the left or right; 1 from the others.
AXIS = np.array([0, 1, 1, 0, 1, 1, 1, 0, 1], dtype=np.uint64)


@njit(nogil=True, cache=True)
def new_canvas(height: int, width: int) -> Canvas:
    """Return the memory for maps of one size."""
    shift = 0
    while 1 << shift < width + 2:
        shift += 1
    size = (height + 2) << shift
    beside = np.zeros(9, dtype=np.int64)
    for k in range(8):
        beside[k + 1] = (RING[k][0] << shift) + RING[k][1]
    ways = np.zeros(WAYS.shape, dtype=np.uint64)
    for i in range(WAYS.size):
        ways.flat[i] = beside[WAYS.flat[i]]
    value, earlier = np.zeros(size, dtype=np.uint8), np.full(size, LEVELS - 1, dtype=np.uint8)
    lists = np.empty((4, size), dtype=np.uint32)
    label = np.zeros(size, dtype=np.uint32)
    return Canvas(
        value,
        earlier,
        label,
        lists[0],
        lists[1],
        lists[2],
        lists[3],
        np.empty(size, dtype=np.uint8),
        beside.astype(np.uint64),
        ways,
        shift,
    )


@njit(nogil=True, cache=True)
def draw(score_map: Bytes, canvas: Canvas) -> None:
    """Put a map into the frame."""
    height, width = score_map.shape
    framed = canvas.value.reshape(height + 2, 1 << canvas.shift)
    for y in range(height):
        source, line = score_map[y], framed[y + 1, 1 : width + 1]
        for x in range(width):
            line[x] = source[x]


@njit(nogil=True, cache=True)
def _find_earlier(height: int, width: int, canvas: Canvas) -> None:
    """Fill ``earlier`` for the map on the canvas.

    Whole rows are compared, frame and all, which the compiler turns into vector instructions; then the neighbours in
    the frame are taken out again: to them nothing is later.
    """
    value = canvas.value.reshape(height + 2, 1 << canvas.shift)
    earlier = canvas.earlier.reshape(value.shape)
    for y in range(1, height + 1):
        above, line, below, out = value[y - 1], value[y], value[y + 1], earlier[y, 1 : width + 1]
        for x in range(width):
            v = line[x + 1]
            bits = (above[x + 1] > v) | (above[x + 2] > v) << 1 | (line[x + 2] >= v) << 2 | (below[x + 2] >= v) << 3
            bits |= (below[x + 1] >= v) << 4 | (below[x] >= v) << 5 | (line[x] > v) << 6
            out[x] = bits | (above[x] > v) << 7
        earlier[y, width] &= _NOT_RIGHT
        earlier[y, 1] &= _NOT_LEFT
    for x in range(1, width + 1):
        earlier[height, x] &= _NOT_BELOW
        earlier[1, x] &= _NOT_ABOVE


@njit(nogil=True, cache=True)
def list_critical(height: int, width: int, canvas: Canvas) -> Number:
    """Fill ``earlier`` and ``listed`` for the map on the canvas, and return the number of pixels listed.

    Every pixel is written, and the next one overwrites it unless it is critical: no branch to mispredict.
    """
    _find_earlier(height, width, canvas)
    listed, count = canvas.listed, np.uint64(0)
    for y in range(1, height + 1):
        first = y << canvas.shift
        line = canvas.earlier[first : first + width + 1]
        for x in range(1, width + 1):
            listed[count] = first + x
            count += np.uint64(_LISTED[line[x]])
    return np.int64(count)


@njit(nogil=True, cache=True)
def sort_critical(listed: int, sweep: int, canvas: Canvas) -> tuple[Number, int]:
    """Fill ``order`` with those of the ``listed`` critical pixels that are critical for one sweep.

    Returns:
        Their number, and the number of those where a component or hole begins.
    """
    earlier, value, picked, order = canvas.earlier, canvas.value, canvas.picked, canvas.order
    member, begins = CRITICAL >> sweep & 1, UNITE[sweep] == 0
    start = np.zeros(LEVELS + 1, dtype=np.uint64)
    count, births = np.uint64(0), 0
    for i in range(listed):
        p = canvas.listed[np.uint64(i)]
        bits = earlier[p]
        picked[count] = p
        count += np.uint64(member[bits])
        start[np.uint64(value[p]) + np.uint64(1)] += np.uint64(member[bits])
        births += begins[bits]
    for v in range(LEVELS):
        start[v + 1] += start[v]
    for i in range(count):
        p = picked[i]
        v = value[p]
        order[start[v]] = p
        start[v] += np.uint64(1)
    return np.int64(count), births


@njit(nogil=True, cache=True)
def reach(q: Number, axis: Number, ways: Indices, earlier: Bytes) -> Number:
    """Return the critical pixel at the end of the way from a pixel; ``ways`` are those of one sweep."""
    while ways[axis, earlier[q]] != 0:
        q += ways[axis, earlier[q]]
    return q


@njit(nogil=True, cache=True)
def reach_all(pixels: int, sweep: int, canvas: Canvas) -> None:
    """Fill ``target`` for the pixels of ``order`` with one arc; a pixel with none or several is its own.

    The ways are gone side by side, a step each, and those at their end drop out: no branch to mispredict, and no step
    waits for that of another way.
    """
    earlier, order, target, axis, pending = canvas.earlier, canvas.order, canvas.target, canvas.axis, canvas.picked
    only, ways, beside = ONLY[sweep], canvas.ways[sweep], canvas.beside
    for i in range(np.uint64(pixels)):
        neighbour = only[earlier[order[i]]]
        target[i] = order[i] + beside[neighbour]
        axis[i] = AXIS[neighbour]
        pending[i] = i
    left = np.uint64(pixels)
    while left > 0:
        under_way = np.uint64(0)
        for j in range(left):
            i = pending[j]
            step = ways[axis[i], earlier[target[i]]]
            target[i] += step
            pending[under_way] = i
            under_way += np.uint64(step != 0)
        left = under_way
