"""``wsolbench data check``: every picture and box of a dataset read once, and what is to be known of them.

Works through the interface of :class:`~wsolbench.data.splits.Dataset` alone, so that it sees what ``run`` would see.
Boxes of ``train-weaksup`` are not asked for: they do not exist under the protocol.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from wsolbench.data.findings import Finding, SplitContent, find_between, find_in_masks, find_in_split
from wsolbench.data.published import EXPECTED_COUNTS
from wsolbench.data.scanning import READABLE, Scan, scan, scan_masks
from wsolbench.data.splits import Annotations, Dataset, ImageSplit, Ints, SplitName
from wsolbench.errors import UserError
from wsolbench.protocols import between, box_cover
from wsolbench.scoring import SLICES, scaled_boxes

Look = Callable[[SplitName, int, Image.Image], None]
"""Is shown picture i of a split, mode RGB; called from several threads."""


class Spread(NamedTuple):
    """The smallest, the median and the largest of some numbers."""

    low: int
    median: int
    high: int


@dataclass(frozen=True, kw_only=True)
class ObjectSummary:
    """Where the objects of a split are.

    Attributes:
        kind: ``boxes`` or ``masks``.
        count: how many.
        per_image: how many an image has.
        several: images with more than one.
        median_cover: of the share of the image that the largest box, or all masks, cover.
        slices: for each slice of the protocol, the images whose objects cover less, as much, and more.
    """

    kind: str
    count: int
    per_image: Spread
    several: int
    median_cover: float
    slices: Mapping[str, tuple[int, int, int]]


@dataclass(frozen=True, kw_only=True)
class SplitSummary:
    """What there is in a split.

    Attributes:
        split: its name.
        images: how many it lists.
        expected: how many the benchmark has; None where that is not known.
        classes: how many classes have an image.
        class_counts: images by class name.
        heights: of the readable pictures, in pixels; None without any.
        widths: likewise.
        sizes: how many different sizes there are.
        objects: None for train-weaksup, and where the annotations cannot be read.
        fingerprint: as in the records; empty where it cannot be made.
    """

    split: SplitName
    images: int
    expected: int | None
    classes: int
    class_counts: Mapping[str, int]
    heights: Spread | None
    widths: Spread | None
    sizes: int
    objects: ObjectSummary | None
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a check found.

    Attributes:
        dataset: its name.
        options: what was chosen beside the name.
        image_size: side of the evaluation size in pixels.
        class_names: of the dataset.
        splits: the splits that could be opened.
        findings: what is wrong, problems first.
        pictures: how many were read.
        seconds: how long it took.
    """

    dataset: str
    options: Mapping[str, int | float | str]
    image_size: int
    class_names: tuple[str, ...]
    splits: tuple[SplitSummary, ...]
    findings: tuple[Finding, ...]
    pictures: int
    seconds: float

    @property
    def problems(self) -> list[Finding]:
        """What ``run`` refuses."""
        return [finding for finding in self.findings if finding.problem]

    @property
    def warnings(self) -> list[Finding]:
        """What ``run`` does not refuse."""
        return [finding for finding in self.findings if not finding.problem]


@dataclass(kw_only=True, eq=False)
class OpenedSplits:
    """The splits of a dataset that can be opened, and why others cannot; made by :func:`open_splits`.

    Attributes:
        images: pictures and labels.
        annotations: boxes or masks, where there are any.
        findings: one for everything that could not be opened.
    """

    images: dict[SplitName, ImageSplit] = field(default_factory=dict)
    annotations: dict[SplitName, Annotations] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


def open_splits(dataset: Dataset, splits: Sequence[SplitName]) -> OpenedSplits:
    """List pictures and read annotations; what fails becomes a finding, and the others go on.

    Args:
        dataset: to check.
        splits: which of its splits.
    """
    opened = OpenedSplits()
    for split in splits:
        try:
            images = dataset.expected_images(split)
        except UserError as error:
            opened.findings.append(_unopened(split, "images", error))
            continue
        if not len(images):
            opened.findings.append(_unopened(split, "images", "it has no picture; expected at least one"))
            continue
        opened.images[split] = images
        if split == "train-weaksup":
            continue
        try:
            opened.annotations[split] = dataset.annotations(split)
        except UserError as error:
            opened.findings.append(_unopened(split, "annotations", error))
    return opened


def check_dataset(dataset: Dataset, opened: OpenedSplits, look: Look | None = None, quiet: bool = False) -> Report:
    """Read every picture and mask once and report.

    Args:
        dataset: to check.
        opened: its splits.
        look: is shown every picture that can be read.
        quiet: plain progress lines even on a terminal.
    """
    start = time.monotonic()
    findings = [*opened.findings, *_incomparable(dataset, list(opened.images))]
    contents, summaries = [], []
    for split, images in opened.images.items():
        content = _read(images, opened.annotations.get(split), look, quiet)
        objects = None
        if content.annotations is not None:
            objects, found = _objects(content.annotations, dataset.image_size, quiet)
            findings += found
        contents.append(content)
        summaries.append(_summary(dataset, content, objects))
        findings += find_in_split(content, dataset.class_names)
    findings += find_between(contents)
    return Report(
        dataset=dataset.name,
        options=dict(dataset.options),
        image_size=dataset.image_size,
        class_names=dataset.class_names,
        splits=tuple(summaries),
        findings=tuple(sorted(findings, key=lambda finding: not finding.problem)),  # stable: by split within each kind
        pictures=sum(len(content.images) for content in contents),
        seconds=time.monotonic() - start,
    )


def _unopened(split: SplitName, kind: str, reason: UserError | str) -> Finding:
    what = "pictures cannot be listed" if kind == "images" else "boxes or masks cannot be read"
    advice = "correct that first: nothing more could be checked there"
    return Finding(kind=kind, splits=(split,), problem=True, text=f"its {what}: {reason}", advice=advice)


def _read(images: ImageSplit, annotations: Annotations | None, look: Look | None, quiet: bool) -> SplitContent:
    shown = None if look is None else lambda index, picture: look(images.name, index, picture)
    return SplitContent(images=images, scan=scan(images, shown, quiet), annotations=annotations)


def _incomparable(dataset: Dataset, splits: Sequence[SplitName]) -> list[Finding]:
    """Return what the dataset itself objects to: another number of images than the benchmark's, say."""
    try:
        sentences = dataset.problems(splits)
    except UserError:  # what cannot be listed is a finding already
        return []
    advice = "complete the copy of the dataset; `run --allow-partial` takes it as it is, for numbers of your own"
    return [Finding(kind="benchmark", splits=(), problem=True, text=text, advice=advice) for text in sentences]


def _fingerprint(dataset: Dataset, split: SplitName) -> str:
    """Return a split's fingerprint; empty where something that it is made of cannot be read."""
    try:
        return dataset.fingerprint(split)
    except UserError:
        return ""


# --- numbers ----------------------------------------------------------------------------------------------------------


def _summary(dataset: Dataset, content: SplitContent, objects: ObjectSummary | None) -> SplitSummary:
    images, sizes = content.images, _readable_sizes(content.scan)
    counts = np.bincount(images.labels, minlength=len(dataset.class_names))
    return SplitSummary(
        split=images.name,
        images=len(images),
        expected=EXPECTED_COUNTS.get(dataset.name, {}).get(images.name),
        classes=int((counts > 0).sum()),
        class_counts=dict(zip(dataset.class_names, counts.tolist(), strict=True)),
        heights=_spread(sizes[:, 0]) if len(sizes) else None,
        widths=_spread(sizes[:, 1]) if len(sizes) else None,
        sizes=len(np.unique(sizes, axis=0)),
        objects=objects,
        fingerprint=_fingerprint(dataset, images.name),
    )


def _readable_sizes(pictures: Scan) -> Ints:
    sizes: Ints = pictures.sizes[pictures.state == READABLE]
    return sizes


def _spread(values: npt.NDArray[np.integer]) -> Spread:
    """Return the spread of at least one number; of an even count the lower median, which is one of them.

    >>> _spread(np.array([5, 1, 2, 9]))
    Spread(low=1, median=2, high=9)
    """
    ordered = np.sort(values)
    return Spread(int(ordered[0]), int(ordered[(len(ordered) - 1) // 2]), int(ordered[-1]))


def _objects(annotations: Annotations, side: int, quiet: bool) -> tuple[ObjectSummary, list[Finding]]:
    """Return where a split's objects are, and what is wrong with its masks, which are read for it."""
    findings: list[Finding] = []
    if annotations.masks is None:
        counts = np.diff(annotations.offsets)
        cover = box_cover(scaled_boxes(annotations, side), annotations.offsets, (side, side))
    else:
        counts = np.array([len(names) for names in annotations.masks.objects])
        masks = scan_masks(annotations, side, quiet)
        cover, findings = masks.cover[np.isfinite(masks.cover)], find_in_masks(annotations, masks)
    slices = {}
    for name, (low, high) in SLICES.items():
        slices[name] = int((cover < low).sum()), int(between(cover, low, high).sum()), int((cover > high).sum())
    summary = ObjectSummary(
        kind="boxes" if annotations.masks is None else "masks",
        count=int(counts.sum()),
        per_image=_spread(counts),
        several=int((counts > 1).sum()),
        median_cover=float(np.median(cover)) if len(cover) else 0.0,
        slices=slices,
    )
    return summary, findings
