"""Small pictures, trunks whose BatchNorm statistics mean something, and torchvision's values layer by layer."""

import pytest
import torch
from torch import nn


@pytest.fixture
def shapes_only():
    """Build modules without values: no memory, no time."""
    with torch.device("meta"):
        yield


@pytest.fixture(scope="session")
def picture():
    def draw(height, width=None, n=1, seed=0):
        return torch.randn(n, 3, height, width or height, generator=torch.Generator().manual_seed(seed))

    return draw


@pytest.fixture(scope="session")
def settle():
    """Give BatchNorm the statistics of some images: with the initial ones, deep features explode or vanish."""

    def settled(module, images):
        norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = None  # one pass, taken as it is
        with torch.no_grad():
            module.train()(images)
        return module.eval()

    return settled


@pytest.fixture(scope="session")
def outputs_of():
    """Run a model and return copies of what the named layers gave."""

    def outputs(model, names, images):
        found = {}
        hooks = [
            model.get_submodule(name).register_forward_hook(lambda _, __, y, name=name: found.update({name: y.clone()}))
            for name in names
        ]
        with torch.no_grad():
            model(images)
        for hook in hooks:
            hook.remove()
        return found

    return outputs
