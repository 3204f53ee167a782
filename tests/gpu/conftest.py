"""Small networks and images for the tests that need a CUDA device."""

import os
from types import SimpleNamespace

import numpy as np
import pytest

# Read when the device is first used, perhaps by a test that does not ask for determinism.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@pytest.fixture
def make():
    """Return makers of a recipe, of a method on a device, and of a bank of images there."""
    import torch

    from wsolbench.backbones.registry import build_backbone
    from wsolbench.data.bank import ImageBank
    from wsolbench.network import build_network
    from wsolbench.plugins import load_method
    from wsolbench.recipe import Recipe

    def recipe(**changes):
        fields = {"backbone": "resnet-tiny", "feature_map": 4, "image_size": 64, "epochs": 2, "lr": 0.05}
        return Recipe(**{**fields, **changes})

    def method(name, device):
        torch.manual_seed(0)
        cls = load_method(name)
        built = cls(build_network(build_backbone("resnet-tiny", 4), 4), cls.defaults("resnet-tiny"))
        return built.to(device, memory_format=torch.channels_last)

    def bank(count, side, device, channels=3):
        pictures = np.random.default_rng(0).integers(0, 256, (count, side, side, channels), dtype=np.uint8)
        return ImageBank(pictures, torch.device(device))

    return SimpleNamespace(recipe=recipe, method=method, bank=bank)
