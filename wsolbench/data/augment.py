"""Augmentation of whole batches on the device of the model: random crop, horizontal flip, normalisation.

Every draw is an argument, made by :func:`draw_augmentation`; images are uint8 (N, R, R, 3) and leave as float32
(N, 3, S, S) in channels-last layout. A fourth channel is a mask of 0 and 255: it is cut and mirrored with its picture
and leaves as 0 and 1.
"""

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

MEAN = (0.485, 0.456, 0.406)  # of ImageNet, RGB in [0, 1]; torchvision's weights expect them
STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Augmentation:
    """The draws of one batch.

    Attributes:
        top: int64 (N,), first row of the crop.
        left: int64 (N,), first column of the crop.
        flip: bool (N,), mirror left and right.
    """

    top: Tensor
    left: Tensor
    flip: Tensor


def draw_augmentation(n: int, resized: int, crop: int, generator: torch.Generator) -> Augmentation:
    """Draw crop positions (uniform over all that fit) and flips (one half) for n images.

    Args:
        n: number of images.
        resized: side of the stored images, pixels.
        crop: side of the crop, pixels.
        generator: its device is the device of the draws.
    """
    device = generator.device
    top, left = (torch.randint(0, resized - crop + 1, (n,), generator=generator, device=device) for _ in range(2))
    return Augmentation(top=top, left=left, flip=torch.rand(n, generator=generator, device=device) < 0.5)


def augment(images: Tensor, draws: Augmentation, crop: int) -> Tensor:
    """Crop, flip and normalise a batch.

    Args:
        images: uint8 (N, R, R, C), C = 3, or 4 with a mask.
        draws: crop positions and flips.
        crop: side S of the crop, pixels.

    Returns:
        float32 (N, C, S, S), channels last in memory.
    """
    count, height, width, channels = images.shape
    steps = torch.arange(crop, device=images.device)
    rows = draws.top[:, None] + steps
    columns = draws.left[:, None] + torch.where(draws.flip[:, None], crop - 1 - steps, steps)
    first = torch.arange(count, device=images.device) * height
    # One index a pixel of the whole batch: three, one an axis, take three times as long.
    pixels = (first[:, None, None] + rows[:, :, None]) * width + columns[:, None, :]
    chosen = images.reshape(-1, channels).index_select(0, pixels.flatten())
    return normalize(chosen.view(count, crop, crop, channels))


def normalize(images: Tensor) -> Tensor:
    """Turn uint8 (N, H, W, C) into float32 (N, C, H, W), channels last in memory.

    Args:
        images: RGB, which gets ImageNet's mean and std; a fourth channel is divided by 255, which is exact for a mask.

    >>> normalize(torch.tensor([[[[0, 0, 0, 0], [9, 9, 9, 255]]]], dtype=torch.uint8))[0, 3].tolist()
    [[0.0, 1.0]]
    """
    assert images.dtype == torch.uint8
    mean, std = _constants(images.device, images.shape[3])
    return images.to(torch.float32).div_(255).sub_(mean).div_(std).permute(0, 3, 1, 2)


@cache
def _constants(device: torch.device, channels: int) -> tuple[Tensor, Tensor]:
    """Return mean and std on a device; kept there, because copying them each step would stall it."""
    masks = channels - len(MEAN)
    return torch.tensor(MEAN + (0.0,) * masks, device=device), torch.tensor(STD + (1.0,) * masks, device=device)
