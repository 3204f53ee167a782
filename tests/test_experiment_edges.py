"""A run at the edges: plugins that change, networks that diverge, pictures and records that are damaged."""

import dataclasses

import numpy as np
import pytest

from wsolbench.engine import fit as engine_fit
from wsolbench.errors import RunError, UserError
from wsolbench.experiment import make_plan, run
from wsolbench.outcome import finite_ranks
from wsolbench.records import read_record, record_files

PLUGIN = '''"""A method of one's own."""
from torch.nn import functional

from wsolbench.method import Losses, Method, NoConfig


class Mine(Method[NoConfig]):
    """CAM again."""

    name = "mine"
    paper = "none"

    def losses(self, images, labels, draws):
        """Return the cross entropy."""
        logits = self.network.logits(self.network(images).last)
        return Losses(terms={"cls": FACTOR * functional.cross_entropy(logits, labels)})
'''


def test_the_content_of_a_plugin_names_the_run(tiny_request, tmp_path):
    file = tmp_path / "mine.py"
    runs = []
    for factor in ("1", "2", "1"):
        file.write_text(PLUGIN.replace("FACTOR", factor))
        runs.append(make_plan(tiny_request("mine", plugins=(file,))).run_id)
    assert runs[0] == runs[2] != runs[1]


def test_the_kind_of_device_names_the_run(tiny_request):
    assert make_plan(tiny_request()).identity["device_type"] == "cpu"


def test_a_diverged_network_is_a_failed_run(tiny_request, tmp_path):
    request = tiny_request(results=tmp_path, settings={"lr": "1e30"}, recipe={"epochs": 1})
    with pytest.raises(RunError, match=r"not finite at step 2|no image of train-fullsup has finite logits|infinity"):
        run(request)
    assert record_files(tmp_path) == []


def test_an_image_with_nan_logits_is_wrong_at_every_k():
    logits = np.array([[2.0, 1.0], [np.nan, 0.0], [0.0, 1.0]], dtype=np.float32)
    assert finite_ranks(logits, np.array([0, 0, 0]), "test").tolist() == [0, 2, 1]
    with pytest.raises(RunError, match="no image of test has finite logits: training diverged"):
        finite_ranks(np.full((3, 2), np.nan, dtype=np.float32), np.array([0, 0, 0]), "test")


def test_every_split_is_decoded_before_training(tiny_request, tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(engine_fit, "train_epoch", lambda *args: started.append(1))
    request = tiny_request(results=tmp_path, cache=tmp_path / "cache")
    plan = make_plan(request)
    monkeypatch.setattr("wsolbench.experiment.make_plan", lambda _: plan)

    def damaged(index):
        raise UserError(f"picture {index} is damaged")

    images = dataclasses.replace(plan.dataset.images("test"), read=damaged, content_key="other")
    plain = type(plan.dataset).images
    monkeypatch.setattr(type(plan.dataset), "images", lambda self, s: images if s == "test" else plain(self, s))
    with pytest.raises(UserError, match="is damaged"):
        run(request)
    assert started == []


def test_a_damaged_null_record_is_written_again(tiny_request, tmp_path):
    run(tiny_request(results=tmp_path))
    nulls = [path for path in record_files(tmp_path) if not read_record(path).trainable]
    whole = [path.read_bytes() for path in nulls]
    nulls[0].write_bytes(whole[0][:100])
    run(tiny_request(results=tmp_path, resume=False))
    assert read_record(nulls[0]).run_id == nulls[0].stem
    assert [path.read_bytes() for path in nulls[1:]] == whole[1:]
