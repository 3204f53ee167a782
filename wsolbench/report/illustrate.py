"""A figure of what a method does to its training images: hidden cells, pasted boxes, attentions, masks, guidance."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from wsolbench.data.augment import MEAN, STD, normalize
from wsolbench.data.splits import Dataset
from wsolbench.method import Method
from wsolbench.report.qualitative import first_of_each_class

Array = npt.NDArray[np.float32]


def draw_views(method: Method[Any], dataset: Dataset, side: int, path: Path, images: int = 4, seed: int = 0) -> Path:
    """Draw :meth:`Method.views` for the first training image of each of the first classes.

    Args:
        method: trained, on the CPU; drawn in evaluation mode.
        dataset: the one that it was trained on.
        side: side that the pictures are resized to, pixels.
        path: the PNG to write.
        images: number of rows.
        seed: of the step's draws.

    Returns:
        ``path``.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    chosen = first_of_each_class(dataset.images("train-weaksup").labels, images)
    pictures = _pictures(dataset, chosen, side)
    labels = torch.from_numpy(dataset.images("train-weaksup").labels[chosen])
    draws = method.draw(len(chosen), (side, side), torch.Generator().manual_seed(seed))
    with torch.no_grad():
        views = method.eval().views(normalize(pictures), labels, draws)
    shown = {name: _as_arrays(view) for name, view in views.items()}
    figure = Figure(figsize=(1.6 * (len(shown) + 1), 1.65 * len(chosen) + 0.75), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    grid: Any = figure.subplots(len(chosen), len(shown) + 1, squeeze=False)
    for row, axes in enumerate(grid):
        axes[0].imshow(pictures[row].numpy())
        axes[0].set_ylabel(dataset.class_names[int(labels[row])].replace(" on ", "\non "), fontsize=7)
        for cell, values in zip(axes[1:], shown.values(), strict=True):
            _show(cell, pictures[row].numpy(), values[row])
    for cell, name in zip(grid[0], ("image", *shown), strict=True):
        cell.set_title(name, fontsize=8)
    for cell in grid.flat:
        cell.set(xticks=[], yticks=[])
    figure.suptitle(
        f"{method.name}: {method.paper}\nmaps: dark is low, bright is high, each scaled by itself", fontsize=8
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


def _pictures(dataset: Dataset, chosen: list[int], side: int) -> Tensor:
    """Return some training pictures, uint8 (n, side, side, 3)."""
    split = dataset.images("train-weaksup")
    return torch.from_numpy(np.stack([np.asarray(split.read(index).resize((side, side))) for index in chosen]))


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
    axes.imshow(values, cmap="viridis", alpha=0.65, extent=(-0.5, width - 0.5, height - 0.5, -0.5))
    axes.set_xlabel(f"{values.min():.2g} to {values.max():.2g}", fontsize=6, labelpad=1)
