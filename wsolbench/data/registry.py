"""The datasets by name. Nothing is opened, and no reader imported, until a dataset is asked for."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsolbench.data.splits import Annotations, Dataset, SplitName
from wsolbench.errors import UserError, unknown_name

Options = Mapping[str, str]


@dataclass(frozen=True)
class DatasetEntry:
    """One dataset.

    Attributes:
        summary: one line for ``wsolbench list datasets``.
        image_size: side of the evaluation size in pixels where the dataset itself is not opened to tell.
        options: names that ``--data-option`` takes, all whole numbers.
        open: returns the dataset, given its root and options; None: only ``evaluate`` knows it, by its published
            split files.
    """

    summary: str
    image_size: int
    options: tuple[str, ...] = ()
    open: Callable[[Path | None, Mapping[str, int]], Dataset] | None = None


def _parts(variant: str) -> Callable[[Path | None, Mapping[str, int]], Dataset]:
    def open_dataset(root: Path | None, options: Mapping[str, int]) -> Dataset:
        from wsolbench.data.parts import open_parts

        chosen: dict[str, Any] = {"variant": variant, **options}
        return open_parts(**chosen)

    return open_dataset


def _tiny_imagenet(root: Path | None, options: Mapping[str, int]) -> Dataset:
    from wsolbench.data.tiny_imagenet import open_tiny_imagenet

    return open_tiny_imagenet(root, classes=options.get("classes"))


_PARTS_OPTIONS = ("seed", "classes", "train", "fullsup", "test", "size")

DATASETS: dict[str, DatasetEntry] = {
    "parts": DatasetEntry(
        "generated: a small part names the class, a large body hints at it", 64, _PARTS_OPTIONS, _parts("")
    ),
    "parts/context": DatasetEntry(
        "parts, with a background that tells the class in training only", 64, _PARTS_OPTIONS, _parts("context")
    ),
    "parts/no-body": DatasetEntry(
        "parts, with a body that says nothing about the class", 64, _PARTS_OPTIONS, _parts("no-body")
    ),
    "tiny-imagenet": DatasetEntry(
        "64-pixel photographs; --data-root tiny-imagenet-200.zip or its folder", 64, ("classes",), _tiny_imagenet
    ),
    "cub": DatasetEntry("CUB-200-2011; for evaluate, with --metadata", 224),
    "ilsvrc": DatasetEntry("ImageNet; for evaluate, with --metadata", 224),
    "openimages": DatasetEntry("OpenImages30k, masks; for evaluate, with --metadata and --masks-root", 224),
    "folder": DatasetEntry("your own split files, in the published format; for evaluate, with --metadata", 224),
}


def dataset_entry(name: str) -> DatasetEntry:
    """Return the entry of a dataset.

    Raises:
        UserError: there is no such dataset; the nearest name is suggested.
    """
    if name not in DATASETS:
        raise unknown_name("dataset", name, DATASETS)
    return DATASETS[name]


def open_dataset(name: str, root: Path | None, options: Options) -> Dataset:
    """Open a dataset for training and scoring.

    Args:
        name: as in ``wsolbench list datasets``.
        root: where the images are: a folder, or the archive as downloaded; generated datasets need none.
        options: text values of the dataset's options.

    Raises:
        UserError: unknown name or option, missing or damaged files.
    """
    entry = dataset_entry(name)
    if entry.open is None:
        raise UserError(
            f"this version can score maps for {name} (wsolbench evaluate ... --metadata DIR) but not train on it yet; "
            f"datasets to train on: {', '.join(key for key, other in DATASETS.items() if other.open)}"
        )
    return entry.open(root, _whole_numbers(name, entry.options, options))


def open_annotations(
    name: str,
    splits: Iterable[SplitName],
    *,
    root: Path | None,
    metadata: Path | None,
    masks_root: Path | None = None,
    options: Options,
) -> tuple[dict[SplitName, Annotations], int]:
    """Read the boxes of some splits: from the published split files if ``metadata`` is given, else from the dataset.

    Of a dataset with masks, which only published split files tell of, it is the masks.

    Args:
        name: as in ``wsolbench list datasets``.
        splits: ``train-fullsup``, ``test`` or both.
        root: where the images are, for a dataset that reads them.
        metadata: folder with the published ``train/ val/ test/``.
        masks_root: folder of the masks, for a dataset that has them.
        options: text values of the dataset's options.

    Returns:
        The annotations by split, and the side of the evaluation size in pixels: what the opened dataset says, so that
        scoring maps and training agree whatever the options are; from published files the entry's.

    Raises:
        UserError: unknown name, neither source given, missing or malformed files.
    """
    entry = dataset_entry(name)
    if metadata is not None:
        from wsolbench.data.published import read_annotations

        return {split: read_annotations(metadata, split, masks_root) for split in splits}, entry.image_size
    if entry.open is None:
        raise UserError(f"{name} needs --metadata DIR, the folder with the published train/ val/ test/ split files")
    if masks_root is not None:
        raise UserError("--masks-root is for published split files that list masks; give their folder with --metadata")
    dataset = open_dataset(name, root, options)
    return {split: dataset.annotations(split) for split in splits}, dataset.image_size


def _whole_numbers(name: str, known: tuple[str, ...], options: Options) -> dict[str, int]:
    """Read the options' values."""
    numbers = {}
    for option, text in options.items():
        if option not in known:
            raise unknown_name(f"option of {name}", option, known)
        try:
            numbers[option] = int(text)
        except ValueError:
            raise UserError(f"--data-option {option}={text} cannot be read; expected a whole number") from None
    return numbers
