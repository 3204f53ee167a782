"""The plugin base: what a WSOL method is.

A method is one file with one :class:`Method` subclass and its frozen configuration. It states its randomness
(``draw``), its loss terms (``losses``) and, if it is not the class activation map, its score map (``predict``).
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Literal, TypeVar

import torch
from torch import Tensor, nn

from wsolbench.errors import UserError
from wsolbench.network import Network
from wsolbench.recipe import Recipe

Draws = Mapping[str, Tensor]
Supervision = Literal["labels", "masks"]
ConfigT = TypeVar("ConfigT")


@dataclass(frozen=True, kw_only=True)
class Losses:
    """What one training step gives.

    Attributes:
        terms: named scalar loss terms, float32; their sum is minimised.
        diagnostics: detached scalars that are averaged over the epoch and kept in the run's history.
    """

    terms: Mapping[str, Tensor]
    diagnostics: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What one forward pass gives for scoring.

    Attributes:
        logits: float32 (N, K); None from a method that does not classify.
        maps: raw maps, float32 (N, h, w); any sign, any range.
    """

    logits: Tensor | None
    maps: Tensor


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A named configuration, such as a row of a paper's table.

    Attributes:
        backbone: where it runs unless ``--backbone`` says otherwise.
        config: the method's configuration, complete.
        recipe: fields of the recipe that differ from the defaults, by value.
        source: where it comes from: paper, table, row.
    """

    backbone: str
    config: Any
    recipe: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class NoConfig:
    """The configuration of a method without hyperparameters of its own."""


class Method(nn.Module, ABC, Generic[ConfigT]):
    """A weakly supervised localization method.

    Args:
        network: trunk and head.
        config: the method's configuration.

    Attributes:
        name: as on the command line.
        paper: authors, title, venue, year.
        Config: the configuration's class, a frozen keyword-only dataclass.
        supervision: what it trains on. ``labels``: the images and labels of train-weaksup. ``masks``: a part of
            train-fullsup, whose images have a fourth channel in training, 1 inside an object's box and 0 elsewhere.
        presets: named configurations for ``--preset``.
        resting: prefixes of parameters that may train without a gradient, and why; the conformance kit asks.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    Config: ClassVar[type[Any]] = NoConfig
    supervision: ClassVar[Supervision] = "labels"
    presets: ClassVar[Mapping[str, Preset]] = {}
    resting: ClassVar[Mapping[str, str]] = {}

    def __init__(self, network: Network, config: ConfigT) -> None:
        super().__init__()
        self.network = network
        self.config = config

    @classmethod
    def defaults(cls, backbone: str) -> ConfigT:
        """Return the default configuration for a backbone (the paper's, where it gives one).

        Args:
            backbone: name as on the command line.
        """
        config: ConfigT = cls.Config()
        return config

    def draw(self, n: int, size: tuple[int, int], generator: torch.Generator) -> Draws:
        """Draw all randomness of one training step.

        Args:
            n: number of images in the batch.
            size: their height and width in pixels.
            generator: the source, on the device of the model; results lie on that device too.

        Returns:
            Named tensors, passed to :meth:`losses`.
        """
        return {}

    @abstractmethod
    def losses(self, images: Tensor, labels: Tensor, draws: Draws) -> Losses:
        """Compute the loss terms of one batch; deterministic given its arguments, which it never changes.

        Args:
            images: float (N, 3, H, W), normalised; (N, 4, H, W) with a mask of 0 and 1 if ``supervision`` is ``masks``.
            labels: int64 (N,).
            draws: what :meth:`draw` gave.
        """

    def forward(self, images: Tensor, labels: Tensor, draws: Draws) -> Losses:
        """Call :meth:`losses`; this is the entry that wrappers and compilers see."""
        return self.losses(images, labels, draws)

    def predict(self, images: Tensor, labels: Tensor | None = None) -> Prediction:
        """Compute logits and raw maps in one forward; the class activation map unless a method overrides it.

        Args:
            images: float (N, 3, H, W), normalised.
            labels: int64 (N,), the class of each image's map; None: the class with the largest logit.
        """
        features = self.network(images).last
        logits = self.network.logits(features)
        wanted = logits.argmax(dim=1) if labels is None else labels
        return Prediction(logits=logits, maps=self.network.class_maps(features, wanted))

    def views(self, images: Tensor, labels: Tensor, draws: Draws) -> Mapping[str, Tensor]:
        """Show what one training step does, for ``wsolbench illustrate``; nothing else calls it.

        Args:
            images: as for :meth:`losses`.
            labels: int64 (N,).
            draws: what :meth:`draw` gave.

        Returns:
            Named pictures, each (N, 3, H, W) normalised like the images, or a map (N, h, w) of any range.
        """
        return {"class map": self.predict(images[:, :3], labels).maps}


def count_parameters(method: nn.Module) -> int:
    """Return how many numbers training can change; buffers, such as BatchNorm's statistics, are none of them."""
    return sum(parameter.numel() for parameter in method.parameters())


def check_fields(method: type[Method[Any]]) -> None:
    """Check that no field of a method's configuration is also a field of the recipe: ``--set`` sets both.

    Raises:
        UserError: names the fields that exist twice.
    """
    fields = {field.name for field in dataclasses.fields(method.Config)}
    twice = sorted(fields & {field.name for field in dataclasses.fields(Recipe)})
    if twice:
        raise UserError(f"method '{method.name}' has settings that the recipe has too: {', '.join(twice)}; rename them")
