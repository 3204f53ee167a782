"""The hits beside a record: ``<run-id>.npz`` with what every scored split's maps found, and its label ranks.

That is the bit-packed decisions of boxes, or each image's pixels by their map's value where there are masks.
"""

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wsolbench.data.splits import SplitName
from wsolbench.protocols import BoxHits, Hits, PixelHits, SplitScores

SCORED: tuple[SplitName, ...] = ("train-fullsup", "test")
"""The splits that every record has hits of."""


SLICE = "slice:"
"""What the names of arrays begin with that say which images belong to a slice."""

Masks = Mapping[str, npt.NDArray[np.bool_]]
"""Slice -> which images belong to it, bool (N,)."""


def score_arrays(
    splits: Mapping[SplitName, SplitScores], slices: Mapping[SplitName, Masks] | None = None
) -> dict[str, npt.NDArray[Any]]:
    """Return the hits and label ranks of every split as named arrays: ``test/packed``, ``test/ranks``, ...

    Args:
        splits: what was scored.
        slices: of each split, kept beside the hits so that slices can be compared without the data.
    """
    arrays: dict[str, npt.NDArray[Any]] = {}
    for split, scores in splits.items():
        arrays |= {f"{split}/{name}": array for name, array in scores.hits.arrays().items()}
        if scores.ranks is not None:
            arrays[f"{split}/ranks"] = scores.ranks
        for name, mask in (slices or {}).get(split, {}).items():
            arrays[f"{split}/{SLICE}{name}"] = np.packbits(mask)
    return arrays


def hits_from_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> Hits:
    """Build hits from their arrays, of boxes or of pixels; ValueError where they are neither."""
    return PixelHits.from_arrays(arrays) if "pixels" in arrays else BoxHits.from_arrays(arrays)


def read_scores(path: Path) -> dict[SplitName, SplitScores]:
    """Read what :func:`score_arrays` gave.

    Args:
        path: of the ``.npz``.

    Returns:
        What was scored of every split of :data:`SCORED`.

    Raises:
        ValueError: it is not there, damaged or foreign; a clause that says how.
    """
    arrays = read_arrays(path)
    found: dict[SplitName, SplitScores] = {}
    for split in SCORED:
        own = {name.removeprefix(f"{split}/"): array for name, array in arrays.items() if name.startswith(f"{split}/")}
        own = {name: array for name, array in own.items() if not name.startswith(SLICE)}
        ranks = own.pop("ranks", None)
        # The number of classes is not stored; the ranks prove at least so many. Whether that is enough for a Top-k was
        # decided when the split was scored, and stands in the record.
        classes = None if ranks is None else int(ranks.max(initial=0)) + 1
        found[split] = SplitScores(hits=hits_from_arrays(own), ranks=ranks, num_classes=classes)
    return found


def read_slice(path: Path, name: str, sizes: Mapping[SplitName, int]) -> dict[SplitName, npt.NDArray[np.bool_]] | None:
    """Read which images of every scored split belong to a slice.

    Args:
        path: of the ``.npz``.
        name: of the slice.
        sizes: number of images of each split.

    Returns:
        bool (N,) of each split; None where the file does not hold the slice.

    Raises:
        ValueError: the file is not there or damaged; a clause that says how.
    """
    arrays = read_arrays(path)
    if any(f"{split}/{SLICE}{name}" not in arrays for split in sizes):
        return None
    return {
        split: np.unpackbits(arrays[f"{split}/{SLICE}{name}"], count=size).astype(bool) for split, size in sizes.items()
    }


def read_outputs(path: Path, ids: Sequence[str], map_size: tuple[int, int]) -> dict[str, npt.NDArray[Any]]:
    """Read what a run kept of a split: ``maps``, float (N, h, w), and ``logits``, float (N, K), where it has any.

    Args:
        path: ``runs/<run-id>/<split>.npz``.
        ids: of the split's images.
        map_size: (h, w) of the run's raw maps.

    Raises:
        ValueError: it is not there, damaged, or not of these images; a clause that says how.
    """
    arrays = read_arrays(path)
    if not {"ids", "maps"} <= arrays.keys():
        raise ValueError(f"it holds {', '.join(arrays) or 'nothing'}; expected ids and maps, as a run writes them")
    shape, expected = arrays["maps"].shape, (len(ids), *map_size)
    if tuple(arrays["ids"].tolist()) != tuple(ids) or shape != expected:
        raise ValueError(f"it holds maps {shape} that are not those of this run, {expected}; was it copied?")
    return arrays


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read every array of an ``.npz``.

    Raises:
        ValueError: it is not there or damaged; a clause that says how.
    """
    try:
        # Opened here: numpy leaves a damaged file open.
        with path.open("rb") as file, np.load(file) as stored:
            return {name: stored[name] for name in stored.files}
    except FileNotFoundError:
        raise ValueError("it is not there") from None
    except (OSError, ValueError, EOFError, KeyError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise ValueError(f"it cannot be read as an .npz file of arrays ({reason})") from None
