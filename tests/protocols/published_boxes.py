"""Boxes of the public split files, for tests that check against the real annotations."""

from pathlib import Path

import numpy as np
import pytest

METADATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "wsol-metadata"


def load(split):
    """Return boxes (M, 4), the sizes (M, 2) of their pictures, and offsets (N + 1,) of a folder such as CUB/test."""
    folder = METADATA / split
    if not folder.is_dir():
        pytest.skip("the public split files (shared/data/wsol-metadata) are not beside the repository")
    ids = (folder / "image_ids.txt").read_text().split()
    place = {name: i for i, name in enumerate(ids)}
    lines = [line.rsplit(",", 4) for line in (folder / "localization.txt").read_text().split()]
    image = np.array([place[line[0]] for line in lines])
    order = np.argsort(image, kind="stable")
    boxes = np.array([[int(v) for v in line[1:]] for line in lines])[order]
    sizes = np.empty((len(ids), 2), dtype=np.int64)
    for line in (folder / "image_sizes.txt").read_text().split():
        name, width, height = line.rsplit(",", 2)
        sizes[place[name]] = int(height), int(width)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(image, minlength=len(ids)))])
    return boxes, sizes[image[order]], offsets
