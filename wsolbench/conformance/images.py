"""What the trunk sees: images arrive normalised, and a method must not normalise them again."""

import torch
from torch import Tensor, nn

from wsolbench.conformance.subject import Subject, predict

SAME_LINE = 0.2
"""Share of pixels that one line must explain; a method that changes every image in another way stays below it."""
TOLERANCE = 1e-3


def images_are_normalised_once(subject: Subject) -> None:
    """The trunk sees the pixels as they were given, or some of them: never all of them rescaled or shifted."""
    for part in ("losses", "predict"):
        given, seen = _pixels(subject, part)
        for channel in range(3 if len(given) else 0):
            slope, offset, share = most_common_line(given[:, channel], seen[:, channel])
            if share >= SAME_LINE and (abs(slope - 1) > TOLERANCE or abs(offset) > TOLERANCE):
                expected = "images that enter the trunk as they were given; they are normalised already"
                line = f"{slope:.4g} * pixel {round(offset, 3) + 0.0:+g}"
                seen_as = f"{part} lets the trunk see {line} for {share:.0%} of the pixels of channel {channel}"
                raise subject.failure(expected, seen_as, part)


def _pixels(subject: Subject, part: str) -> tuple[Tensor, Tensor]:
    """Return the pixels of eight batches as they were given and as they entered the trunk, both (n, 3)."""
    method = subject.build()
    entered: list[Tensor] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        entered.append(inputs[0].detach().clone())

    first = next(module for module in method.network.backbone.modules() if isinstance(module, nn.Conv2d))
    first.register_forward_pre_hook(note)
    pairs = []
    for seed in range(8):
        images, labels = subject.batch(seed=seed)
        entered.clear()
        if part == "losses":
            method(images, labels, subject.draw(method, images, seed))
        else:
            predict(method, images, labels)
        given = images[:, :3]
        pairs += [(given, seen) for seen in entered if seen.shape == given.shape]
    if not pairs:
        return torch.empty(0, 3), torch.empty(0, 3)
    given, seen = (torch.cat([pair[side] for pair in pairs]).permute(0, 2, 3, 1).reshape(-1, 3) for side in (0, 1))
    return given, seen


def most_common_line(given: Tensor, seen: Tensor, tries: int = 300) -> tuple[float, float, float]:
    """Find the line ``seen = slope * given + offset`` of a slope other than 0 on which most pixels lie.

    Lines through random pairs of pixels are tried (RANSAC), so hidden or replaced pixels do not matter.

    Args:
        given: float (n,).
        seen: float (n,).
        tries: number of pairs.

    Returns:
        Slope, offset and the share of pixels on the line; the share is 0 if no line was found.

    >>> x = torch.arange(100.0)
    >>> most_common_line(x, torch.where(x < 30, 0, 2 * x + 1))
    (2.0, 1.0, 0.7)
    """
    pairs = torch.randint(len(given), (2, tries), generator=torch.Generator().manual_seed(0))
    run, rise = (values[pairs[0]] - values[pairs[1]] for values in (given.double(), seen.double()))
    slopes = torch.where(run == 0, 0, rise / run)
    best = (1.0, 0.0, 0.0)
    for slope, first in zip(slopes.tolist(), pairs[0].tolist(), strict=True):
        if abs(slope) < 1e-6:
            continue
        offset = float(seen[first]) - slope * float(given[first])
        on_line = (slope * given + offset - seen).abs() <= TOLERANCE * abs(slope)
        share = float(on_line.double().mean())
        if share > best[2]:
            best = (slope, offset, share)
    return best
