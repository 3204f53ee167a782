"""HaS: Hide-and-Seek.

Kumar Singh, Lee, "Hide-and-Seek: Forcing a Network to be Meticulous for Weakly-supervised Object and Action
Localization", ICCV 2017. Training images are cut into square cells, and each cell is hidden with a probability. A
hidden pixel becomes 0 after normalisation, the mean of the training set.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from wsolbench.config import SideOfImage, Uniform, check, hyper
from wsolbench.method import Draws, Losses, Method


@dataclass(frozen=True, kw_only=True)
class HaSConfig:
    """Hyperparameters of HaS; the defaults and ranges are the reference's."""

    drop_rate: float = hyper(0.5, "probability that a cell is hidden", low=0, high=1, search=Uniform(0, 1))
    cell: int = hyper(4, "side of a cell in pixels (the reference calls it grid_size)", low=1, search=SideOfImage())

    def __post_init__(self) -> None:
        check(self)


class HaS(Method[HaSConfig]):
    """Hide random cells of the training images."""

    name = "has"
    paper = "Kumar Singh and Lee, Hide-and-Seek, ICCV 2017"
    Config = HaSConfig

    def draw(self, n: int, size: tuple[int, int], generator: torch.Generator) -> Draws:
        """Draw which cells are seen: bool ``seen`` (n, 1, rows, columns), independent per image and cell."""
        rows, columns = (-(-side // self.config.cell) for side in size)
        shape = (n, 1, rows, columns)
        uniform = torch.rand(shape, generator=generator, device=generator.device)
        return {"seen": uniform >= self.config.drop_rate}

    def losses(self, images: Tensor, labels: Tensor, draws: Draws) -> Losses:
        """Return the cross entropy of the images with hidden cells."""
        logits = self.network.logits(self.network(hide(images, draws["seen"], self.config.cell)).last)
        return Losses(terms={"cls": functional.cross_entropy(logits, labels)})

    def views(self, images: Tensor, labels: Tensor, draws: Draws) -> Mapping[str, Tensor]:
        """Show the images with hidden cells, and the class maps."""
        return {"hidden": hide(images, draws["seen"], self.config.cell), **super().views(images, labels, draws)}


def hide(images: Tensor, seen: Tensor, cell: int) -> Tensor:
    """Return the images with the unseen cells set to 0.

    Args:
        images: float (N, 3, H, W), normalised.
        seen: bool (N, 1, ceil(H / cell), ceil(W / cell)).
        cell: side of a cell in pixels; cells at the lower and right edge may be cut.
    """
    height, width = images.shape[-2:]
    pixels = seen.repeat_interleave(cell, dim=2).repeat_interleave(cell, dim=3)
    return images * pixels[:, :, :height, :width].to(images.dtype)
