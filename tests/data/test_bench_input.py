"""Images a second on every path that pictures take to a training step, in one run, 256 images a round.

Small: Tiny ImageNet's photographs where the shared archive is there, else generated ones of that size, made 73x73.
Large: generated photographs of 500x375, an ordinary size in ImageNet, made 256x256.
"""

from io import BytesIO
from itertools import cycle, islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from wsolbench.data.augment import augment, draw_augmentation
from wsolbench.data.bank import ImageBank
from wsolbench.data.cache import cached_images
from wsolbench.data.pictures import decode
from wsolbench.data.splits import ImageSplit
from wsolbench.data.streaming import Stream, usable_cores
from wsolbench.data.tiny_imagenet import open_tiny_imagenet

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
PICTURES, BATCH = 256, 32
SIZES = {"small": ((64, 64), 73, 64), "large": ((500, 375), 256, 224)}  # width and height, stored side, crop
ARCHIVE = Path(__file__).parents[3] / "shared" / "data" / "tiny-imagenet-40.zip"


def photograph(seed, size):
    """A JPEG with smooth regions and some grain, as photographs have; noise alone would take twice as long."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
    pixels = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)).astype(int)
    buffer = BytesIO()
    grainy = (pixels + rng.integers(-8, 9, pixels.shape)).clip(0, 255).astype(np.uint8)
    Image.fromarray(grainy).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


@pytest.fixture(params=list(SIZES), scope="module")
def photographs(request):
    size, side, crop = SIZES[request.param]
    if request.param == "small" and ARCHIVE.is_file():
        read = open_tiny_imagenet(ARCHIVE).images("train-fullsup").read
        found = "Tiny ImageNet"
    else:
        files = list(islice(cycle([photograph(seed, size) for seed in range(64)]), PICTURES))
        read, found = (lambda index: decode(files[index], str(index))), "generated"
    group = f"{PICTURES} photographs of {size[0]}x{size[1]}, {found}, made {side}x{side}"
    return SimpleNamespace(read=read, side=side, crop=crop, group=group)


@pytest.fixture
def measure(benchmark, photographs):
    """Return a function that times a path and shows its images a second."""

    def run(path, rounds=5):
        benchmark.group = photographs.group
        made = benchmark.pedantic(path, rounds=rounds, warmup_rounds=1)
        benchmark.stats.name += f": {PICTURES / benchmark.stats.stats.median:,.0f} images/s"
        return made

    return run


def consume(bank):
    """Take one epoch of batches."""
    order = torch.randperm(PICTURES, generator=torch.Generator().manual_seed(0))
    taken = sum(len(images) for _, images in bank.batches(order, BATCH))
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return taken


def array(photographs):
    return np.asarray(Stream(photographs.read, PICTURES, photographs.side, usable_cores()))


@pytest.mark.parametrize("threads", sorted({0, 1, 2, usable_cores()}))
def test_bench_streaming(measure, photographs, threads):
    stream = Stream(photographs.read, PICTURES, photographs.side, threads)
    assert measure(lambda: np.asarray(stream)).shape == stream.shape


def test_bench_streamed_batches(measure, photographs):
    bank = ImageBank(Stream(photographs.read, PICTURES, photographs.side, usable_cores()), torch.device("cpu"))
    assert measure(lambda: consume(bank)) == PICTURES


def test_bench_building_the_cache(measure, photographs, tmp_path):
    labels = np.zeros(PICTURES, np.int64)
    keys = iter(range(100))

    def build():
        ids = tuple(map(str, range(PICTURES)))
        key = str(next(keys))
        split = ImageSplit(name="test", ids=ids, labels=labels, content_key=key, read=photographs.read)
        return cached_images(split, photographs.side, tmp_path, quiet=True)

    assert np.array_equal(measure(build), array(photographs))


def test_bench_gathering_from_the_cache(measure, photographs, tmp_path, monkeypatch):
    monkeypatch.setattr("wsolbench.data.bank._fits", lambda size, device: False)
    np.save(tmp_path / "pictures.npy", array(photographs))
    bank = ImageBank(np.load(tmp_path / "pictures.npy", mmap_mode="r"), DEVICE)
    assert measure(lambda: consume(bank), rounds=20) == PICTURES


@pytest.mark.skipif(DEVICE.type != "cuda", reason="this machine has no CUDA device")
def test_bench_gathering_on_the_device(measure, photographs):
    bank = ImageBank(array(photographs), DEVICE, quiet=True)
    assert measure(lambda: consume(bank), rounds=20) == PICTURES


def test_bench_augmenting(measure, photographs):
    bank = ImageBank(array(photographs), DEVICE, quiet=True)
    generator = torch.Generator(DEVICE).manual_seed(0)
    batches = [images for _, images in bank.batches(torch.arange(PICTURES), BATCH)]

    def run():
        crop = photographs.crop
        made = [
            augment(images, draw_augmentation(BATCH, photographs.side, crop, generator), crop) for images in batches
        ]
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()
        return made

    for images in measure(run, rounds=10):
        assert images.shape == (BATCH, 3, photographs.crop, photographs.crop)
        assert torch.isfinite(images).all()
        assert images.std() > 0.1  # pictures, normalised
