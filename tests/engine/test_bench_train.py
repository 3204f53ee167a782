"""What a training step of each method costs beside CAM's, in one run: batch 32, 64 pixels, maps of stride 4."""

import pytest
import torch

from wsolbench.backbones.registry import build_backbone
from wsolbench.engine.device import resolve_precision
from wsolbench.engine.fit import make_optimizer, train_step
from wsolbench.engine.watch import LossWatch
from wsolbench.network import build_network
from wsolbench.plugins import find_methods, load_method
from wsolbench.recipe import Recipe

BATCH, SIDE, CLASSES = 32, 64, 8


@pytest.mark.benchmark(group="training step, resnet-tiny, batch 32")
@pytest.mark.parametrize("name", sorted(find_methods()))
def test_training_step(benchmark, name):
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    recipe = Recipe(backbone="resnet-tiny", feature_map=4, image_size=SIDE, precision=resolve_precision("auto", device))
    method_class = load_method(name)
    network = build_network(build_backbone("resnet-tiny", 4), CLASSES)
    method = method_class(network, method_class.defaults("resnet-tiny"))
    method = method.to(device, memory_format=torch.channels_last)
    optimizer = make_optimizer(method, recipe)
    generator = torch.Generator(device).manual_seed(0)
    channels = 4 if method.supervision == "masks" else 3
    images = torch.rand(BATCH, channels, SIDE, SIDE, device=device).to(memory_format=torch.channels_last)
    labels = torch.randint(CLASSES, (BATCH,), device=device)
    watch = LossWatch(first_step=1)

    def step():
        draws = method.draw(BATCH, (SIDE, SIDE), generator)
        train_step(method, optimizer, images, labels, draws, precision=recipe.precision, watch=watch)
        if device.type == "cuda":
            torch.cuda.synchronize()

    benchmark.pedantic(step, rounds=30, warmup_rounds=5)
    watch.check()
