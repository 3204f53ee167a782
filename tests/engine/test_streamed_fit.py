"""Where pictures come from moves no number: training, resuming and scoring from a stream equal those from an array."""

import numpy as np
import pytest
import torch
from PIL import Image

from wsolbench.data.bank import ImageBank
from wsolbench.data.streaming import Stream
from wsolbench.engine.fit import fit
from wsolbench.engine.infer import infer
from wsolbench.errors import RunError, UserError
from wsolbench.methods.cam import CAM

COUNT = 19
CPU = torch.device("cpu")


def banks(make, side):
    """The same pictures as an array and as streams of 0, 1 and 3 threads."""
    pictures = np.random.default_rng(1).integers(0, 256, (COUNT, side, side, 3), dtype=np.uint8)
    yield ImageBank(pictures, CPU)
    for threads in (0, 1, 3):
        yield ImageBank(Stream(lambda index: Image.fromarray(pictures[index]), COUNT, side, threads), CPU)


@pytest.mark.parametrize("kind", ["has", "cam"])
def test_a_stream_trains_the_same_weights(make, tmp_path, kind):
    found = []
    for number, bank in enumerate(banks(make, make.resized)):
        method, options = make.method(kind), {"run_dir": tmp_path / str(number), "run_id": "x", "quiet": True}
        # The last one is interrupted and resumed.
        for epochs in (1, 3) if number == 3 else (3,):
            recipe = make.recipe(epochs=epochs, bn_recalibrate=epochs == 3)
            fitted = fit(method, bank, make.labels(COUNT), recipe, **options)
        found.append((method.state_dict(), fitted.history))
    for weights, history in found[1:]:
        assert history == found[0][1]
        assert all(torch.equal(weights[name], value) for name, value in found[0][0].items())


def test_a_stream_scores_the_same_maps(make):
    method, found = make.method(), []
    for bank in banks(make, make.side):
        maps = []
        result = infer(method, bank, make.labels(COUNT), lambda start, part, maps=maps: maps.append(part), batch_size=8)
        found.append((result.logits, result.raw_maps, np.concatenate(maps)))
    for arrays in found[1:]:
        assert all(np.array_equal(*pair) for pair in zip(arrays, found[0], strict=True))


def test_a_damaged_picture_stops_training_with_its_sentence(make, tmp_path):
    def read(index):
        raise UserError(f"picture {index} is truncated")

    bank = ImageBank(Stream(read, COUNT, make.resized, 2), CPU)
    options = {"run_dir": tmp_path, "run_id": "x", "quiet": True}
    with pytest.raises(UserError, match=r"picture \d+ is truncated"):
        fit(make.method(), bank, make.labels(COUNT), make.recipe(), **options)


def test_a_failed_training_leaves_no_thread_at_work(make, tmp_path):
    class Broken(CAM):
        """CAM without a finite loss."""

        def losses(self, images, labels, draws):
            found = super().losses(images, labels, draws)
            found.terms["cls"] = found.terms["cls"] * torch.nan
            return found

    read = []
    bank = ImageBank(Stream(lambda i: read.append(i) or Image.new("RGB", (9, 9)), 800, make.resized, 2), CPU)
    options = {"run_dir": tmp_path, "run_id": "x", "quiet": True}
    with pytest.raises(RunError, match="not finite"):
        fit(make.method(Broken), bank, torch.arange(800) % 4, make.recipe(), **options)
    # Flags are read at step 50 of 100; two batches may have been made ahead.
    assert 50 * 8 <= len(read) <= 53 * 8
