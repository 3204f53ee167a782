"""The training recipe: every setting that decides a run's numbers and is not the method's own.

The defaults are the reference's where METHODS names them. No torch here: records and tables read recipes too.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wsolbench.config import Choice, LogUniform, Search, check, hyper

TUNED_MAP_SIDES = (8, 28)
"""Sides of the maps that tuning chooses among, in feature-map pixels, both included."""


@dataclass(frozen=True)
class MapStride(Search):
    """Draw one of the backbone's strides that makes maps of 8 to 28 pixels a side; the nearest one if none does.

    For crops of 224 pixels these are the published resolutions, 14 and 28; for small images a map keeps enough pixels
    to show a place, and its cost stays of the same order.

    >>> drawn = lambda side, strides: [MapStride().value(u, {"image_size": side, "strides": strides}) for u in (0, 0.5)]
    >>> drawn(224, (16, 8, 4)), drawn(64, (16, 8, 4)), drawn(32, (16, 8))
    ([16, 8], [8, 4], [8, 8])
    """

    def value(self, u: float, known: Mapping[str, Any]) -> int:
        """Return the stride in pixels; ``known`` holds ``image_size`` and the backbone's ``strides``."""
        side, (low, high) = int(known["image_size"]), TUNED_MAP_SIDES
        fitting = tuple(stride for stride in known["strides"] if low <= side / stride <= high)
        nearest = min(known["strides"], key=lambda stride: abs(math.log(side / stride / math.sqrt(low * high))))
        return int(Choice(fitting or (nearest,)).value(u, known))


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One resolved recipe; part of a run's identity."""

    backbone: str = hyper("resnet50", "backbone's name")
    feature_map: int = hyper(16, "feature-map stride in pixels", choices=(4, 8, 16), search=MapStride())
    weights: str = hyper("none", "where the trunk's weights come from: none, torchvision's name, or sha256 of a file")
    image_size: int = hyper(224, "side of the training crop and of the evaluation size, pixels", low=8)
    epochs: int = hyper(50, "passes over train-weaksup", low=1)
    batch_size: int = hyper(32, "images a step", low=2)
    lr: float = hyper(0.01, "learning rate at the start", low=0, search=LogUniform(1e-5, 1))
    lr_decay_every: int = hyper(15, "epochs between two decays by 10", low=1)
    lr_decay_early: bool = hyper(False, "decay one epoch early, as the reference does")
    new_layer_lr: float = hyper(10.0, "learning-rate factor of all but a pretrained trunk", low=0)
    param_groups: str = hyper(
        "pretrained",
        "what learns new_layer_lr times faster: all but a pretrained trunk, or what the reference chooses by name",
        choices=("pretrained", "reference"),
    )
    momentum: float = hyper(0.9, "SGD momentum (Nesterov)", low=0, high=1)
    weight_decay: float = hyper(1e-4, "weight decay", low=0)
    bn_recalibrate: bool = hyper(False, "re-estimate BatchNorm statistics without the method's masks after training")
    precision: str = hyper("fp32", "training arithmetic; scoring is always fp32", choices=("fp32", "bf16"))
    deterministic: bool = hyper(False, "refuse operations without a deterministic implementation")
    normalization: str = hyper(
        "min-max", "score-map normalisation; the protocol's is min-max", choices=("min-max", "max", "pas", "ivr")
    )
    world_size: int = hyper(1, "number of processes", choices=(1,))
    seed: int = hyper(0, "seed of initial weights, data order, augmentation and draws", low=0)

    def __post_init__(self) -> None:
        check(self)

    @property
    def resized_side(self) -> int:
        """Side in pixels that training images are resized to before the crop: 256 for 224, 73 for 64."""
        return round(self.image_size * 256 / 224)

    def learning_rate_factor(self, epoch: int) -> float:
        """Return the factor of the learning rate in an epoch, counted from 0.

        >>> [Recipe(lr_decay_every=2).learning_rate_factor(epoch) for epoch in range(5)]
        [1.0, 1.0, 0.1, 0.1, 0.01]
        >>> [Recipe(lr_decay_every=2, lr_decay_early=True).learning_rate_factor(epoch) for epoch in range(4)]
        [1.0, 0.1, 0.1, 0.01]
        """
        steps = (epoch + int(self.lr_decay_early)) // self.lr_decay_every
        return float(f"1e-{steps}")  # exact powers of ten, without the rounding of repeated products
