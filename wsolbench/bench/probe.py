"""A few training steps and one scoring pass of a configuration on random pictures: how fast it is on this machine."""

import time
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from wsolbench.data.bank import ImageBank
from wsolbench.engine.device import full_precision
from wsolbench.engine.fit import make_optimizer, train_epoch
from wsolbench.engine.infer import infer
from wsolbench.experiment import build_method, make_plan
from wsolbench.progress import progress
from wsolbench.request import Request

_SECONDS = 3.0
"""How long the steps should take together."""

_MOST_STEPS = 20
_SCORED = 64


def probe(request: Request) -> tuple[float, float]:
    """Measure a configuration with random weights; nothing is written.

    The first step, which allocates and compiles, counts only where it takes longer than all steps should.

    Args:
        request: of a run.

    Returns:
        Images trained per second, and seconds per scored image.
    """
    plan = replace(make_plan(request), weights="none")
    method, recipe = build_method(plan), plan.recipe
    classes, batch = len(plan.dataset.class_names), recipe.batch_size
    random = np.random.default_rng(0)

    def pictures(count: int, side: int, channels: int) -> ImageBank:
        drawn: npt.NDArray[np.uint8] = random.integers(0, 256, (count, side, side, channels), np.uint8)
        return ImageBank(drawn, plan.device, quiet=True)

    images = pictures(batch, recipe.resized_side, 3 if plan.division.boxes is None else 4)
    labels, optimizer = torch.arange(batch, device=plan.device) % classes, make_optimizer(method, recipe)

    def steps(count: int) -> float:
        started = time.monotonic()
        with progress("probe", count, "steps", quiet=True) as bar:
            train_epoch(method, optimizer, images, labels, recipe, 0, count, bar)
        return time.monotonic() - started  # train_epoch ends with a read, so the device is done too

    method.train()
    with full_precision() if recipe.precision == "fp32" else nullcontext():
        step_s = steps(1)
        if step_s < _SECONDS:
            step_s = steps(2) / 2
            count = min(_MOST_STEPS, int(_SECONDS / step_s))
            step_s = steps(count) / count if count > 2 else step_s
    count = max(1, min(_SCORED, int(_SECONDS * batch / step_s)))
    scored = pictures(count, recipe.image_size, 3)
    started = time.monotonic()
    infer(method, scored, torch.arange(count) % classes, lambda start, maps: None, quiet=True)
    return batch / step_s, (time.monotonic() - started) / count
