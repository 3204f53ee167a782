"""Batches on a GPU: the same from its own memory, from a memory map and from a stream, and no waiting for them."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from PIL import Image  # noqa: E402

from wsolbench.data import bank as bank_module  # noqa: E402
from wsolbench.data.bank import ImageBank  # noqa: E402
from wsolbench.data.streaming import Stream  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device"),
]
COUNT, SIDE = 40, 73


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("kind", ["array", "map", "stream"])
def test_batches_are_the_same_from_everywhere(tmp_path, monkeypatch, kind, resident):
    pictures = np.random.default_rng(0).integers(0, 256, (COUNT, SIDE, SIDE, 3), dtype=np.uint8)
    np.save(tmp_path / "pictures.npy", pictures)
    source = {
        "array": lambda: pictures,
        "map": lambda: np.load(tmp_path / "pictures.npy", mmap_mode="r"),
        "stream": lambda: Stream(lambda index: Image.fromarray(pictures[index]), COUNT, SIDE, 3),
    }[kind]()
    if not resident:
        monkeypatch.setattr(bank_module, "_fits", lambda size, device: False)
    bank = ImageBank(source, torch.device("cuda"), quiet=True)
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(0)).repeat(3)
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = [images for _, images in bank.batches(order, 16)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(images.device.type == "cuda" for images in found)
    assert np.array_equal(torch.cat(found).cpu().numpy(), pictures[order.numpy()])
