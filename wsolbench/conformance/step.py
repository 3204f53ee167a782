"""Checks of one training step: what ``losses`` and ``draw`` give, and what they must leave alone."""

import random
from unittest import SkipTest

import numpy as np
import torch
from torch import Tensor

from wsolbench.conformance.subject import Subject, first_difference, predict, total
from wsolbench.method import Draws, Losses


def inputs_are_not_changed(subject: Subject) -> None:
    """Images, labels and draws are the same after losses, predict and views as before."""
    method = subject.build()
    images, labels = subject.batch()
    draws = subject.draw(method, images)
    inputs = {"images": images, "labels": labels, **{f"draws['{name}']": value for name, value in draws.items()}}
    before = {name: value.clone() for name, value in inputs.items()}

    def compare(part: str) -> None:
        if difference := first_difference(before, inputs):
            expected = f"{part} leaves its arguments as they are"
            raise subject.failure(expected, f"after {part}, {difference}; change a copy instead", part)

    total(method(images, labels, draws)).backward()  # type: ignore[no-untyped-call]
    compare("losses")
    predict(method, images, labels)
    compare("predict")
    with torch.inference_mode():
        method.eval().views(images, labels, draws)
    compare("views")


def losses_are_finite_scalars(subject: Subject) -> None:
    """Every loss term is a finite float32 scalar with a gradient, every diagnostic a finite scalar without."""
    _check_losses(subject, bf16=False)


def losses_are_finite_scalars_in_bf16(subject: Subject) -> None:
    """The same under autocast to bf16, where activations are bf16 and losses still float32."""
    _check_losses(subject, bf16=True)


def _check_losses(subject: Subject, *, bf16: bool) -> None:
    """Check the losses of four draws, and that gradients are float32."""
    method = subject.build()
    images, labels = subject.batch()
    where = " under bf16 autocast" if bf16 else ""
    for seed in range(4):
        draws = subject.draw(method, images, seed)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            losses = method(images, labels, draws)
        if complaint := _complaint(losses):
            expected = "loss terms that are finite float32 scalars, and diagnostics that are finite detached scalars"
            raise subject.failure(expected, complaint + where, "losses")
        total(losses).backward()  # type: ignore[no-untyped-call]
    for name, parameter in method.named_parameters():
        if parameter.grad is not None and not parameter.grad.isfinite().all():
            raise subject.failure("finite gradients", f"the gradient of '{name}' is not finite{where}", "losses")


def _complaint(losses: Losses) -> str:
    """Return what is wrong with a step's losses; empty if nothing is."""
    if not losses.terms:
        return "there is no loss term"
    if twice := losses.terms.keys() & losses.diagnostics.keys():
        return f"'{min(twice)}' is both a loss term and a diagnostic"
    for name, value in (*losses.terms.items(), *losses.diagnostics.items()):
        if not isinstance(value, Tensor) or value.shape != ():
            return f"'{name}' is {_describe(value)}, not a scalar tensor"
        if not value.isfinite():
            return f"'{name}' is {float(value.detach())}"
    for name, value in losses.terms.items():
        if value.dtype != torch.float32:
            return f"the loss term '{name}' is {str(value.dtype).removeprefix('torch.')}"
    for name, value in losses.diagnostics.items():
        if value.requires_grad:
            return f"the diagnostic '{name}' is attached to the graph; use .detach()"
    return "" if total(losses).requires_grad else "no loss term depends on a parameter"


def _describe(value: object) -> str:
    """Return a value's kind in words."""
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"of type {type(value).__name__}"


def initial_weights_follow_from_the_seed(subject: Subject) -> None:
    """The initial weights follow from torch's seed: building the method twice gives the same ones."""
    built = []
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)
        built.append(subject.build().state_dict())
    if difference := first_difference(built[0], built[1]):
        seen = f"built twice after torch.manual_seed(0), {difference}; random or numpy was asked for numbers"
        raise subject.failure("the same initial weights for the same torch seed", seen, "__init__")


def losses_follow_from_their_arguments(subject: Subject) -> None:
    """Losses follow from images, labels and draws alone: all randomness of a step is made in draw."""
    given: list[dict[str, Tensor]] = []
    for seed in (1, 2, 3):
        method = subject.build()
        images, labels = subject.batch(n=8)
        draws = subject.draw(method, images)
        _scatter(seed)
        given.append({name: value.detach() for name, value in method(images, labels, draws).terms.items()})
    for other in given[1:]:
        if difference := first_difference(given[0], other):
            seen = (
                f"same weights, images, labels and draws, other global seeds of torch, numpy and random: {difference}"
            )
            raise subject.failure("losses that depend on their arguments only", seen, "losses")


def draws_follow_from_the_generator(subject: Subject) -> None:
    """Draws are tensors that follow from the generator: the same for the same seed, others for another."""
    method = subject.build()
    images, _ = subject.batch(n=8)
    drawn: list[Draws] = []
    for seed in (1, 2):
        _scatter(seed)
        drawn.append(subject.draw(method, images))
    if not drawn[0]:
        raise SkipTest("the method draws nothing")
    for name, value in drawn[0].items():
        if not isinstance(value, Tensor):
            raise subject.failure("draws that are tensors", f"'{name}' is {_describe(value)}", "draw")
    if difference := first_difference(drawn[0], drawn[1]):
        seen = f"two generators of the same seed, other global seeds of torch, numpy and random: {difference}"
        raise subject.failure("draws that depend on the generator only; pass generator=generator", seen, "draw")
    others = [subject.draw(method, images, seed) for seed in range(1, 31)]
    if not any(first_difference(drawn[0], other) for other in others):
        seen = f"{', '.join(map(repr, drawn[0]))} came out the same for 31 seeds"
        raise subject.failure("draws that change with the generator's seed", seen, "draw")


def _scatter(seed: int) -> None:
    """Set the global seeds that a method must not depend on."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
