"""Checks that need steps of training: gradients, and going on from a checkpoint."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from wsolbench.conformance.subject import Subject, first_difference, outputs, predict
from wsolbench.engine.checkpoint import load_checkpoint, save_checkpoint
from wsolbench.engine.fit import make_optimizer, train_step
from wsolbench.engine.watch import LossWatch
from wsolbench.method import Method
from wsolbench.recipe import Recipe

STEPS = 20
"""A zero-initialised projection starts with a gradient of zero; after this many steps none may have it still."""
FEWEST_STEPS = 4
RECIPE = Recipe(backbone="resnet-tiny", lr=0.02)


def every_parameter_gets_a_gradient(subject: Subject) -> None:
    """Every parameter has a gradient at each step, not zero at all of 20; or requires none, or is declared resting."""
    method = subject.build()
    silent = {name for name, parameter in method.named_parameters() if parameter.requires_grad}
    silent = {name for name in silent if not name.startswith(resting(subject))}
    optimizer = make_optimizer(method, RECIPE)
    for step in range(STEPS):
        train(subject, method, optimizer, step, n=8)
        silent -= moved(subject, method)
        if not silent and step + 1 >= FEWEST_STEPS:
            return
    if silent:
        seen = f"the gradient of {_some(silent)} was zero at each of {STEPS} steps"
        advice = "let a loss depend on it, or declare its prefix with the reason in the class attribute 'resting'"
        raise subject.failure("a gradient that is not zero for every parameter", f"{seen}; {advice}", "losses")


def moved(subject: Subject, method: Method[Any]) -> set[str]:
    """Return the parameters whose gradient is not zero, after a backward pass.

    Raises:
        CheckFailure: a parameter that requires a gradient and is not declared resting has none.
    """
    named = [(name, parameter) for name, parameter in method.named_parameters() if parameter.requires_grad]
    exempt = resting(subject)
    without = {name for name, parameter in named if parameter.grad is None and not name.startswith(exempt)}
    if without:
        seen = f"{_some(without)} got none, so training never changes it"
        advice = "let a loss depend on it, remove it, or freeze it with requires_grad_(False)"
        raise subject.failure("a gradient for every parameter", f"{seen}; {advice}", "losses")
    return {name for name, parameter in named if parameter.grad is not None and parameter.grad.any()}


def resting(subject: Subject) -> tuple[str, ...]:
    """Return the prefixes of parameters that the method declares as resting, each of which needs a reason."""
    for prefix, reason in subject.kind.resting.items():
        if not prefix or not reason:
            expected = "a prefix of parameters and the reason for each entry of 'resting'"
            raise subject.failure(expected, f"the entry {prefix!r}: {reason!r}", "resting")
    return tuple(subject.kind.resting)


def _some(names: set[str]) -> str:
    """Write some names, and how many more there are."""
    first = sorted(names)[:3]
    more = len(names) - len(first)
    return ", ".join(f"'{name}'" for name in first) + (f" and {more} more" if more else "")


def train(subject: Subject, method: Method[Any], optimizer: torch.optim.Optimizer, step: int, *, n: int = 4) -> float:
    """Take the engine's training step on a batch and draws that follow from the step's number; return the loss."""
    images, labels = subject.batch(n, seed=step)
    torch.manual_seed(step)  # layers such as dropout draw from torch's own stream, which the engine seeds
    watch = LossWatch(first_step=step + 1)
    draws = subject.draw(method, images, step)
    train_step(method.train(), optimizer, images, labels, draws, precision="fp32", watch=watch)
    return watch.loss()


def state_survives_a_file(subject: Subject) -> None:
    """Weights that went through a file into a new instance give the same prediction and the same losses."""
    method = subject.build(seed=0)
    train(subject, method, make_optimizer(method, RECIPE), step=0)  # moves weights and BatchNorm statistics
    restore_elsewhere(subject, method, subject.build(seed=1))


def restore_elsewhere(subject: Subject, method: Method[Any], other: Method[Any], n: int = 4, side: int = 32) -> None:
    """Check that another instance says the same after it took the method's state from a file.

    Args:
        subject: the method under test.
        method: what is saved.
        other: built from another seed.
        n: images in the batch that they are compared on.
        side: of the images, pixels.
    """
    other.load_state_dict(through_a_file({"method": method.state_dict()})["method"])
    said: list[dict[str, Tensor]] = []
    for each in (method, other):
        images, labels = subject.batch(n, (side, side))
        draws = subject.draw(method, images)
        torch.manual_seed(0)  # a head's dropout draws from torch's own stream
        said.append(outputs(predict(each, images, labels)))
        said[-1] |= {f"loss term {name}": term for name, term in each.train()(images, labels, draws).terms.items()}
    if difference := first_difference(said[0], said[1]):
        seen = f"after load_state_dict, {difference}; what is not a parameter belongs into register_buffer"
        raise subject.failure("the same prediction and losses from the same state dict", seen, "__init__")


def resuming_changes_nothing(subject: Subject) -> None:
    """Two steps, a checkpoint into a new instance and two more steps equal four steps at once."""
    whole = subject.build()
    optimizer = make_optimizer(whole, RECIPE)
    losses = [train(subject, whole, optimizer, step) for step in range(4)]
    first = subject.build()
    optimizer = make_optimizer(first, RECIPE)
    resumed = [train(subject, first, optimizer, step) for step in range(2)]
    state = through_a_file({"method": first.state_dict(), "optimizer": optimizer.state_dict()})
    second = subject.build(seed=1)
    optimizer = make_optimizer(second, RECIPE)
    second.load_state_dict(state["method"])
    optimizer.load_state_dict(state["optimizer"])
    resumed += [train(subject, second, optimizer, step) for step in range(2, 4)]
    expected = "the same losses and weights whether training is interrupted or not"
    advice = "what training changes must be a parameter or a buffer, not a plain attribute"
    for step, (ours, theirs) in enumerate(zip(losses, resumed, strict=True), start=1):
        if ours != theirs:
            raise subject.failure(
                expected, f"the loss of step {step} is {theirs:.6g}, not {ours:.6g}; {advice}", "losses"
            )
    if difference := first_difference(whole.state_dict(), second.state_dict()):
        raise subject.failure(expected, f"after step 4, {difference}; {advice}", "losses")


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    """Save and load a checkpoint as the engine does: tensors and plain values only, never loaded as code."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "state.pt"
        save_checkpoint(path, state)
        return load_checkpoint(path)
