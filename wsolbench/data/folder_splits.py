"""Splits of the user's own pictures: by folders, by the column ``split`` of ``boxes.csv``, or drawn by a hash."""

import re
from collections.abc import Collection, Mapping
from typing import NamedTuple

from wsolbench.data.folder_layout import Layout
from wsolbench.data.hashing import smallest_hashes
from wsolbench.data.splits import SPLITS, SplitName
from wsolbench.errors import UserError

DEFAULT_SHARES = {"fullsup": "10%", "test": "20%"}
"""Shares of each class's annotated pictures that are drawn, by their option."""


class Share(NamedTuple):
    """How many pictures of a class are drawn: a number, or a part in percent."""

    value: int
    percent: bool

    def of(self, count: int) -> int:
        """Return the number for a class with ``count`` pictures to draw from; of a part at least one, rounded down.

        >>> Share(10, True).of(57), Share(10, True).of(3), Share(10, False).of(3)
        (5, 1, 10)
        """
        return max(1, count * self.value // 100) if self.percent else self.value


def read_share(option: str, text: str) -> Share:
    """Read a share: ``5`` pictures of each class, or ``20%`` of them.

    Raises:
        UserError: it is neither, or out of range.

    >>> read_share("test", "20%")
    Share(value=20, percent=True)
    """
    match = re.fullmatch(r"([1-9][0-9]{0,6})(%?)", text.strip())
    if match is None or (match[2] and int(match[1]) > 99):
        raise UserError(
            f"--data-option {option}={text} cannot be read; expected a number of pictures of each class, such as 5, "
            "or a part of them from 1% to 99%"
        )
    return Share(int(match[1]), bool(match[2]))


def draw_splits(
    layout: Layout, annotated: Collection[str], shares: Mapping[str, Share], what: str
) -> dict[str, SplitName]:
    """Draw train-fullsup and test from each class's annotated pictures, by the hash of their ids.

    A class's draw depends on nothing but its own annotated pictures, and it is the same on every machine.

    Args:
        layout: the pictures and their classes.
        annotated: ids of the pictures that have boxes or a mask.
        shares: how many, by ``fullsup`` and ``test``.
        what: how to call the annotations in an error.

    Returns:
        Picture id -> split.

    Raises:
        UserError: a class has too few pictures.
    """
    split_of: dict[str, SplitName] = dict.fromkeys(layout.files, "train-weaksup")
    by_class: dict[str, list[str]] = {name: [] for name in layout.classes}
    for image in layout.files:
        by_class[layout.class_of[image]].append(image)
    for name, own in by_class.items():
        marked = [image for image in own if image in annotated]
        test, fullsup = (shares[option].of(len(marked)) for option in ("test", "fullsup"))
        if test + fullsup > len(marked) or test + fullsup >= len(own):
            raise UserError(
                f"class '{name}' has {len(own)} pictures, {len(marked)} of them in {what}; {fullsup} for train-fullsup "
                f"and {test} for test would be drawn from those and leave one for training, so annotate more or choose "
                "fewer with --data-option fullsup=N and test=N"
            )
        split_of |= dict.fromkeys(smallest_hashes(marked, test), "test")
        rest = [image for image in marked if split_of[image] != "test"]
        split_of |= dict.fromkeys(smallest_hashes(rest, fullsup), "train-fullsup")
    return split_of


def members(layout: Layout, split_of: Mapping[str, SplitName]) -> dict[SplitName, tuple[str, ...]]:
    """Return the pictures of each split.

    Args:
        layout: the pictures and their classes.
        split_of: picture id -> split; a picture that is not in it trains.

    Raises:
        UserError: a split is empty, or a class has no picture to train on.
    """
    found: dict[SplitName, tuple[str, ...]] = {
        split: tuple(image for image in layout.files if split_of.get(image, "train-weaksup") == split)
        for split in SPLITS
    }
    for split, images in found.items():
        if not images:
            raise UserError(f"{layout.source.root} has no picture in {split}; expected some in each of the splits")
    untrained = set(layout.classes).difference(layout.class_of[image] for image in found["train-weaksup"])
    if untrained:
        raise UserError(
            f"class '{min(untrained)}' has no picture in train-weaksup; expected some of every class to train on, "
            "so move some there"
        )
    return found
