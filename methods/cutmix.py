"""CutMix: a box of another image, and labels mixed by area.

Yun, Han, Oh, Chun, Choe, Yoo, "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features",
ICCV 2019. A box of each training image is replaced by the same box of another image of the batch; the labels are mixed
by area.

As in the reference, one box and one decision serve the whole batch, and the box is clipped at the border, after which
its true area weighs the labels. The range of beta is from memory of the reference's appendix, unchecked.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from wsolbench.config import BetaShape, Uniform, check, hyper
from wsolbench.method import Draws, Losses, Method


@dataclass(frozen=True, kw_only=True)
class CutMixConfig:
    """Hyperparameters of CutMix; the defaults and ranges are the reference's."""

    mix_rate: float = hyper(1.0, "probability that a batch is mixed", low=0, high=1, search=Uniform(0, 1))
    beta: float = hyper(1.0, "shape b of Beta(b, b), which lambda follows", low=1e-3, search=BetaShape())

    def __post_init__(self) -> None:
        check(self)


class CutMix(Method[CutMixConfig]):
    """Paste a box of another image, and mix the labels by area."""

    name = "cutmix"
    paper = "Yun et al., CutMix, ICCV 2019"
    Config = CutMixConfig

    def draw(self, n: int, size: tuple[int, int], generator: torch.Generator) -> Draws:
        """Draw one box for the batch.

        Returns:
            ``share`` float64 (), the lambda before clipping, 1 if the batch is not mixed; ``centre`` int64 (2,), row
            and column; ``other`` int64 (n,), the image that each image's box comes from.
        """
        device = generator.device
        mixed = torch.rand((), generator=generator, device=device) < self.config.mix_rate
        centre = [torch.randint(side, (), generator=generator, device=device) for side in size]
        return {
            "share": torch.where(mixed, draw_beta(self.config.beta, generator), 1.0),
            "centre": torch.stack(centre),
            "other": torch.randperm(n, generator=generator, device=device),
        }

    def losses(self, images: Tensor, labels: Tensor, draws: Draws) -> Losses:
        """Return the cross entropy of the mixed images with both labels, by area; and the share of the pasted area."""
        height, width = images.shape[-2:]
        pasted = box_mask(draws["share"], draws["centre"], (height, width))
        logits = self.network.logits(self.network(paste(images, pasted, draws["other"])).last)
        share = pasted.to(logits.dtype).mean()
        own, others = (functional.cross_entropy(logits, wanted) for wanted in (labels, labels[draws["other"]]))
        return Losses(terms={"cls": (1 - share) * own + share * others}, diagnostics={"pasted": share})

    def views(self, images: Tensor, labels: Tensor, draws: Draws) -> Mapping[str, Tensor]:
        """Show the mixed images, and the class maps of the plain ones."""
        height, width = images.shape[-2:]
        pasted = box_mask(draws["share"], draws["centre"], (height, width))
        return {"mixed": paste(images, pasted, draws["other"]), **super().views(images, labels, draws)}


def draw_beta(shape: float, generator: torch.Generator) -> Tensor:
    """Draw one number of Beta(shape, shape), float64 (), on the generator's device.

    It is G / (G + G') of two gamma variables, each gamma(shape) = gamma(shape + 1) * u^(1 / shape). The logarithms are
    subtracted instead: for small shapes both variables underflow, and ``torch.distributions.Beta`` gives 1/2 then, in a
    quarter of all draws at a shape of 0.001. That class takes no generator either.
    """
    shapes = torch.full((2,), shape + 1, dtype=torch.float64, device=generator.device)
    exponential = torch.empty_like(shapes).exponential_(generator=generator)  # -log u
    logarithms = torch._standard_gamma(shapes, generator=generator).log() - exponential / shape
    return (logarithms[0] - logarithms[1]).sigmoid()


def box_mask(share: Tensor, centre: Tensor, size: tuple[int, int]) -> Tensor:
    """Return where the box is: about ``1 - share`` of the area, cut off at the border.

    Its sides are ``int(side * sqrt(1 - share))``; it reaches half a side, rounded down, to either side of its centre,
    and its last row and column do not belong to it.

    Args:
        share: float (), lambda, in [0, 1].
        centre: int64 (2,), row and column.
        size: height and width of the image, pixels.

    Returns:
        bool (H, W).
    """
    inside: list[Tensor] = []
    for side, middle in zip(size, centre, strict=True):
        half = (side * (1 - share).sqrt()).long() // 2
        pixels = torch.arange(side, device=centre.device)
        inside.append((pixels >= middle - half) & (pixels < middle + half))
    rows, columns = inside
    return rows[:, None] & columns


def paste(images: Tensor, pasted: Tensor, other: Tensor) -> Tensor:
    """Return the images (N, 3, H, W) with the pixels of image ``other[n]`` in image n where ``pasted`` is true.

    Args:
        images: float (N, 3, H, W).
        pasted: bool (H, W).
        other: int64 (N,), indices of images.
    """
    return torch.where(pasted, images[other], images)
