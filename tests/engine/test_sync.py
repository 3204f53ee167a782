"""No operation of a training step may need a value on the host: on a GPU each would stall the step."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from wsolbench.data.augment import augment, draw_augmentation
from wsolbench.engine.fit import make_optimizer, train_step
from wsolbench.engine.watch import LossWatch
from wsolbench.method import Losses
from wsolbench.methods.cam import CAM
from wsolbench.plugins import find_methods

READS = {
    "aten._local_scalar_dense",
    "aten.is_nonzero",
    "aten.item",
    "aten.equal",
    "aten.nonzero",
    "aten.masked_select",
    "aten._unique2",
    "aten.unique_dim",
    "aten.repeat_interleave.Tensor",
}
INDEXING = {"aten.index", "aten.index_put", "aten.index_put_", "aten._index_put_impl_"}


class NoReads(TorchDispatchMode):
    """Raises where an operation's result, or its shape, depends on values that lie on the device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = str(func).rsplit(".", 1)[0]
        if name in READS or str(func) in READS:
            raise AssertionError(f"{func} reads a value on the host")
        if name in INDEXING and any(index is not None and index.dtype == torch.bool for index in args[1]):
            raise AssertionError(f"{func} indexes with a mask")
        return func(*args, **(kwargs or {}))


class Reading(CAM):
    """CAM that looks at its loss on the host."""

    def losses(self, images, labels, draws):
        losses = super().losses(images, labels, draws)
        return Losses(terms=losses.terms, diagnostics={"double": torch.tensor(2 * float(losses.terms["cls"]))})


class Masking(CAM):
    """CAM whose shapes depend on values."""

    def losses(self, images, labels, draws):
        images[images > 0].sum()
        return super().losses(images, labels, draws)


def steps(make, kind, precision="fp32", count=3):
    """Take some steps as the loop does, with everything that must not read inside the mode."""
    method = make.method(kind)
    bank = make.bank(16, make.resized, channels=4 if method.supervision == "masks" else 3)
    optimizer, watch = make_optimizer(method, make.recipe()), LossWatch(first_step=1)
    generator = torch.Generator().manual_seed(0)
    labels = make.labels(16)
    method.train()
    for _ in range(count):
        with NoReads():
            crops = draw_augmentation(8, make.resized, make.side, generator)
            batch = augment(bank.batch(torch.arange(8)), crops, make.side)
            draws = method.draw(8, (make.side, make.side), generator)
            train_step(method, optimizer, batch, labels[:8], draws, precision=precision, watch=watch)
    watch.check()
    return watch.loss()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", sorted(find_methods()))
def test_a_step_reads_nothing(make, kind, precision):
    assert steps(make, kind, precision) > 0


@pytest.mark.parametrize(("kind", "message"), [(Reading, "reads a value"), (Masking, "indexes with a mask")])
def test_the_guard_sees_what_it_must(make, kind, message):
    with pytest.raises(AssertionError, match=message):
        steps(make, kind)
