"""Score maps on the device of the model, equal to the protocol's definition in every pixel.

The same IEEE operations in the same order as :mod:`wsolbench.protocols.scoremap`: float64, every product and every sum
an operation of its own. One kernel each on a GPU too, so nothing is fused into a multiply-add.
"""

from functools import cache

import torch
from torch import Tensor

from wsolbench.errors import RunError
from wsolbench.protocols.scoremap import LARGEST, bicubic_taps

Taps = tuple[tuple[Tensor, ...], tuple[Tensor, ...]]


def score_maps(raw: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Turn raw maps into 8-bit score maps (PROTOCOL: steps 2 to 4).

    Args:
        raw: float (N, h, w).
        size: the evaluation size (H, W).

    Returns:
        uint8 (N, H, W); bool (N,): constant maps; bool (N,): maps with NaN. Both kinds are all zeros.

    Raises:
        RunError: a map contains infinity.
    """
    values = raw.to(torch.float64)
    if bool((values.abs() > LARGEST).any()):
        raise RunError("a score map contains infinity: the network's weights or features overflowed")
    invalid = values.isnan().any(dim=2).any(dim=1)
    constant = values.amax(dim=(1, 2)) == values.amin(dim=(1, 2))
    wide = _along_columns(values, *_taps(values.shape[2], size[1], values.device))
    maps = _along_rows(wide, *_taps(values.shape[1], size[0], values.device))
    low = maps.amin(dim=(1, 2), keepdim=True)
    spread = maps.amax(dim=(1, 2), keepdim=True) - low
    constant = constant | (spread.flatten() == 0)
    blank = (constant | invalid)[:, None, None]
    stretched = (maps - low) / torch.where(blank, torch.ones_like(spread), spread)
    stretched = torch.where(blank, torch.zeros_like(stretched), stretched)
    return torch.floor(255 * stretched).to(torch.uint8), constant, invalid


@cache
def _taps(n_in: int, n_out: int, device: torch.device) -> Taps:
    """Return the protocol's taps on a device: four index vectors and four weight vectors."""
    index, weight = (torch.from_numpy(array).to(device) for array in bicubic_taps(n_in, n_out))
    return tuple(index.unbind(1)), tuple(weight.unbind(1))


def _along_columns(maps: Tensor, index: tuple[Tensor, ...], weight: tuple[Tensor, ...]) -> Tensor:
    """Resize along x."""
    return _weighted([maps[:, :, i] for i in index], list(weight))


def _along_rows(maps: Tensor, index: tuple[Tensor, ...], weight: tuple[Tensor, ...]) -> Tensor:
    """Resize along y."""
    return _weighted([maps[:, i] for i in index], [w[:, None] for w in weight])


def _weighted(p: list[Tensor], w: list[Tensor]) -> Tensor:
    """Sum four products in the one order that is the definition."""
    return ((w[0] * p[0] + w[1] * p[1]) + w[2] * p[2]) + w[3] * p[3]
