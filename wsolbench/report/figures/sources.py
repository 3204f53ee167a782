"""What figures are drawn from: the files beside a record, and the data that it was made on.

Whatever is missing is a :class:`~wsolbench.errors.UserError`, one sentence that says why a figure cannot be drawn.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wsolbench.data.places import Places
from wsolbench.data.splits import Annotations, Dataset
from wsolbench.errors import UserError
from wsolbench.null_rows import NULL_ROWS
from wsolbench.protocols import (
    THRESHOLDS,
    BoxHits,
    PixelHits,
    level_ious,
    levels,
    prepare_normalized,
)
from wsolbench.record_schema import Record
from wsolbench.recorded_data import recorded_division, recorded_normalization
from wsolbench.records import record_files
from wsolbench.scoring import in_parts, scaled_boxes, slice_masks
from wsolbench.stored_hits import read_outputs, read_scores

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Maps = npt.NDArray[np.floating] | Sequence[npt.NDArray[np.floating]]

FROZEN = "gt_known_fullsup"
"""The key whose threshold decides which boxes are predicted: chosen on train-fullsup, for IoU 0.5."""


class Shelf:
    """Where the files of the records below a folder lie.

    Args:
        results: as for :func:`~wsolbench.records.record_files`.
    """

    def __init__(self, results: Path) -> None:
        self._results = results
        self._records: dict[str, Path] = {}
        for path in record_files(results):
            self._records.setdefault(path.stem, path)

    def hits(self, record: Record) -> Path:
        """Return the file of a record's hits."""
        return self._path(record).with_suffix(".npz")

    def maps(self, record: Record) -> Path:
        """Return the file that a run kept its raw maps of ``test`` in."""
        folder = self._dataset(record)
        for _ in record.identity["dataset"].split("/"):
            folder = folder.parent
        return folder / "runs" / record.run_id / "test.npz"

    def choice(self, record: Record) -> Path:
        """Return the file of the choice that a tuned run was made by."""
        assert record.tuned is not None
        return self._dataset(record) / "tuning" / record.tuned.study / "choice.json"

    def _dataset(self, record: Record) -> Path:
        return self._path(record).absolute().parent.parent

    def _path(self, record: Record) -> Path:
        if record.run_id not in self._records:
            raise UserError(f"there is no record of run {record.run_id} below '{self._results}'")
        return self._records[record.run_id]


class Sources:
    """What the figures of one table are drawn from; read when it is first asked for, and then kept.

    Args:
        shelf: where the files are.
        places: where the dataset's files are, for what needs pictures or boxes.
        example: a record of the table.
        dataset: the table's, where it is open already.
    """

    def __init__(self, shelf: Shelf, places: Places, example: Record, dataset: Dataset | None = None) -> None:
        self._open = dataset
        self._shelf = shelf
        self._places = places
        self._example = example
        self._hits: dict[str, BoxHits] = {}
        self._ious: dict[str, Floats] = {}

    def hits(self, record: Record) -> BoxHits:
        """Return the hits of ``test``; UserError where they are missing, or of masks."""
        if record.run_id not in self._hits:
            path = self._shelf.hits(record)
            try:
                found = read_scores(path)["test"].hits
            except ValueError as error:
                raise UserError(f"the hits of run {record.run_id} in '{path}' are unusable: {error}") from None
            if isinstance(found, PixelHits):
                raise UserError(f"the images of run {record.run_id} have masks, no boxes")
            self._hits[record.run_id] = found
        return self._hits[record.run_id]

    def choice(self, record: Record) -> Path:
        """Return the file of the choice that a tuned run was made by."""
        return self._shelf.choice(record)

    @cached_property
    def dataset(self) -> Dataset:
        """The table's dataset; UserError where it is not here, or not the one that was scored."""
        return self._open or recorded_division(self._example, self._places).dataset

    @cached_property
    def annotations(self) -> Annotations:
        """The boxes of ``test``; UserError where it has masks."""
        found = self.dataset.annotations("test")
        if found.masks is not None:
            raise UserError(f"the images of {self.dataset.name} have masks, no boxes")
        return found

    @property
    def side(self) -> int:
        """Side of the evaluation size, pixels."""
        return int(self._example.identity["recipe"]["image_size"])

    @cached_property
    def truth(self) -> list[Ints]:
        """Each test image's boxes at the evaluation size, int64 (m, 4)."""
        return np.split(scaled_boxes(self.annotations, self.side), self.annotations.offsets[1:-1])

    def among(self, part: str) -> Bools:
        """Return which test images are in a slice, bool (N,); the empty text: all."""
        if not part:
            return np.ones(len(self.annotations), dtype=bool)
        return slice_masks(self.annotations, self.side)[part]

    def score_maps(self, record: Record, images: Sequence[int]) -> Bytes:
        """Return the score maps of some test images, uint8 (n, S, S); UserError where the run kept no maps."""
        raw = self._raw(record)
        return prepare_normalized(
            np.stack([raw[index] for index in images]), (self.side,) * 2, recorded_normalization(record)
        ).maps

    def ious(self, record: Record) -> Floats:
        """Return each test image's best IoU at the frozen threshold, float64 (N,).

        Raises:
            UserError: the run kept no maps, or maps that do not give the record's accuracy.
        """
        if record.run_id not in self._ious:
            raw, t = self._raw(record), frozen_threshold(record)
            found = np.empty(len(self.truth))
            for start, part in in_parts(raw):
                maps = prepare_normalized(part, (self.side,) * 2, recorded_normalization(record)).maps
                found[start : start + len(part)] = operating_ious(maps, self.truth[start : start + len(part)], t)
            again = 100 * (found >= 0.5).mean()
            if abs(again - record.metrics[FROZEN]) > 1e-6:
                raise UserError(
                    f"the raw maps of run {record.run_id} give {again:.2f} for {FROZEN}, its record says "
                    f"{record.metrics[FROZEN]:.2f}; they are not that run's, or another version's"
                )
            self._ious[record.run_id] = found
        return self._ious[record.run_id]

    def _raw(self, record: Record) -> Maps:
        """Return the raw maps of ``test``: kept by the run, or drawn again for a null row."""
        name = record.identity["method"]
        if name in NULL_ROWS and not record.trainable:
            return NULL_ROWS[name](self.annotations, self.side, record.map_size)
        path = self._shelf.maps(record)
        try:
            return read_outputs(path, self.annotations.ids, record.map_size)["maps"]
        except ValueError as error:
            raise UserError(
                f"the raw maps of run {record.run_id} are needed in '{path}', and {error}; give the results of the "
                f"machine that trained it, or train it again with `{record.provenance.command} --no-resume`"
            ) from None


def frozen_threshold(record: Record) -> float:
    """Return the threshold frozen on train-fullsup for GT-known; UserError where the record has none."""
    if FROZEN not in record.thresholds:
        reason = record.absent.get(FROZEN, "not recorded")
        raise UserError(f"run {record.run_id} has no threshold frozen for GT-known ({reason})")
    return record.thresholds[FROZEN]


def operating_level(score_map: Bytes, t: float) -> int:
    """Return the level of a score map, uint8 (H, W), at one of the protocol's thresholds.

    >>> operating_level(np.array([[0, 200]], dtype=np.uint8), 0.5)
    100
    """
    return int(levels(int(score_map.max()))[int(np.searchsorted(THRESHOLDS, t))])


def operating_ious(score_maps: Bytes, truth: Sequence[Ints], t: float) -> Floats:
    """Return the best IoU of any box of each map, at one threshold, with any true box.

    Args:
        score_maps: uint8 (n, H, W).
        truth: n times int64 (m, 4), at the maps' size.
        t: one of the protocol's thresholds.

    Returns:
        float64 (n,) in [0, 1].

    >>> ramp = np.zeros((1, 4, 8), dtype=np.uint8)
    >>> ramp[0, 1:3, 1:5] = 100
    >>> operating_ious(ramp, [np.array([[1, 1, 5, 3]])], 0.5).tolist()
    [1.0]
    """
    pairs = zip(score_maps, truth, strict=True)
    return np.array([level_ious(each, boxes)[operating_level(each, t)] for each, boxes in pairs])
