"""Contrastive losses of triples of embeddings, and the averages of features over masks that are embedded."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def triplet(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """Pull the anchor to the positive and push it from the negative (InCA's Eq. 3): [d(a, p) - d(a, n) + margin]+.

    Args:
        anchor: embeddings of the dropped foreground, (N, E).
        positive: of the foreground.
        negative: of the background.
        margin: m, in distance.

    Returns:
        (N,).

    >>> triplet(torch.tensor([[3.0, 4.0]]), torch.tensor([[4.0, 4.0]]), torch.zeros(1, 2), margin=4.5)
    tensor([0.5000])
    """
    return (distance(anchor, positive) - distance(anchor, negative) + margin).clamp_min(0)


def nt_xent(anchor: Tensor, positive: Tensor, negative: Tensor, temperature: float) -> Tensor:
    """Choose the positive by its cosine with the anchor (Eq. 1 of InCA's supplement).

    -log(exp(a.p / t) / (exp(a.p / t) + exp(a.n / t))) = log(1 + exp((a.n - a.p) / t)).

    Args:
        anchor: embeddings of the dropped foreground, (N, E), of length 1.
        positive: of the foreground, of length 1.
        negative: of the background, of length 1.
        temperature: t.

    Returns:
        (N,).

    >>> nt_xent(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8]]), torch.tensor([[0.6, -0.8]]), temperature=0.07)
    tensor([0.6931])
    """
    return functional.softplus((anchor * (negative - positive)).sum(dim=1) / temperature)


def masked_means(features: Tensor, masks: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Average features over masks, all in one product.

    Args:
        features: (N, C, h, w).
        masks: bool, each (N, 1, h, w).

    Returns:
        For each mask (N, C); zero where the mask is empty.
    """
    weight = torch.cat(list(masks), dim=1).flatten(2).to(features.dtype)
    sums = weight @ features.flatten(2).transpose(1, 2)
    return (sums / weight.sum(dim=2, keepdim=True).clamp_min(1)).unbind(dim=1)


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Return the L2 distance of the rows of two (N, E) matrices; 1e-12 keeps the gradient finite at zero."""
    return ((a - b).square().sum(dim=1) + 1e-12).sqrt()
