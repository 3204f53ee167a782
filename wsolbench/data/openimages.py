"""OpenImages30k, and any other dataset that published split files alone describe: boxes, or masks and ignore masks.

The photographs lie below the data root by their ids (``train/01226z/ed9d2feb6d44cff3.jpg``), the masks below
``--masks-root`` or, as their archive unpacks, below the data root too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wsolbench.data.listed import Listed, ListedDataset, Located, in_order, listed, locate
from wsolbench.data.places import Containers, Places
from wsolbench.data.published import (
    FOLDERS,
    PUBLISHED_AT,
    first_mask,
    has_split,
    read_annotations,
    read_labels,
)
from wsolbench.data.splits import Annotations, SplitName
from wsolbench.errors import UserError

_OPENIMAGES_AT = (
    f"OpenImages30k comes from {PUBLISHED_AT} (split files: metadata/OpenImages, for --metadata; photographs and "
    "masks: dataset/prepare_openimages.sh)"
)
_YOUR_OWN = "expected the published format: train/, val/ and test/, each with image_ids.txt and its companions"


def open_openimages(places: Places) -> "PublishedDataset":
    """Open OpenImages30k; of photographs and masks none is read.

    Args:
        places: ``metadata``: the published split files; ``data_root``: the photographs; ``masks_root``: the masks, if
            they are not below the data root.

    Raises:
        UserError: the split files are missing or malformed.
    """
    return open_published("openimages", places, _OPENIMAGES_AT, ("", "OpenImages", "OpenImages30k", "images"))


def open_published(
    name: str, places: Places, advice: str = _YOUR_OWN, folders: Sequence[str] = ("", "images")
) -> "PublishedDataset":
    """Open a dataset that split files in the published format describe.

    Args:
        name: of the dataset.
        places: as for :func:`open_openimages`.
        advice: the clause that ends the error for what is missing: where to get it.
        folders: where the photographs and masks may lie below the data root.

    Returns:
        The dataset. A class is named by the folder that its training photographs lie in, or else by its number.

    Raises:
        UserError: the split files are missing or malformed.
    """
    if places.metadata is None:
        raise UserError(f"{name} needs --metadata, the folder of its split files; {advice}")
    if not has_split(places.metadata, "train-weaksup"):
        raise UserError(f"--metadata {places.metadata} has no train/image_ids.txt; {advice}")
    ids, labels = read_labels(places.metadata, "train-weaksup")
    parents: dict[int, set[str]] = {int(label): set() for label in sorted(set(labels.tolist()))}
    for image, label in zip(ids, labels.tolist(), strict=True):
        parents[label].add(image.rpartition("/")[0].rpartition("/")[2])
    if list(parents) != list(range(len(parents))):
        raise UserError(
            f"{places.metadata / 'train' / 'class_labels.txt'} has {len(parents)} classes, the last one numbered "
            f"{max(parents)}; expected every number from 0 on to have a training image"
        )
    named = len(set.union(*parents.values())) == len(parents)
    return PublishedDataset(
        name=name,
        class_names=tuple(min(found) if named else str(label) for label, found in parents.items()),
        image_size=224,
        cache=places.cache,
        places=places,
        sources=Containers(places),
        advice=advice,
        folders=tuple(folders),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class PublishedDataset(ListedDataset):
    """A dataset described by split files; made by :func:`open_published`.

    Attributes:
        places: where its files are.
        sources: of the photographs.
        advice: where to get what is missing.
        folders: where the photographs and masks may lie below the data root.
    """

    places: Places
    sources: Containers
    advice: str
    folders: tuple[str, ...]

    def _list(self, split: SplitName) -> Listed:
        if not has_split(self._metadata, split):
            raise UserError(f"--metadata {self._metadata} has no {FOLDERS[split]}/image_ids.txt; {self.advice}")
        images = listed(*read_labels(self._metadata, split))
        beyond = images.labels >= len(self.class_names)
        if beyond.any():
            file, first = self._metadata / FOLDERS[split] / "class_labels.txt", int(beyond.argmax())
            raise UserError(
                f"{file} gives '{images.ids[first]}' the label {images.labels[first]}, but train/ has only "
                f"{len(self.class_names)} classes; {self.advice}"
            )
        return images

    def _locate(self, split: SplitName, ids: Sequence[str]) -> Located:
        if not self.sources.paths:
            raise UserError(f"{self.name} needs --data-root, where the photographs of {split} are; {self.advice}")
        places = ((source, folder) for source in self.sources for folder in self.folders)
        return locate(places, ids, f"photographs of {split}", self.advice)

    def _objects(self, split: SplitName) -> Annotations:
        if not has_split(self._metadata, split):
            raise UserError(f"--metadata {self._metadata} has no {FOLDERS[split]}/image_ids.txt; {self.advice}")
        mask = first_mask(self._metadata, split)
        return in_order(
            read_annotations(self._metadata, split, None if mask is None else self._masks_root(split, mask))
        )

    @property
    def _metadata(self) -> Path:
        assert self.places.metadata is not None
        return self.places.metadata

    def _masks_root(self, split: SplitName, mask: str) -> Path:
        """Return the folder that a split's masks are in, by one of them."""
        given, root = self.places.masks_root, self.places.data_root
        if given is not None:
            return given  # what is missing there is counted when it is read
        folders = [] if root is None or not root.is_dir() else [root / folder for folder in self.folders]
        for folder in folders:
            if (folder / mask).is_file():
                return folder
        looked = ", ".join(map(str, folders)) or "no folder, since --data-root gives none"
        raise UserError(
            f"{self.name} {split} has masks, such as '{mask}', and they are not in {looked}; give their folder with "
            f"--masks-root; {self.advice}"
        )
