"""A figure of what a method does to its training images: hidden cells, pasted boxes, attentions, masks, guidance."""

from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from wsolbench.data.augment import MEAN, STD, normalize
from wsolbench.method import Method
from wsolbench.report.qualitative import first_of_each_class
from wsolbench.supervision import Division, with_masks

Array = npt.NDArray[np.float32]

CHARACTERS_PER_INCH = 14
"""Of the title's 8 points."""


def draw_views(method: Method[Any], division: Division, side: int, path: Path, images: int = 4, seed: int = 0) -> Path:
    """Draw :meth:`Method.views` for the first training image of each of the first classes.

    Args:
        method: trained, on the CPU; drawn in evaluation mode.
        division: which images it was trained on, and their boxes if it was trained on boxes.
        side: side that the pictures are resized to, pixels.
        path: the picture to write; its suffix chooses the format (.png, .pdf, .svg).
        images: number of rows.
        seed: of the step's draws.

    Returns:
        ``path``.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    chosen = first_of_each_class(division.train.labels, images)
    pictures = _pictures(division, chosen, side)
    labels = torch.from_numpy(division.train.labels[chosen])
    draws = method.draw(len(chosen), (side, side), torch.Generator().manual_seed(seed))
    with torch.no_grad():
        views = method.eval().views(normalize(pictures), labels, draws)
    shown = {name: _as_arrays(view) for name, view in views.items()}
    width = 1.6 * (len(shown) + 1)
    title = _title(method.paper, width)
    height = 1.65 * len(chosen) + 0.45 + 0.15 * len(title.splitlines())
    figure = Figure(figsize=(width, height), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    grid: Any = figure.subplots(len(chosen), len(shown) + 1, squeeze=False)
    for row, axes in enumerate(grid):
        picture = pictures[row, ..., :3].numpy()
        axes[0].imshow(picture)
        axes[0].set_ylabel(division.dataset.class_names[int(labels[row])].replace(" on ", "\non "), fontsize=7)
        for cell, values in zip(axes[1:], shown.values(), strict=True):
            _show(cell, picture, values[row])
    for cell, name in zip(grid[0], ("image", *shown), strict=True):
        cell.set_title("\n".join(name.rsplit(" ", 1)) if len(name) > 14 else name, fontsize=8)
    for cell in grid.flat:
        cell.set(xticks=[], yticks=[])
    figure.suptitle(title, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


def _title(paper: str, width: float) -> str:
    """Return the paper and the legend, broken into lines that fit a figure of a width in inches.

    >>> _title("Authors, A Title of Words, Venue 2020", 2.0).splitlines()[:2]
    ['Authors, A Title of Words,', 'Venue 2020']
    """
    legend = "maps: dark low, bright high; those within 0 to 1 on that scale, others on their own"
    return "\n".join(fill(text, round(CHARACTERS_PER_INCH * width)) for text in (paper, legend))


def _pictures(division: Division, chosen: list[int], side: int) -> Tensor:
    """Return some training pictures, uint8 (n, side, side, 3), with their masks as a fourth channel where boxes are."""
    split = division.train
    pictures = np.stack([np.asarray(split.read(index).resize((side, side))) for index in chosen])
    if division.boxes is not None:
        pictures = with_masks(pictures, division.boxes.select(np.array(chosen)))
    return torch.from_numpy(pictures)


def _as_arrays(view: Tensor) -> Array:
    """Return pictures as (N, H, W, 3) in [0, 1], maps as (N, h, w)."""
    view = view.detach().float()
    if view.ndim == 3:
        return view.numpy()
    return (view.permute(0, 2, 3, 1) * torch.tensor(STD) + torch.tensor(MEAN)).clamp(0, 1).numpy()


def _show(axes: Any, picture: npt.NDArray[np.uint8], values: Array) -> None:  # noqa: ANN401
    """Draw a picture, or a map over the greyed picture, its pixels left as they are."""
    if values.ndim == 3:
        axes.imshow(values)
        return
    height, width = picture.shape[:2]
    axes.imshow(picture.mean(axis=2), cmap="gray", vmin=0, vmax=255)
    low, high = float(values.min()), float(values.max())
    low, high = (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)  # masks and probabilities share one scale
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    axes.imshow(values, cmap="viridis", alpha=0.65, extent=extent, vmin=low, vmax=high)
    axes.set_xlabel(f"{values.min():.2g} to {values.max():.2g}", fontsize=6, labelpad=1)
