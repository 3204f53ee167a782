"""What a trained network says about any pictures: classes, score maps and boxes, just as scoring makes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from wsolbench.data.augment import normalize
from wsolbench.engine.device import full_precision
from wsolbench.errors import RunError, UserError
from wsolbench.kept_network import KeptNetwork, frozen_thresholds
from wsolbench.method import Method
from wsolbench.protocols import Normalization, boxes_at, prepare_normalized
from wsolbench.protocols.shown_boxes import largest_box_at
from wsolbench.record_schema import Record

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.floating]

OPERATING = "gt_known_fullsup"
"""The metric whose frozen threshold turns maps into boxes: the one that GT-known at d = 0.5 is reported with."""


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """How a raw map becomes boxes.

    Attributes:
        normalization: of the score maps, with its percentile.
        threshold: t, in [0, 1).
        origin: who chose the threshold, in words.
    """

    normalization: Normalization
    threshold: float
    origin: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """What a network says about n pictures.

    Attributes:
        logits: float32 (n, K); None from a method that does not classify.
        labels: int64 (n, k), the classes of the maps; None from such a method.
        maps: raw maps, float32 (n, k, h, w).
    """

    logits: npt.NDArray[np.float32] | None
    labels: Ints | None
    maps: npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Location:
    """A score map and its boxes, inclusive pixels at the evaluation size.

    Attributes:
        score_map: uint8 (S, S).
        largest: int64 (4,), the box of the largest contour.
        boxes: int64 (B, 4), of all contours, holes too, as V2 counts them.

    Of a map with one value everywhere, which tells no place, there is no box: ``largest`` is None.
    """

    score_map: Bytes
    largest: Ints | None
    boxes: Ints


def operating_point(kept: KeptNetwork, threshold: float | None, record: Record | None) -> OperatingPoint:
    """Return how a network's maps become boxes.

    Args:
        kept: the network.
        threshold: what the user asked for; None: the one frozen on train-fullsup for GT-known.
        record: of the run, where it was found; needed only for a file of an older version.

    Raises:
        UserError: the threshold is out of range, or nothing says what it or the percentile was.
    """
    if threshold is not None and not 0 <= threshold < 1:
        raise UserError(f"--threshold {threshold} is out of range; expected 0 <= t < 1")
    frozen, percentile, known = kept.thresholds, kept.percentile, kept.complete
    if not known and record is not None:
        frozen, percentile, known = frozen_thresholds(record), record.percentile, True
    try:
        normalization = Normalization(name=kept.recipe["normalization"], percentile=percentile)
    except ValueError as error:
        raise UserError(
            f"the checkpoint does not say how its maps are normalised ({error}); put the record of run {kept.run_id} "
            "below --results"
        ) from None
    if threshold is not None:
        return OperatingPoint(normalization=normalization, threshold=threshold, origin="--threshold")
    if OPERATING not in frozen:
        why = "its dataset has masks, not boxes" if known else "an older version wrote it"
        raise UserError(
            f"the checkpoint of run {kept.run_id} has no threshold that was frozen on train-fullsup ({why}); give one "
            "with --threshold T, 0 <= T < 1" + ("" if known else ", or the folder of the run's record with --results")
        )
    origin = "frozen on train-fullsup for GT-known"
    return OperatingPoint(normalization=normalization, threshold=frozen[OPERATING], origin=origin)


def ask(method: Method[Any], pictures: Bytes, *, label: int | None = None, count: int = 1) -> Answer:
    """Ask a network about pictures, in float32 as in scoring.

    Args:
        method: in evaluation mode.
        pictures: uint8 (n, S, S, 3), RGB, squashed to the evaluation size.
        label: the class of the maps; None: those that the network prefers.
        count: number of maps a picture, of the classes with the largest logits; 1 if ``label`` is given.

    Raises:
        RunError: logits that are not finite.
    """
    n, device = len(pictures), next(method.parameters()).device
    # PyTorch takes other kernels for a batch of one, whose sums round differently: with two the map is the scored one.
    batch = np.repeat(pictures, 2, axis=0) if n == 1 else pictures
    with torch.inference_mode(), full_precision():
        images = normalize(torch.from_numpy(batch).to(device))
        wanted = None if label is None else torch.full((len(batch),), label, device=device)
        first = method.predict(images, wanted)
        if first.logits is None:
            return Answer(logits=None, labels=None, maps=first.maps[:n, None].cpu().numpy())
        logits = first.logits.cpu().numpy()
        if not np.isfinite(logits).all():
            raise RunError("the network's logits are not finite: its training diverged, so nothing can be predicted")
        labels = _labels(logits, label, count)
        others = [method.predict(images, torch.from_numpy(column).to(device)).maps for column in labels.T[1:].copy()]
        maps = torch.stack([first.maps, *others], dim=1).cpu().numpy()
    return Answer(logits=logits[:n], labels=labels[:n], maps=maps[:n])


def _labels(logits: npt.NDArray[np.float32], label: int | None, count: int) -> Ints:
    """Return the classes of the maps, int64 (n, k)."""
    if label is not None:
        return np.full((len(logits), 1), label, dtype=np.int64)
    return np.argsort(-logits, axis=1, kind="stable")[:, :count]


def probabilities(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return the softmax of logits, float64 (n, K).

    >>> probabilities(np.array([[0.0, 0.0, 1000.0], [1.0, 1.0, 1.0]], dtype=np.float32)).round(2).tolist()
    [[0.0, 0.0, 1.0], [0.33, 0.33, 0.33]]
    """
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    shares: npt.NDArray[np.float64] = shifted / shifted.sum(axis=1, keepdims=True)
    return shares


def locate(maps: Floats, side: int, point: OperatingPoint) -> list[Location]:
    """Turn raw maps into score maps and boxes (PROTOCOL: from network output to score map, from map to boxes).

    Args:
        maps: float (n, h, w).
        side: side of the evaluation size in pixels.
        point: normalisation and threshold.

    Raises:
        RunError: a map contains infinity.
    """
    try:
        prepared = prepare_normalized(maps, (side, side), point.normalization)
    except ValueError as error:
        raise RunError(f"{error}: the network's training diverged, so nothing can be predicted") from None
    return [_location(score_map, point.threshold) for score_map in prepared.maps]


def _location(score_map: Bytes, threshold: float) -> Location:
    maximum = int(score_map.max())
    if maximum == 0:  # constant, or with NaN
        return Location(score_map=score_map, largest=None, boxes=np.zeros((0, 4), dtype=np.int64))
    level = int(threshold * maximum)
    return Location(score_map=score_map, largest=largest_box_at(score_map, level), boxes=boxes_at(score_map, level))


def class_index(name: str, class_names: Sequence[str]) -> int:
    """Return the label of a class that the user named: as it is written, in any case, or by its number.

    Args:
        name: what the user wrote.
        class_names: K names, index = label.

    Raises:
        UserError: there is no such class, or several; the nearest names are told.
    """
    from difflib import get_close_matches

    for key in (str, str.casefold):
        found = [index for index, each in enumerate(class_names) if key(each) == key(name)]
        if len(found) == 1:
            return found[0]
        if found:
            numbers = " or ".join(map(str, found))
            raise UserError(f"{len(found)} classes are called '{name}'; give the number of the one you mean: {numbers}")
    if name.isdecimal() and int(name) < len(class_names):
        return int(name)
    near = get_close_matches(name.casefold(), [each.casefold() for each in class_names], n=3, cutoff=0.5)
    like = [each for each in class_names if each.casefold() in near] or list(class_names[:3])
    raise UserError(
        f"unknown class '{name}'; expected one of the network's {len(class_names)} classes, such as "
        + ", ".join(f"'{each}'" for each in like)
    )
