"""The user's own pictures: which files are pictures, which class each has, and what a name in an annotation file means.

Names are posix paths below the data root. A root that holds nothing but one folder is that folder, so that an archive
may be of a folder or of its content.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from wsolbench.data.sources import Source, is_unsafe, open_source
from wsolbench.data.splits import SPLITS, SplitName
from wsolbench.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff")
"""Endings of pictures, in any case. TIFF is not read, but a sentence about it is better than a picture less."""

SPLIT_WORDS: Mapping[str, SplitName] = {
    "train-weaksup": "train-weaksup",
    "train-fullsup": "train-fullsup",
    "test": "test",
    "train": "train-weaksup",
    "val": "train-fullsup",
}
"""How folders and the column ``split`` may call a split."""

MASKS = "masks"
"""The folder of the masks; no class can have this name."""

EXPECTED = "expected a folder for each class with its pictures (docs/your-own-pictures.md)"


@dataclass(frozen=True, kw_only=True, eq=False)
class Layout:
    """What is where.

    Attributes:
        source: where files are read from.
        files: picture id -> name of its file. The id is the name in Unicode's composed form (NFC): the same file has
            another form after it was on a Mac.
        classes: names of the folders that hold pictures, sorted as people count: ``a2`` before ``a10``.
        class_of: picture id -> name of its class.
        split_of: picture id -> split; empty where folders do not tell it.
        others: names of all other files, those below ``masks`` included.
    """

    source: Source
    files: Mapping[str, str]
    classes: tuple[str, ...]
    class_of: Mapping[str, str]
    split_of: Mapping[str, SplitName]
    others: tuple[str, ...]


def read_layout(data_root: Path, cache: Path | None = None) -> Layout:
    """List a folder or archive of pictures; no picture is opened.

    Args:
        data_root: the folder or archive.
        cache: folder that gets the decompressed form of a ``.tgz``; None: the user's.

    Raises:
        UserError: there is no such folder, or there are not two folders with pictures, one for each class.
    """
    source = _unwrapped(open_source(data_root, cache=cache))
    names = [name for name in source.names() if _visible(name)]
    pictures = [name for name in names if _is_picture(name) and name.split("/")[0] != MASKS]
    if not pictures:
        raise UserError(f"--data-root {data_root} holds no pictures ({' '.join(SUFFIXES)}); {EXPECTED}")
    files = _by_id(pictures, data_root)
    top = _container(list(files))
    below = {image: image.removeprefix(top).split("/") for image in files}
    words = {parts[0] for parts in below.values() if len(parts) > 1}
    by_split = _are_splits(words, data_root)
    depth = 1 if by_split else 0
    for image, parts in below.items():
        if len(parts) < depth + 2:
            raise UserError(f"{source.label(files[image])} lies in no class's folder; {EXPECTED}")
    class_of = {image: parts[depth] for image, parts in below.items()}
    classes = tuple(sorted(set(class_of.values()), key=natural))
    if len(classes) < 2:
        raise UserError(f"--data-root {data_root} has pictures of one class, '{classes[0]}'; expected two or more")
    chosen = set(pictures)
    return Layout(
        source=source,
        files=files,
        classes=classes,
        class_of=class_of,
        split_of={image: SPLIT_WORDS[parts[0]] for image, parts in below.items()} if by_split else {},
        others=tuple(name for name in names if name not in chosen),
    )


def natural(name: str) -> tuple[tuple[str | int, ...], str]:
    """Return a key that sorts names as people count, upper and lower case together.

    >>> sorted(["a10", "b", "A1", "a2"], key=natural)
    ['A1', 'a2', 'a10', 'b']
    """
    parts = re.split("([0-9]+)", name)
    return tuple(int(part) if index % 2 else part.casefold() for index, part in enumerate(parts)), name


class Finder:
    """Says which picture a name means: the whole path, or as much of its end as only one picture has.

    Args:
        images: ids of the pictures.
        stems: names come without the ending of a picture's file.
    """

    def __init__(self, images: Iterable[str], *, stems: bool = False) -> None:
        self._found: dict[str, list[str]] = {}
        for image in images:
            key = str(PurePosixPath(image).with_suffix("")) if stems else image
            parts = key.split("/")
            for start in range(len(parts)):
                self._found.setdefault("/".join(parts[start:]), []).append(image)
        self._exact = {} if stems else {image: [image] for image in images}

    def find(self, name: str, place: str) -> str:
        """Return the id of a picture.

        Args:
            name: as it is written there.
            place: file and line, for the error.

        Raises:
            UserError: the path is absolute or leaves the folder, or no picture or several have this name.
        """
        if is_unsafe(name):
            raise UserError(
                f"{place}: '{name}' is no path below the data root; expected one such as CLASS/1.jpg, so correct it"
            )
        key = re.sub(r"^(\./)+", "", composed(name).replace("\\", "/"))
        images = self._exact.get(key) or self._found.get(key, [])
        if not images:
            raise UserError(f"{place}: there is no picture '{name}'; restore it or take it out there")
        if len(images) > 1:
            raise UserError(
                f"{place}: '{name}' may mean '{images[0]}' or '{images[1]}'; write the path that only one of them has"
            )
        return images[0]


def composed(name: str) -> str:
    """Return a name in Unicode's composed form (NFC), in which names are compared."""
    return unicodedata.normalize("NFC", name)


def _unwrapped(source: Source) -> Source:
    """Enter folders that are all there is."""
    while len(found := [name for name in source.children() if _visible(name)]) == 1 and source.children(found[0]):
        source = source.below(found[0])
    return source


def _visible(name: str) -> bool:
    """Tell apart what desktops leave behind: names with a dot, and the twin files in archives of a Mac."""
    return not any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _is_picture(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _by_id(names: Iterable[str], data_root: Path) -> dict[str, str]:
    files: dict[str, str] = {}
    for name in names:
        image = composed(name)
        if image in files:
            raise UserError(
                f"--data-root {data_root} has two pictures '{image}', whose names differ only in how Unicode writes "
                "an accent; expected one of that name, so rename one"
            )
        files[image] = name
    return files


def _container(images: list[str]) -> str:
    """Return the folder that all pictures lie in, such as ``images/``, with its slash; empty if there is none."""
    first, last = min(images).split("/")[:-1], max(images).split("/")[:-1]
    shared = 0
    while shared < min(len(first), len(last)) and first[shared] == last[shared]:
        shared += 1
    return "".join(f"{part}/" for part in first[:shared])


def _are_splits(words: set[str], data_root: Path) -> bool:
    """Tell whether folders are splits, not classes; two names of splits are enough to expect the third."""
    found = sorted(words & SPLIT_WORDS.keys())
    if len(found) < 2:
        return False
    if len(words) != len(SPLITS) or {SPLIT_WORDS.get(word) for word in words} != set(SPLITS):
        raise UserError(
            f"--data-root {data_root} has the folders {', '.join(sorted(words))}; expected exactly train/ val/ test/ "
            "or train-weaksup/ train-fullsup/ test/ with the classes inside, so rename, add or move folders"
        )
    return True
