"""Watching the loss without stalling the device: sums and the first bad step are kept there and read seldom."""

import math

import torch
from torch import Tensor

from wsolbench.errors import RunError
from wsolbench.method import Losses

NEVER = 2**62


class LossWatch:
    """Sums loss terms and diagnostics over an epoch and remembers the first step at which a term was not finite.

    Nothing is copied to the host until :meth:`check` or :meth:`means`.

    Args:
        first_step: number of the epoch's first step, counted from 1 over the whole run.
    """

    def __init__(self, first_step: int) -> None:
        self._step = first_step
        self._count = 0
        self._terms: tuple[str, ...] = ()
        self._names: tuple[str, ...] = ()
        self._sums: Tensor | None = None
        self._first_bad: Tensor | None = None

    def add(self, losses: Losses, terms: Tensor) -> None:
        """Note one step.

        Args:
            losses: what the step gave.
            terms: its loss terms as one detached float32 vector, in the order of ``losses.terms``.
        """
        values = torch.cat([terms, *(value.detach().float().reshape(1) for value in losses.diagnostics.values())])
        if self._sums is None or self._first_bad is None:
            self._terms = tuple(losses.terms)
            self._names = (*losses.terms, *losses.diagnostics)
            self._sums = torch.zeros_like(values, dtype=torch.float64)
            self._first_bad = torch.full_like(terms, NEVER, dtype=torch.int64)
        self._sums += values
        bad = torch.where(terms.isfinite(), NEVER, self._step)
        self._first_bad = torch.minimum(self._first_bad, bad)
        self._step += 1
        self._count += 1

    def check(self) -> None:
        """Read the flags (a sync point).

        Raises:
            RunError: a loss term was not finite; the step and the term are named.
        """
        assert self._first_bad is not None
        first = self._first_bad.tolist()
        step = min(first)
        if step != NEVER:
            guilty = " and ".join(f"'{name}'" for name, at in zip(self._terms, first, strict=True) if at == step)
            raise RunError(
                f"loss term {guilty} was not finite at step {step}; lower the learning rate (--set lr=...) "
                "or train in float32 (--precision fp32)"
            )

    def means(self) -> dict[str, float]:
        """Return the mean of every term and diagnostic over the steps so far (a sync point); NaN is left out."""
        assert self._sums is not None
        pairs = zip(self._names, self._sums.tolist(), strict=True)
        return {name: total / self._count for name, total in pairs if math.isfinite(total)}

    def loss(self) -> float:
        """Return the mean loss over the steps so far (a sync point)."""
        assert self._sums is not None
        terms: list[float] = self._sums.tolist()[: len(self._terms)]
        return sum(terms) / self._count
