"""One forward pass over a split: logits, raw maps and 8-bit score maps."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from wsolbench.data.augment import normalize
from wsolbench.data.bank import ImageBank
from wsolbench.engine.device import full_precision
from wsolbench.engine.scoremaps import score_maps
from wsolbench.method import Method, Prediction
from wsolbench.progress import progress

OnMaps = Callable[[int, npt.NDArray[np.uint8]], None]
Predict = Callable[[Tensor, Tensor], Prediction]


@dataclass(frozen=True, kw_only=True, eq=False)
class Inference:
    """What a network says about a split.

    Attributes:
        logits: float32 (N, K); None where the method does not classify.
        raw_maps: float32 (N, h, w), of the ground-truth class.
        constant: bool (N,), score maps with one value everywhere.
        invalid: bool (N,), score maps with NaN.
    """

    logits: npt.NDArray[np.float32] | None
    raw_maps: npt.NDArray[np.float32]
    constant: npt.NDArray[np.bool_]
    invalid: npt.NDArray[np.bool_]


def infer(
    method: Method[Any],
    images: ImageBank,
    labels: Tensor,
    on_maps: OnMaps,
    *,
    predict: Predict | None = None,
    batch_size: int = 64,
    label: str = "score",
    quiet: bool = False,
) -> Inference:
    """Score a split in float32, whatever precision trained (PROTOCOL: from network output to score map).

    Args:
        method: on its device; its mode (training or evaluation) is restored.
        images: at the evaluation size.
        labels: int64 (N,), on the CPU; the classes whose maps are scored.
        on_maps: takes (index of the first image, score maps uint8 (n, S, S)) of each batch. It should return at once
            (hand the maps to a worker) so that boxes are scored beside the next forward.
        predict: takes normalised images and labels, under ``torch.inference_mode``; None: the method's own.
        batch_size: images a forward; evaluation does not depend on it.
        label: what the progress bar says.
        quiet: plain progress lines.

    Returns:
        Logits and raw maps in the order of the split.

    Raises:
        RunError: a map contains infinity.
    """
    device = next(method.parameters()).device
    predict = method.predict if predict is None else predict
    parts: list[list[npt.NDArray[Any]]] = []
    was_training = method.training
    method.eval()
    with (
        torch.inference_mode(),
        full_precision(),
        progress(label, len(images), quiet=quiet) as bar,
        closing(images.batches(torch.arange(len(images)), batch_size)) as batches,
    ):
        for indices, pictures in batches:
            prediction = predict(normalize(pictures), labels[indices].to(device))
            maps, *marks = score_maps(prediction.maps, (images.side, images.side))
            on_maps(int(indices[0]), maps.cpu().numpy())
            logits = () if prediction.logits is None else (prediction.logits,)
            parts.append([tensor.cpu().numpy() for tensor in (prediction.maps, *marks, *logits)])
            bar.advance(len(indices))
    method.train(was_training)
    raw, constant, invalid, *classified = (np.concatenate(column) for column in zip(*parts, strict=True))
    found = classified[0] if classified else None
    return Inference(logits=found, raw_maps=raw, constant=constant, invalid=invalid)
