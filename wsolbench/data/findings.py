"""What may be wrong with a dataset, found in arrays: each function looks for one kind of thing and reads no file.

A :class:`Finding` says what, where and what to do. It is a problem if ``run`` refuses the dataset because of it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from wsolbench.data.scanning import DAMAGED, MISSING, READABLE, MaskScan, Scan
from wsolbench.data.splits import Annotations, ImageSplit, Ints, SplitName

Bools = npt.NDArray[np.bool_]
Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One kind of thing that is wrong with one split, or between two.

    Attributes:
        kind: a word for programs.
        splits: the split, or the two; empty: the dataset as a whole.
        problem: ``run`` refuses the dataset because of it; otherwise a warning.
        text: what, with its count.
        advice: what to do.
        ids: the images of each case: one, or the two that are alike; those of two splits in the order of ``splits``.
        details: a word on each case; empty where there is nothing to add.
    """

    kind: str
    splits: tuple[SplitName, ...]
    problem: bool
    text: str
    advice: str
    ids: tuple[tuple[str, ...], ...] = ()
    details: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert len(self.details) in (0, len(self.ids))


@dataclass(frozen=True, kw_only=True, eq=False)
class SplitContent:
    """What was read of one split.

    Attributes:
        images: ids and labels.
        scan: of its pictures.
        annotations: its boxes or masks; None for train-weaksup, and where they cannot be read.
    """

    images: ImageSplit
    scan: Scan
    annotations: Annotations | None

    @property
    def split(self) -> SplitName:
        """The split's name."""
        return self.images.name


def plural(count: int, what: str) -> str:
    """Write a count with its noun.

    >>> plural(1, "box"), plural(2, "box"), plural(1200, "picture"), plural(3, "class")
    ('1 box', '2 boxes', '1,200 pictures', '3 classes')
    """
    ending = "" if count == 1 else "es" if what.endswith(("s", "x")) else "s"
    return f"{count:,} {what}{ending}"


def find_in_split(content: SplitContent, class_names: Sequence[str]) -> list[Finding]:
    """Return what is wrong inside one split, problems first.

    Args:
        content: the split.
        class_names: of the dataset.
    """
    findings = [*_unreadable(content), *_absent_classes(content, class_names), *_repeated(content), *_rotated(content)]
    if content.annotations is not None and content.annotations.masks is None:
        findings += [*_sizes(content, content.annotations), *find_in_boxes(content.annotations)]
    return sorted(findings, key=lambda finding: not finding.problem)


def find_between(contents: Sequence[SplitContent]) -> list[Finding]:
    """Return what splits share: ids, or pictures under different ids, pair by pair."""
    findings = []
    for first, second in combinations(contents, 2):
        findings += [*_shared_ids(first, second), *_shared_pictures(first, second)]
    return sorted(findings, key=lambda finding: not finding.problem)


# --- pictures ---------------------------------------------------------------------------------------------------------


def _unreadable(content: SplitContent) -> Iterator[Finding]:
    wordings = (
        (MISSING, "missing", "restore them, or take them out of the split"),
        (DAMAGED, "unreadable", "download or unpack them again, or take them out of the split"),
    )
    for state, kind, advice in wordings:
        found = np.flatnonzero(content.scan.state == state)
        if found.size:
            text = f"{plural(found.size, 'picture')} {'is' if found.size == 1 else 'are'} {kind}"
            reasons = tuple(content.scan.reasons.get(index, "") for index in found.tolist())
            yield _of_images(content, found, kind, text, f"{advice}: `run` stops at the first", reasons, problem=True)


def _absent_classes(content: SplitContent, class_names: Sequence[str]) -> Iterator[Finding]:
    counts = np.bincount(content.images.labels, minlength=len(class_names))
    absent = [class_names[label] for label in np.flatnonzero(counts == 0).tolist()]
    if absent:
        lost = "cannot be learned" if content.split == "train-weaksup" else "is not part of any number on it"
        shown = ", ".join(absent[:3]) + (", ..." if len(absent) > 3 else "")
        yield Finding(
            kind="absent-classes",
            splits=(content.split,),
            problem=False,
            text=f"{plural(len(absent), 'class')} without a picture ({shown})",
            advice=f"such a class {lost}: add pictures of it, or leave it out of the dataset",
        )


def _repeated(content: SplitContent) -> Iterator[Finding]:
    """Look for pictures that are equal to an earlier one of their split."""
    labels = content.images.labels
    first, repeat = _alike(content.scan.digests, content.scan.digests, content.scan.state == READABLE)
    first, repeat = first[first != repeat], repeat[first != repeat]
    if not repeat.size:
        return
    torn = labels[first] != labels[repeat]
    text = f"{plural(repeat.size, 'picture')} {'repeats' if repeat.size == 1 else 'repeat'} another one"
    text += f", {torn.sum():,} of them under another class" if torn.any() else ""
    ids = content.images.ids
    yield Finding(
        kind="repeated",
        splits=(content.split,),
        problem=False,
        text=text,
        advice="keep one of each, the one with the right class; in a published split leave them and say so",
        ids=tuple((ids[one], ids[other]) for one, other in zip(first.tolist(), repeat.tolist(), strict=True)),
        details=tuple("different classes" if each else "" for each in torn.tolist()),
    )


def _rotated(content: SplitContent) -> Iterator[Finding]:
    found = np.flatnonzero(content.scan.orientations != 1)
    if found.size:
        yield _of_images(
            content,
            found,
            "rotated",
            f"{plural(found.size, 'picture')} with EXIF rotation, which the protocol does not apply",
            "pixels are read as stored: boxes drawn on the upright picture do not fit; store it upright (exiftran -ai)",
            tuple(f"orientation {value}" for value in content.scan.orientations[found].tolist()),
        )


def _of_images(
    content: SplitContent,
    found: Ints,
    kind: str,
    text: str,
    advice: str,
    details: tuple[str, ...],
    *,
    problem: bool = False,
) -> Finding:
    ids = tuple((content.images.ids[index],) for index in found.tolist())
    splits = (content.split,)
    return Finding(kind=kind, splits=splits, problem=problem, text=text, advice=advice, ids=ids, details=details)


# --- boxes ------------------------------------------------------------------------------------------------------------


def _sizes(content: SplitContent, annotations: Annotations) -> Iterator[Finding]:
    """Compare the sizes that the annotations tell with those of the pictures."""
    real, told = content.scan.sizes, annotations.sizes
    found = np.flatnonzero((content.scan.state == READABLE) & (real != told).any(axis=1))
    if not found.size:
        return
    turned = int((real[found] == told[found, ::-1]).all(axis=1).sum())
    text = f"{plural(found.size, 'picture')} of another size than the annotations say"
    text += f", {turned:,} of them turned by 90 degrees" if turned else ""
    yield _of_images(
        content,
        found,
        "sizes",
        text,
        "boxes are scaled by the size in the annotations: correct it, or get the picture that was annotated",
        tuple(f"{_by(told[each])} told, is {_by(real[each])} (h x w)" for each in found.tolist()),
    )


def find_in_boxes(annotations: Annotations) -> list[Finding]:
    """Return boxes that are reversed, outside of their picture, larger than it, or partly outside.

    Args:
        annotations: of a split with boxes. A box is of the first of these kinds that fits. One pixel too many on the
            right or below is an end that was meant as exclusive, and "partly outside" however large the box is.
    """
    owners = np.repeat(np.arange(len(annotations)), np.diff(annotations.offsets))
    x0, y0, x1, y1 = annotations.boxes.T
    height, width = annotations.sizes[owners].T
    over = np.maximum.reduce([-x0, -y0, x1 - width + 1, y1 - height + 1])
    kinds: dict[str, tuple[Bools, str, str]] = {
        "reversed": ((x0 > x1) | (y0 > y1), "reversed", "swap the corners: expected x0 <= x1 and y0 <= y1"),
        "outside": (
            (x0 >= width) | (y0 >= height) | (x1 < 0) | (y1 < 0),
            "entirely outside of their pictures",
            "expected x0 y0 x1 y1 in pixels of the picture as stored; look for x and y swapped",
        ),
        "larger": (
            (over > 1) & ((x1 - x0 >= width) | (y1 - y0 >= height)),
            "larger than their pictures",
            "expected x0 y0 x1 y1 in pixels of the picture as stored; look for boxes of another resolution",
        ),
        "leaving": (over > 0, "partly outside of their pictures", "scored as they are, never clipped (PROTOCOL)"),
    }
    left, findings = np.ones(len(owners), dtype=bool), []
    for kind, (marks, text, advice) in kinds.items():
        found = np.flatnonzero(marks & left)
        left &= ~marks
        if found.size:
            findings.append(_of_boxes(annotations, owners, found, kind, text, advice, int(over[found].max())))
    return findings


def _of_boxes(
    annotations: Annotations, owners: Ints, found: Ints, kind: str, text: str, advice: str, over: int
) -> Finding:
    images = owners[found].tolist()
    if kind == "leaving":
        text += f", by {over} pixel{'' if over == 1 else 's'} at most"
        advice += "; one pixel is the habit of exclusive ends" if over == 1 else "; correct them where they are wrong"
    return Finding(
        kind=f"boxes-{kind}",
        splits=(annotations.split,),
        problem=kind == "reversed",
        text=f"{plural(found.size, 'box')} {text}",
        advice=advice,
        ids=tuple((annotations.ids[index],) for index in images),
        details=tuple(
            f"{' '.join(map(str, box))} in {_by(annotations.sizes[index])} (h x w)"
            for index, box in zip(images, annotations.boxes[found].tolist(), strict=True)
        ),
    )


def _by(size: Ints) -> str:
    return f"{size[0]}x{size[1]}"


# --- masks ------------------------------------------------------------------------------------------------------------


def find_in_masks(annotations: Annotations, masks: MaskScan) -> list[Finding]:
    """Return masks that cannot be read or show no object.

    Args:
        annotations: of a split with masks.
        masks: what they are.
    """
    unread, empty = np.flatnonzero(np.isnan(masks.cover)), np.flatnonzero(masks.cover == 0)
    nothing = bool(empty.size) and not (masks.cover > 0).any()
    cases = (
        (
            unread,
            "masks-unreadable",
            True,
            f"masks of {plural(unread.size, 'image')} cannot be read",
            "download or unpack them again: `run` stops at the first",
            tuple(masks.reasons.get(index, "") for index in unread.tolist()),
        ),
        (
            empty,
            "masks-empty",
            nothing,
            f"masks of {plural(empty.size, 'image')} show no object{', and no others do' if nothing else ''}",
            "in a mask the object is white, or a grey above half of white: look at these files",
            (),
        ),
    )
    return [
        Finding(
            kind=kind,
            splits=(annotations.split,),
            problem=problem,
            text=text,
            advice=advice,
            ids=tuple((annotations.ids[index],) for index in found.tolist()),
            details=details,
        )
        for found, kind, problem, text, advice, details in cases
        if found.size
    ]


# --- between splits ---------------------------------------------------------------------------------------------------


def _shared_ids(first: SplitContent, second: SplitContent) -> Iterator[Finding]:
    known = set(first.images.ids)
    shared = tuple((image, image) for image in second.images.ids if image in known)
    if shared:
        yield Finding(
            kind="shared-ids",
            splits=(first.split, second.split),
            problem=False,  # for a benchmark it is one too, which says so itself
            text=f"{plural(len(shared), 'id')} in both splits",
            advice="every picture belongs to one split: take these out of one of the two",
            ids=shared,
        )


def _shared_pictures(first: SplitContent, second: SplitContent) -> Iterator[Finding]:
    """Look for pictures of the second split that the first has under another id."""
    ids = (first.images.ids, second.images.ids)
    one, other = _alike(first.scan.digests, second.scan.digests, second.scan.state == READABLE)
    pairs = [(ids[0][i], ids[1][j]) for i, j in zip(one.tolist(), other.tolist(), strict=True)]
    known = set(ids[0])
    shared = tuple((left, right) for left, right in pairs if right not in known)  # equal ids are a finding already
    if shared:
        verb = "is" if len(shared) == 1 else "are"
        yield Finding(
            kind="shared-pictures",
            splits=(first.split, second.split),
            problem=False,
            text=f"{plural(len(shared), 'picture')} of {second.split} {verb} also in {first.split} by another id",
            advice=f"what {second.split} measures was seen before: take them out of one, or say so beside the numbers",
            ids=shared,
        )


def _alike(known: Hashes, asked: Hashes, usable: Bools) -> tuple[Ints, Ints]:
    """Return the pairs of equal hashes: of ``asked`` each usable one, of ``known`` the first that is equal to it.

    >>> hashes = np.array([7, 8, 7, 0], dtype=np.uint64)
    >>> [each.tolist() for each in _alike(hashes, hashes, hashes > 0)]
    [[0, 1, 0], [0, 1, 2]]
    """
    if not len(known):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    order = np.argsort(known, kind="stable")
    place = np.minimum(np.searchsorted(known, asked, sorter=order), len(known) - 1)
    first = order[place]
    found = np.flatnonzero((known[first] == asked) & usable)
    return first[found], found
