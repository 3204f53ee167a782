"""Score maps and predicted labels made by anyone, as files: found by image id, read when they are asked for.

Three forms of maps: a folder with ``<image id>.npy`` for every image; one ``.npz`` with the arrays ``ids`` (N,),
``maps`` (N, h, w) and, if there are any, ``logits`` (N, K); one ``.npy`` (N, h, w), opened without being read, beside
a file with one id a line. No torch here.
"""

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.npyio import NpzFile

from wsolbench.data.published import numbered_lines
from wsolbench.errors import UserError

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class MapFiles:
    """Maps by image id.

    Attributes:
        origin: what the user named.
        ids: of the maps that are there.
        read: returns the map of an image, any array; raises UserError where the file is damaged.
        name: says which map an image's is, for errors.
        logits: of all images that are there, float (n, K); None where there are none.
    """

    origin: Path
    ids: Sequence[str]
    read: Callable[[str], Array]
    name: Callable[[str], str]
    logits: Array | None = None


def open_maps(origin: Path, ids: Path | None = None) -> MapFiles:
    """Find maps; reads none of a folder's.

    Args:
        origin: a folder, a ``.npz`` or a ``.npy``.
        ids: one id a line, for the ``.npy``.

    Raises:
        UserError: it is none of the three, damaged, or ``ids`` does not fit it.
    """
    kind = "" if origin.is_dir() else origin.suffix.lower()
    if not origin.is_dir() and not (origin.is_file() and kind in {".npz", ".npy"}):
        raise UserError(
            f"'{origin}' is no folder, .npz or .npy; expected a folder with <image id>.npy for every image, "
            "or one file with all maps"
        )
    if (kind == ".npy") != (ids is not None):
        need = "needs its image ids, one a line, in a file" if ids is None else "names its maps itself"
        raise UserError(f"'{origin}' {need}; {'give it with' if ids is None else 'leave out'} --ids")
    if not kind:
        return _folder(origin)
    return _archive(origin) if ids is None else _stack(origin, ids)


def _folder(origin: Path) -> MapFiles:
    """Find the .npy files of a folder and of the folders in it, linked ones too."""
    found = []
    # os.walk, not rglob: 50,000 files in a quarter of the time.
    for place, _, files in os.walk(origin, followlinks=True):
        inside = Path(place).relative_to(origin).as_posix()
        prefix = "" if inside == "." else f"{inside}/"
        found += [prefix + name[:-4] for name in files if name.endswith(".npy")]
    return MapFiles(
        origin=origin,
        ids=found,
        read=lambda image: read_npy(origin / f"{image}.npy"),
        name=lambda image: f"'{origin / image}.npy'",
    )


def _archive(origin: Path) -> MapFiles:
    """Open one .npz as a run keeps them."""
    try:
        # Opened here: of a file that is torn numpy forgets to close its own. Not numpy.load, which takes what is no
        # archive for a pickle, and says how to read it unsafely.
        with origin.open("rb") as file, warnings.catch_warnings(action="ignore"), NpzFile(file) as stored:
            arrays = {name: stored[name] for name in ("ids", "maps", "logits") if name in stored.files}
    except Exception as error:  # damage in the archive's directory or in a header raises nearly anything
        raise UserError(
            f"'{origin}' cannot be read as a .npz file ({_reason(error)}); expected one written by numpy.savez"
        ) from None
    if not {"ids", "maps"} <= arrays.keys():
        raise UserError(f"'{origin}' has the arrays {sorted(arrays)}; expected 'ids' (N,) and 'maps' (N, h, w)")
    ids, maps, logits = arrays["ids"], arrays["maps"], arrays.get("logits")
    if ids.ndim != 1 or ids.dtype.kind not in "US":
        raise UserError(f"'ids' of '{origin}' are {ids.dtype} {ids.shape}; expected texts (N,)")
    if logits is not None and (logits.ndim != 2 or len(logits) != len(ids) or logits.dtype.kind not in "fiu"):
        raise UserError(f"'logits' of '{origin}' are {logits.dtype} {logits.shape}; expected numbers ({len(ids)}, K)")
    return _stacked(origin, [str(image) for image in ids.astype(str)], maps, logits)


def _stack(origin: Path, ids: Path) -> MapFiles:
    """Open one .npy with all maps, without reading them."""
    try:
        with warnings.catch_warnings(action="ignore"):  # as in read_npy
            maps = np.lib.format.open_memmap(origin, mode="r")
    except Exception as error:  # damage in the header, as in read_npy
        raise UserError(
            f"'{origin}' cannot be read as a .npy file ({_reason(error)}); expected one written by numpy.save"
        ) from None
    return _stacked(origin, [line for _, line in numbered_lines(_bytes(ids), str(ids))], maps, None)


def _stacked(origin: Path, ids: list[str], maps: Array, logits: Array | None) -> MapFiles:
    """Give the rows of one array their ids."""
    if maps.ndim != 3 or len(maps) != len(ids):
        raise UserError(f"the maps of '{origin}' have the shape {maps.shape}; expected ({len(ids)}, h, w), one an id")
    rows = {image: row for row, image in enumerate(ids)}
    if len(rows) < len(ids):
        twice = next(image for row, image in enumerate(ids) if rows[image] != row)
        raise UserError(f"the id '{twice}' of '{origin}' occurs twice; expected one map an image")
    return MapFiles(
        origin=origin,
        ids=ids,
        read=lambda image: np.asarray(maps[rows[image]]),
        name=lambda image: f"'{image}' in '{origin}'",
        logits=logits,
    )


def read_npy(path: Path) -> Array:
    """Read a .npy file, whatever array it holds; no more memory is touched than the file has bytes.

    Raises:
        UserError: it cannot be read.
    """
    try:
        # Damage can leave a header that Python parses, but not without remarks of its own.
        with path.open("rb") as file, warnings.catch_warnings(action="ignore"):
            array: Array = np.lib.format.read_array(file, allow_pickle=False)
    except Exception as error:  # the header is a Python literal: damaged, it raises nearly anything, also MemoryError
        raise UserError(
            f"the map '{path}' cannot be read as a .npy file ({_reason(error)}); expected one written by numpy.save, "
            "so write it again"
        ) from None
    return array


def read_predictions(path: Path, index: Mapping[str, int]) -> tuple[list[list[int]], list[str]]:
    """Read predicted labels: ``id,label`` or ``id,label,label,...``, best first, one line an image.

    Args:
        path: the file.
        index: position of every image that must be there.

    Returns:
        Each image's labels in the order of the positions; the ids of lines about other images.

    Raises:
        UserError: a line cannot be read, an image is missing or occurs twice; names the line.
    """
    listed: list[list[int]] = [[] for _ in index]
    extra = []
    for number, line in numbered_lines(_bytes(path), str(path)):
        image, labels = _predicted(line, index)
        if not labels or not image:
            raise UserError(f"{path}, line {number}: expected 'id,label' or 'id,label,label,...', found '{line[:120]}'")
        if len(set(labels)) < len(labels):
            raise UserError(f"{path}, line {number}: a label occurs twice; expected different labels, best first")
        if image not in index:
            extra.append(image)
            continue
        if listed[index[image]]:
            raise UserError(f"{path}, line {number}: id '{image}' occurs twice; expected one line an image")
        listed[index[image]] = labels
    missing = [image for image, position in index.items() if not listed[position]]
    if missing:
        raise UserError(
            f"{path} has no line for {len(missing):,} of {len(index):,} images, first '{missing[0]}'; "
            "expected one for every image of the split"
        )
    return listed, extra


def _predicted(line: str, index: Mapping[str, int]) -> tuple[str, list[int]]:
    """Split a line into an id, which may hold commas, and labels; the longest id that is known, else the shortest."""
    fields = line.split(",")
    ends = [end for end in range(len(fields) - 1, 0, -1) if ",".join(fields[:end]).strip() in index] or [1]
    labels = [field.strip() for field in fields[ends[0] :]]
    if not all(label.isdecimal() and len(label) < 10 for label in labels):
        return "", []
    return ",".join(fields[: ends[0]]).strip(), [int(label) for label in labels]


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}); expected a text file") from None


def _reason(error: Exception) -> str:
    """Return the first line of what an error says."""
    return (str(error) or type(error).__name__).splitlines()[0][:120]
