"""The loss watch: means by hand, and the first step that was not finite."""

import pytest
import torch

from wsolbench.engine.watch import LossWatch
from wsolbench.errors import RunError
from wsolbench.method import Losses


def feed(watch, *steps):
    """Add steps, each (terms, diagnostics) as dicts of numbers."""
    for terms, diagnostics in steps:
        losses = Losses(
            terms={name: torch.tensor(value) for name, value in terms.items()},
            diagnostics={name: torch.tensor(value) for name, value in diagnostics.items()},
        )
        watch.add(losses, torch.stack(list(losses.terms.values())))


def test_means_and_loss():
    watch = LossWatch(first_step=1)
    feed(watch, ({"cls": 1.0, "ca": 4.0}, {"share": 0.5}), ({"cls": 2.0, "ca": 8.0}, {"share": 0.0}))
    watch.check()
    assert watch.means() == {"cls": 1.5, "ca": 6.0, "share": 0.25}
    assert watch.loss() == 7.5


def test_sums_are_kept_in_float64():
    watch = LossWatch(first_step=1)
    feed(watch, ({"cls": 2.0**24}, {}), *[({"cls": 1.0}, {})] * 3)  # float32 would lose the ones
    assert watch.loss() == (2.0**24 + 3) / 4


def test_a_diagnostic_without_a_value_is_left_out_and_stops_nothing():
    watch = LossWatch(first_step=1)
    feed(watch, ({"cls": 1.0}, {"ratio": float("nan"), "share": 1.0}))
    watch.check()
    assert watch.means() == {"cls": 1.0, "share": 1.0}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_names_the_first_bad_step_and_its_terms(value):
    watch = LossWatch(first_step=101)
    good = {"cls": 1.0, "ca": 1.0, "fc": 1.0}
    feed(watch, (good, {}), (good | {"ca": value}, {}), (good | {"cls": value}, {}), (good, {}))
    with pytest.raises(RunError, match=r"^loss term 'ca' was not finite at step 102; lower the learning rate"):
        watch.check()


def test_names_all_terms_that_broke_together():
    watch = LossWatch(first_step=1)
    feed(watch, ({"cls": float("nan"), "ca": 1.0, "fc": float("inf")}, {}))
    with pytest.raises(RunError, match="loss term 'cls' and 'fc' was not finite at step 1;"):
        watch.check()


def test_the_arguments_are_not_kept():
    watch, terms = LossWatch(first_step=1), torch.tensor([1.0])
    watch.add(Losses(terms={"cls": terms[0]}), terms)
    terms.fill_(9)
    assert watch.loss() == 1.0
