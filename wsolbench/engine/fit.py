"""Training, top to bottom: settings come in a recipe, then setup, then the loop.

No host sync inside the step loop except every 50 steps, where the non-finite flags are read.
"""

import importlib.util
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wsolbench.data.augment import augment, draw_augmentation
from wsolbench.data.bank import ImageBank
from wsolbench.engine.checkpoint import load_checkpoint, save_checkpoint
from wsolbench.engine.device import full_precision
from wsolbench.engine.seeding import derive_seed, stream
from wsolbench.engine.watch import LossWatch
from wsolbench.errors import UserError
from wsolbench.method import Draws, Method
from wsolbench.progress import Progress, progress
from wsolbench.recipe import Recipe

STEPS_BETWEEN_READS = 50
History = list[dict[str, float]]


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What training leaves beside the weights.

    Attributes:
        history: per epoch, the mean of every loss term and diagnostic.
        seconds: time spent in the step loops, over all sessions of a resumed run.
        images: number of images trained on in that time.
    """

    history: History
    seconds: float
    images: int


def fit(
    method: Method[Any],
    images: ImageBank,
    labels: Tensor,
    recipe: Recipe,
    *,
    run_dir: Path,
    run_id: str,
    epoch_images: int | None = None,
    quiet: bool = False,
) -> Fitted:
    """Train a method, from its last checkpoint if there is one.

    An epoch visits floor(N / batch) full batches of a fresh permutation, so that every step has the same shape.

    Args:
        method: on its device; trained in place.
        images: train-weaksup at the recipe's resized side, or the few images with masks.
        labels: int64 (N,), on the CPU.
        recipe: every setting.
        epoch_images: take as many steps an epoch as this number of images would give, over several permutations if it
            exceeds N; None: N.
        run_dir: folder of the checkpoint ``last.pt`` and of the TensorBoard files.
        run_id: the run's identity; a checkpoint of another run is refused.
        quiet: plain progress lines.

    Returns:
        History and speed.

    Raises:
        RunError: a loss term is not finite.
        UserError: fewer images than one batch, or a foreign or damaged checkpoint.
    """
    epoch_images = len(images) if epoch_images is None else epoch_images
    _refuse_less_than_a_batch(epoch_images, recipe.batch_size)
    device = next(method.parameters()).device
    optimizer = make_optimizer(method, recipe)
    checkpoint = run_dir / "last.pt"
    epoch, history, seconds = _resume(checkpoint, run_id, method, optimizer)
    steps = epoch_images // recipe.batch_size
    labels = labels.to(device)
    method.train()
    # fp32 means fp32: no TF32 on a GPU either.
    arithmetic = full_precision() if recipe.precision == "fp32" else nullcontext()
    with arithmetic, _scalars(run_dir / "tensorboard", epoch) as write_scalars:
        while epoch < recipe.epochs:
            label = f"{method.name}, epoch {epoch + 1}/{recipe.epochs}"
            started = time.monotonic()
            with progress(label, steps * recipe.batch_size, quiet=quiet) as bar:
                row = train_epoch(method, optimizer, images, labels, recipe, epoch, steps, bar)
            seconds += time.monotonic() - started
            history.append(row)
            epoch += 1
            state = {"method": method.state_dict(), "optimizer": optimizer.state_dict()}
            loop = {"epoch": epoch, "history": history, "seconds": seconds, "run_id": run_id}
            save_checkpoint(checkpoint, {**state, **loop})
            write_scalars(row, epoch)
    if recipe.bn_recalibrate:
        recalibrate_batch_norm(method.network, images, recipe)
    return Fitted(history=history, seconds=seconds, images=steps * recipe.batch_size * recipe.epochs)


def train_epoch(
    method: Method[Any],
    optimizer: torch.optim.Optimizer,
    images: ImageBank,
    labels: Tensor,
    recipe: Recipe,
    epoch: int,
    steps: int,
    bar: Progress,
) -> dict[str, float]:
    """Train one epoch, counted from 0; every random stream starts anew, so epochs can be resumed exactly.

    Returns:
        The mean of every loss term and diagnostic, and the learning rate.
    """
    device = labels.device
    size, batch_size = recipe.image_size, recipe.batch_size
    lr = set_learning_rate(optimizer, recipe, epoch)
    order = draw_order(len(images), steps * batch_size, stream(torch.device("cpu"), recipe.seed, "order", epoch))
    augmentation = stream(device, recipe.seed, "augmentation", epoch)
    draws = stream(device, recipe.seed, "draws", epoch)
    torch.manual_seed(derive_seed(recipe.seed, "layers", epoch))  # dropout inside a head draws from torch's own stream
    watch = LossWatch(first_step=epoch * steps + 1)
    with closing(images.batches(order, batch_size)) as batches:
        for step, (indices, pictures) in enumerate(batches, start=1):
            crops = draw_augmentation(batch_size, images.side, size, augmentation)
            train_step(
                method,
                optimizer,
                augment(pictures, crops, size),
                labels[indices.to(device, non_blocking=True)],
                method.draw(batch_size, (size, size), draws),
                precision=recipe.precision,
                watch=watch,
            )
            if step % STEPS_BETWEEN_READS == 0 or step == steps:
                watch.check()  # sync point
                bar.advance((step - 1) % STEPS_BETWEEN_READS * batch_size + batch_size, f"loss {watch.loss():.3f}")
    return {**watch.means(), "lr": lr}


def draw_order(count: int, wanted: int, generator: torch.Generator) -> Tensor:
    """Return the images that an epoch visits: fresh permutations of all of them, one after another, the last one cut.

    Args:
        count: number of images.
        wanted: number of visits.
        generator: on the CPU.

    Returns:
        int64 (wanted,); no image comes more than once oftener than another.
    """
    passes = -(-wanted // count)
    return torch.cat([torch.randperm(count, generator=generator) for _ in range(passes)])[:wanted]


def train_step(
    method: Method[Any],
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    draws: Draws,
    *,
    precision: str,
    watch: LossWatch,
) -> None:
    """Take one step: forward (autocast to bf16 if asked), loss and gradient in float32, SGD.

    Args:
        method: called as a module, so that wrappers see it.
        optimizer: takes the step.
        images: float32 (N, 3, S, S), normalised, or (N, 4, S, S) with masks.
        labels: int64 (N,).
        draws: the step's randomness.
        precision: ``bf16`` or ``fp32``.
        watch: notes the loss terms.
    """
    with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"):
        losses = method(images, labels, draws)
    terms = torch.stack([term.float() for term in losses.terms.values()])
    optimizer.zero_grad(set_to_none=True)
    terms.sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    watch.add(losses, terms.detach())


def make_optimizer(method: Method[Any], recipe: Recipe) -> torch.optim.SGD:
    """Build SGD with Nesterov momentum and one or two groups of parameters (METHODS: shared training recipe).

    ``param_groups=pretrained``: all but a pretrained trunk learns ``new_layer_lr`` times faster; from scratch there is
    one group at the plain rate. ``reference``: what the reference chooses by name does, whatever the weights are.
    """
    network = method.network
    pretrained = {f"network.{name}" for name in network.pretrained}
    slow: list[nn.Parameter] = []
    fast: list[nn.Parameter] = []
    for name, parameter in method.named_parameters():
        if not parameter.requires_grad:
            continue
        if recipe.param_groups == "reference":
            is_fast = network.backbone.reference_is_fast(name.removeprefix("network."))
        else:
            is_fast = bool(pretrained) and name not in pretrained
        (fast if is_fast else slow).append(parameter)
    groups = [{"params": params, "factor": f} for params, f in ((slow, 1.0), (fast, recipe.new_layer_lr)) if params]
    return torch.optim.SGD(
        groups,
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.momentum > 0,
        weight_decay=recipe.weight_decay,
        fused=True,
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, recipe: Recipe, epoch: int) -> float:
    """Set every group's rate for an epoch, counted from 0; return the plain rate."""
    lr = recipe.lr * recipe.learning_rate_factor(epoch)
    for group in optimizer.param_groups:
        group["lr"] = lr * group["factor"]
    return lr


def recalibrate_batch_norm(network: nn.Module, images: ImageBank, recipe: Recipe) -> None:
    """Re-estimate BatchNorm statistics over one epoch of plain training images, in float32.

    Masks that act in training only leave statistics that do not fit the evaluation network (METHODS: BatchNorm shift).
    """
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
    momenta = [norm.momentum for norm in norms]
    device = next(network.parameters()).device
    augmentation = stream(device, recipe.seed, "recalibration")
    # Shuffled full batches, as in training: in a dataset's own order a batch may hold one class only.
    order = torch.randperm(len(images), generator=stream(torch.device("cpu"), recipe.seed, "recalibration order"))
    order = order[: max(len(images) // recipe.batch_size, 1) * recipe.batch_size]
    with torch.no_grad(), full_precision(), closing(images.batches(order, recipe.batch_size)) as batches:
        for norm in norms:
            norm.momentum = None  # the cumulative average
        for _, pictures in batches:
            crops = draw_augmentation(len(pictures), images.side, recipe.image_size, augmentation)
            network(augment(pictures, crops, recipe.image_size)[:, :3])  # a mask is not for the network
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def _refuse_less_than_a_batch(epoch_images: int, batch_size: int) -> None:
    """Raise UserError if an epoch would have no step."""
    if epoch_images < batch_size:
        raise UserError(
            f"train-weaksup has {epoch_images} images, fewer than one batch of {batch_size}; take more images or a "
            "smaller batch (--set batch_size=N)"
        )


def _resume(
    path: Path, run_id: str, method: Method[Any], optimizer: torch.optim.Optimizer
) -> tuple[int, History, float]:
    """Load the last checkpoint if there is one; return (epochs done, history, seconds)."""
    if not path.is_file():
        return 0, [], 0.0
    state = load_checkpoint(path)
    if state["run_id"] != run_id:
        raise UserError(f"the checkpoint {path} belongs to run {state['run_id']}, not to {run_id}; use --no-resume")
    method.load_state_dict(state["method"])
    optimizer.load_state_dict(state["optimizer"])
    return state["epoch"], state["history"], state["seconds"]


@contextmanager
def _scalars(folder: Path, epoch: int) -> Iterator[Callable[[dict[str, float], int], None]]:
    """Give a function that writes one epoch's scalars to TensorBoard, or does nothing where it is not installed."""
    if importlib.util.find_spec("tensorboard") is None:
        yield lambda row, epoch: None
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder), purge_step=epoch + 1) as writer:

        def write(row: dict[str, float], epoch: int) -> None:
            for name, value in row.items():
                writer.add_scalar(name, value, epoch)

        yield write
