"""``wsolbench extract``: a row of its own from a trained run, and what it refuses in one sentence."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from wsolbench.leaderboard.model import build
from wsolbench.records import load_records, read_record, record_files, write_record


@pytest.fixture
def copied(finished, tmp_path):
    """Return a copy of a finished run's results in the temporary folder, which is where the commands run."""
    shutil.copytree(finished.request.results, tmp_path / "results")
    return SimpleNamespace(record=finished.record, folder=tmp_path / "results")


def extracted(cli, tmp_path, *words):
    done = cli("extract", *words, "--device", "cpu", "--quiet")
    assert done.status == 0, done.err
    return read_record(tmp_path / done.out.rstrip().splitlines()[-1].removeprefix("record: ")), done.out


@pytest.mark.parametrize("name", ["gradcam", "layercam"])
def test_a_record_of_its_own(cli, copied, tmp_path, name):
    run = copied.record
    record, out = extracted(cli, tmp_path, name, run.run_id[:6])
    assert record.identity == {**run.identity, "extractor": {"name": name, "point": "layer4.1"}}
    assert record.metrics.keys() == run.metrics.keys()
    assert record.metrics["top1_cls"] == run.metrics["top1_cls"]
    assert (record.images, record.map_size, record.headline) == (run.images, run.map_size, run.headline)
    assert record.history == []
    assert record.provenance.train_images_per_s is None
    assert record.provenance.command == f"wsolbench extract {name} {run.run_id}"
    assert f"extractor: name={name}, point=layer4.1" in out
    assert cli("explain", record.run_id).status == 0
    # The maps that were scored are kept as those of a run, and they are not the run's own.
    kept = []
    for each in (run, record):
        with np.load(copied.folder / "runs" / each.run_id / "test.npz") as arrays:
            kept.append(dict(arrays))
    plain, own = kept
    assert own["ids"].tolist() == plain["ids"].tolist()
    np.testing.assert_allclose(own["logits"], plain["logits"], atol=1e-5)
    assert own["maps"].min() >= 0
    if name == "gradcam":  # the head is global average pooling and a linear layer
        np.testing.assert_allclose(own["maps"] * 256, np.maximum(plain["maps"], 0), atol=1e-4)


def test_the_row_stands_beside_the_runs_own_and_seeds_are_grouped(cli, copied, tmp_path):
    record, _ = extracted(cli, tmp_path, "gradcam", copied.record.run_id)
    extracted(cli, tmp_path, "layercam", copied.record.run_id)
    for seed in (1, 2):
        recipe = {**record.identity["recipe"], "seed": seed}
        write_record(replace(record, identity={**record.identity, "recipe": recipe}), copied.folder)
    (table,) = build(*load_records(copied.folder)).tables
    assert {row.label: row.n for row in table.rows} == {"cam": 1, "cam + gradcam": 3, "cam + layercam": 1}
    assert "cam + gradcam" in cli("leaderboard", copied.folder).out


def test_another_point_is_another_row(cli, copied, tmp_path):
    extracted(cli, tmp_path, "gradcam", copied.record.run_id)
    record, _ = extracted(cli, tmp_path, "gradcam", copied.record.run_id, "--point", "layer3.0")
    assert record.provenance.command.endswith("--point layer3.0")
    (table,) = build(*load_records(copied.folder)).tables
    assert {row.label for row in table.rows} == {
        "cam",
        "cam + gradcam (point=layer3.0)",
        "cam + gradcam (point=layer4.1)",
    }
    early, _ = extracted(cli, tmp_path, "layercam", copied.record.run_id, "--point", "layer1.0")
    assert early.map_size == (32, 32)
    assert len(build(*load_records(copied.folder)).tables) == 2  # maps of another size do not compare


def test_a_record_that_is_there_is_not_made_again(cli, copied, tmp_path, monkeypatch):
    record, out = extracted(cli, tmp_path, "gradcam", copied.record.run_id)
    before = {path: path.stat().st_mtime_ns for path in record_files(copied.folder)}
    monkeypatch.setattr("wsolbench.extraction.score_splits", lambda *args, **kwargs: pytest.fail("scored again"))
    again, repeated = extracted(cli, tmp_path, "gradcam", copied.record.run_id)
    assert (again.run_id, repeated) == (record.run_id, out)
    assert {path: path.stat().st_mtime_ns for path in record_files(copied.folder)} == before


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gradcamm", "RUN"], "unknown extractor 'gradcamm'; did you mean 'gradcam'? Choices: gradcam, layercam"),
        (["gradcam", "RUN", "--point", "layer4.2"], "unknown point 'layer4.2'; did you mean 'layer4."),
        (["gradcam", "nowhere"], "no record below 'results' has a run id that begins with 'nowhere'"),
        (["gradcam", "RUN", "--results", "nowhere"], "'nowhere' is no folder; expected results"),
        (["gradcam", "RUN", "--device", "tpu"], "--device tpu is not a device"),
        (["gradcam", "RUN", "--plugin", "nowhere.py"], "--plugin nowhere.py: no such file"),
    ],
)
def test_words_that_mean_nothing(refused, copied, words, message):
    before = record_files(copied.folder)
    assert message in refused("extract", *[copied.record.run_id if word == "RUN" else word for word in words])
    assert record_files(copied.folder) == before


def test_a_run_whose_network_is_gone(refused, copied):
    (copied.folder / "runs" / copied.record.run_id / "model.pt").unlink()
    sentence = refused("extract", "gradcam", copied.record.run_id)
    assert f"the trained network of run {copied.record.run_id} is not in 'results/runs/" in sentence
    assert f"train it again with `{copied.record.provenance.command} --no-resume`" in sentence


def test_a_damaged_network_and_one_of_other_shapes(refused, copied):
    path = copied.folder / "runs" / copied.record.run_id / "model.pt"
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    sentence = refused("extract", "gradcam", copied.record.run_id)
    assert "model.pt cannot be read; train it again with `wsolbench run cam" in sentence
    assert "--results" not in sentence
    copied.folder.rename("moved here")
    sentence = refused("extract", "gradcam", copied.record.run_id, "--results", "moved here")
    assert sentence.endswith("--results 'moved here' --no-resume`")
    path = Path("moved here").rename(copied.folder) / path.relative_to(copied.folder)

    from wsolbench.engine.checkpoint import load_checkpoint, save_checkpoint

    path.write_bytes(whole)
    state = load_checkpoint(path)
    del state["weights"]["network.head.fc.bias"]
    save_checkpoint(path, {name: value for name, value in state.items() if name != "format"})
    sentence = refused("extract", "gradcam", copied.record.run_id)
    assert "is not the one that cam builds in this version; train it again" in sentence


def test_null_rows_and_extracted_rows_have_no_network(refused, cli, copied, tmp_path):
    null = next(record for record in load_records(copied.folder)[0] if not record.trainable)
    assert f"run {null.run_id} is a null row and has no network" in refused("extract", "gradcam", null.run_id)
    record, _ = extracted(cli, tmp_path, "gradcam", copied.record.run_id)
    sentence = refused("extract", "layercam", record.run_id)
    assert f"run {record.run_id} is extracted from another run and has no network" in sentence


def rewritten(copied, change):
    """Return the run id of a record like the finished run's with a changed identity, its network beside it."""
    identity = json.loads(json.dumps(copied.record.identity))
    change(identity)
    record = replace(copied.record, identity=identity)
    write_record(record, copied.folder)
    runs = copied.folder / "runs"
    shutil.copytree(runs / copied.record.run_id, runs / record.run_id)
    return record.run_id


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda identity: identity["fingerprints"].update({"test": "f" * 16}),
            "test of parts has the fingerprint",
        ),
        (lambda identity: identity.update(plugin="a" * 16), "used another file for the method 'cam'; pass the one"),
        (
            lambda identity: identity["recipe"].update(warmup=3),
            "has settings that this version does not know: warmup; use",
        ),
        (lambda identity: identity.update(method="gone"), "unknown method 'gone'"),
        (
            lambda identity: identity.update(method="gone", plugin="a" * 16),
            "used a file for the method 'gone'; pass that file with --plugin",
        ),
    ],
)
def test_what_the_run_was_made_with_must_be_here(refused, copied, change, message):
    run_id = rewritten(copied, change)
    before = record_files(copied.folder)
    assert message in refused("extract", "gradcam", run_id)
    assert record_files(copied.folder) == before


def test_a_method_that_does_not_classify(refused, cli, arguments, tmp_path):
    done = cli("run", "fsl", "parts", *arguments.tiny, *arguments.fast)
    assert done.status == 0, done.err
    record = read_record(tmp_path / done.out.rstrip().splitlines()[-1].removeprefix("record: "))
    sentence = refused("extract", "gradcam", record.run_id, "--quiet")
    assert "fsl does not classify, so there is no class score to extract maps from" in sentence
    assert len(record_files(tmp_path / "results")) == 4
