"""Small networks, images and recipes for the tests of the engine."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from wsolbench.backbones.registry import build_backbone
from wsolbench.data.bank import ImageBank
from wsolbench.network import build_network
from wsolbench.plugins import load_method
from wsolbench.recipe import Recipe

SIDE, CLASSES = 32, 4


def make_recipe(**changes):
    fields = {"backbone": "resnet-tiny", "feature_map": 4, "image_size": SIDE, "epochs": 2, "batch_size": 8, "lr": 0.05}
    return Recipe(**{**fields, **changes})


def make_network(seed=0):
    torch.manual_seed(seed)
    return build_network(build_backbone("resnet-tiny", 4), CLASSES)


def make_method(kind="cam", seed=0):
    """Build a method by name or by class on a network of its own."""
    network = make_network(seed)
    cls = load_method(kind) if isinstance(kind, str) else kind
    return cls(network, cls.defaults("resnet-tiny")).to(memory_format=torch.channels_last)


def make_bank(count, side, channels=3):
    rng = np.random.default_rng(count)
    return ImageBank(rng.integers(0, 256, (count, side, side, channels), dtype=np.uint8), torch.device("cpu"))


def make_labels(count):
    return torch.arange(count) % CLASSES


@pytest.fixture
def make():
    """Hand the tests the makers of this file, which they cannot import: tests/ is not a package."""
    return SimpleNamespace(
        recipe=make_recipe,
        network=make_network,
        method=make_method,
        bank=make_bank,
        labels=make_labels,
        side=SIDE,
        resized=make_recipe().resized_side,
        classes=CLASSES,
    )
