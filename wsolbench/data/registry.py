"""The datasets by name. Nothing is opened, and no reader imported, until a dataset is asked for."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsolbench.data.places import Places
from wsolbench.data.splits import Annotations, Dataset, SplitName
from wsolbench.errors import UserError, unknown_name

Options = Mapping[str, str]
Open = Callable[[Places, Mapping[str, Any]], Dataset]


@dataclass(frozen=True)
class DatasetEntry:
    """One dataset.

    Attributes:
        summary: one line for ``wsolbench list datasets``.
        image_size: side of the evaluation size in pixels where the dataset itself is not opened to tell.
        open: returns the dataset, given where its files are and its options.
        options: names of the options that ``--data-option`` takes.
        texts: those of them that are not whole numbers.
        generated: whether it has no files at all.
        tuning_options: options that ``tune`` adds unless the user gives them, such as a smaller part to train on; a run
            of what it chose does not have them.
    """

    summary: str
    image_size: int
    open: Open
    options: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    generated: bool = False
    tuning_options: Options = field(default_factory=dict)


def _parts(variant: str) -> Open:
    def open_dataset(places: Places, options: Mapping[str, Any]) -> Dataset:
        from wsolbench.data.parts import open_parts

        chosen: dict[str, Any] = {"variant": variant, **options}
        return open_parts(**chosen)

    return open_dataset


def _tiny_imagenet(places: Places, options: Mapping[str, Any]) -> Dataset:
    from wsolbench.data.tiny_imagenet import open_tiny_imagenet

    _refuse_metadata("tiny-imagenet", places)
    return open_tiny_imagenet(places.data_root, classes=options.get("classes"))


def _cub(places: Places, options: Mapping[str, Any]) -> Dataset:
    from wsolbench.data.cub import open_cub

    return open_cub(places, **options)


def _ilsvrc(places: Places, options: Mapping[str, Any]) -> Dataset:
    from wsolbench.data.ilsvrc import open_ilsvrc

    return open_ilsvrc(places, **options)


def _openimages(places: Places, options: Mapping[str, Any]) -> Dataset:
    from wsolbench.data.openimages import open_openimages

    return open_openimages(places)


def _folder(places: Places, options: Mapping[str, Any]) -> Dataset:
    from wsolbench.data.folder import open_folder
    from wsolbench.data.openimages import open_published

    if places.metadata is None:
        _refuse_metadata("folder", places)  # its masks lie below the data root
        return open_folder(places.data_root, cache=places.cache, **options)
    if options:
        raise UserError(f"--metadata says what the splits are; leave out --data-option {next(iter(options))}, or it")
    return open_published("folder", places)


def _refuse_metadata(name: str, places: Places) -> None:
    """Refuse split files and masks of elsewhere for a dataset that has its own."""
    for option, place in (("--metadata", places.metadata), ("--masks-root", places.masks_root)):
        if place is not None:
            raise UserError(f"{name} has its own boxes or masks below --data-root; leave out {option}")


def _generated(summary: str, variant: str) -> DatasetEntry:
    options = ("seed", "classes", "train", "fullsup", "test", "size")
    return DatasetEntry(summary, 64, _parts(variant), options=options, generated=True)


DATASETS: dict[str, DatasetEntry] = {
    "parts": _generated("generated: a small part names the class, a large body hints at it", ""),
    "parts/context": _generated("parts, with a background that tells the class in training only", "context"),
    "parts/no-body": _generated("parts, with a body that says nothing about the class", "no-body"),
    "tiny-imagenet": DatasetEntry(
        "64-pixel photographs; --data-root tiny-imagenet-200.zip or its folder",
        64,
        _tiny_imagenet,
        options=("classes",),
    ),
    "cub": DatasetEntry(
        "CUB-200-2011; --data-root CUB_200_2011 or its .tgz, --metadata for CUBV2", 224, _cub, options=("masks",)
    ),
    "ilsvrc": DatasetEntry(
        "ImageNet; --data-root with train/ and val/, --metadata for ImageNetV2",
        224,
        _ilsvrc,
        options=("proxy",),
        tuning_options={"proxy": "10"},
    ),
    "openimages": DatasetEntry("OpenImages30k, masks; --data-root, --metadata, --masks-root", 224, _openimages),
    "folder": DatasetEntry(
        "your own: --data-root with a folder for each class; or split files in the published format with --metadata",
        224,
        _folder,
        options=("fullsup", "test"),
        texts=("fullsup", "test"),
    ),
}


def dataset_entry(name: str) -> DatasetEntry:
    """Return the entry of a dataset.

    Raises:
        UserError: there is no such dataset; the nearest name is suggested.
    """
    if name not in DATASETS:
        raise unknown_name("dataset", name, DATASETS)
    return DATASETS[name]


def open_dataset(
    name: str,
    root: Path | None,
    options: Options,
    *,
    metadata: Path | None = None,
    masks_root: Path | None = None,
    cache: Path | None = None,
) -> Dataset:
    """Open a dataset for training and scoring.

    Args:
        name: as in ``wsolbench list datasets``.
        root: where the images are: a folder, or the archive as downloaded; generated datasets need none.
        options: text values of the dataset's options.
        metadata: folder of split files in the published format.
        masks_root: folder of the masks, for a dataset that has them.
        cache: folder of what is found out or unpacked once; None: the user's; ``none``: nowhere.

    Raises:
        UserError: unknown name or option, missing or damaged files, or places that the dataset has no use for.
    """
    return open_places(name, Places(data_root=root, metadata=metadata, masks_root=masks_root, cache=cache), options)


def open_places(name: str, places: Places, options: Options) -> Dataset:
    """Do :func:`open_dataset` with everything in its place."""
    entry = dataset_entry(name)
    if entry.generated:
        _refuse_metadata(name, places)
    return entry.open(places, _values(name, entry, options))


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
    if masks_root is not None:
        raise UserError("--masks-root is for published split files that list masks; give their folder with --metadata")
    dataset = open_dataset(name, root, options)
    return {split: dataset.annotations(split) for split in splits}, dataset.image_size


def _values(name: str, entry: DatasetEntry, options: Options) -> dict[str, Any]:
    """Read the options' values."""
    values: dict[str, Any] = {}
    for option, text in options.items():
        if option not in entry.options:
            raise unknown_name(f"option of {name}", option, entry.options)
        try:
            values[option] = text if option in entry.texts else int(text)
        except ValueError:
            raise UserError(f"--data-option {option}={text} cannot be read; expected a whole number") from None
    return values
