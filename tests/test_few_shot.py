"""A run that trains on boxes: what it is given, what it is scored on, what its record and its row say."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from wsolbench.experiment import make_plan, run
from wsolbench.leaderboard.explain import explain
from wsolbench.leaderboard.model import build
from wsolbench.leaderboard.pages import to_markdown
from wsolbench.leaderboard.sections import mark
from wsolbench.protocols import BoxHits, SplitScores, score
from wsolbench.records import load_records, read_record
from wsolbench.scoring import scaled_boxes

REASON = "it does not classify"


@pytest.fixture(scope="module")
def few(tmp_path_factory, tiny_request):
    """Return a finished run of fsl and the images that fit was given."""
    folder = tmp_path_factory.mktemp("few")
    request = tiny_request("fsl", results=folder / "results", save_maps=folder / "maps")
    given = watch_fit(request)
    path = request.results / "parts" / "records" / f"{make_plan(request).run_id}.json"
    return SimpleNamespace(request=request, record=read_record(path), path=path, maps=folder / "maps", **given)


def watch_fit(request):
    """Run, and return what the training loop was given."""
    from wsolbench import experiment

    given, plain = {}, experiment.fit

    def watched(method, images, labels, recipe, **options):
        given.update(images=images, labels=labels, epoch_images=options["epoch_images"])
        return plain(method, images, labels, recipe, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "fit", watched)
        run(request)
    return given


def all_pictures(bank):
    return bank.batch(torch.arange(len(bank))).numpy()


# --- what it is given -------------------------------------------------------------------------------------------------


def test_it_trains_on_pictures_and_masks_of_train_fullsup_that_are_not_scored(few):
    dataset = make_plan(few.request).dataset
    annotations = dataset.annotations("train-fullsup")
    pictures = all_pictures(few.images)
    assert pictures.shape == (8, 73, 73, 4)  # two images a class: the first is trained on
    assert few.labels.tolist() == list(range(8))
    for index in range(8):
        whole = dataset.images("train-fullsup").read(index).resize((73, 73), resample=2)
        assert (pictures[index, :, :, :3] == np.asarray(whole)).all()
        mask = np.zeros((73, 73), dtype=np.uint8)
        x0, y0, x1, y1 = scaled_boxes(annotations, 73)[index]
        mask[y0 : y1 + 1, x0 : x1 + 1] = 255
        assert (pictures[index, :, :, 3] == mask).all()
    with np.load(few.request.results / "runs" / few.record.run_id / "train-fullsup.npz") as kept:
        assert kept["ids"].tolist() == [f"train-fullsup-{index:05d}" for index in range(8, 16)]


def test_it_takes_as_many_steps_as_a_run_on_labels(few, finished):
    assert few.epoch_images == 64
    assert len(few.record.history) == len(finished.record.history) == 2
    assert {**few.record.identity["recipe"]} == finished.record.identity["recipe"]
    assert few.record.history[-1]["foreground"] < few.record.history[0]["foreground"]


def test_a_method_trained_on_labels_gets_three_channels_of_train_weaksup(tiny_request, tmp_path):
    given = watch_fit(tiny_request(results=tmp_path))
    assert all_pictures(given["images"]).shape == (64, 73, 73, 3)
    assert given["epoch_images"] == 64


def test_train_weaksup_is_not_looked_at(tiny_request, tmp_path, monkeypatch):
    from wsolbench.data.parts import Parts

    plain = Parts.images

    def no_pictures(self, split):
        split_images = plain(self, split)
        if split == "train-weaksup":
            object.__setattr__(split_images, "read", lambda index: pytest.fail("a picture of train-weaksup was read"))
        return split_images

    monkeypatch.setattr(Parts, "images", no_pictures)
    run(tiny_request("fsl", results=tmp_path, cache=tmp_path / "cache", recipe={"epochs": 1}))


# --- what it leaves ---------------------------------------------------------------------------------------------------


def test_the_record_says_what_it_used(few, finished):
    record = few.record
    assert record.identity["supervision"] == {
        "kind": "masks",
        "train_images": 8,
        "threshold_images": 8,
        "held_out": "one in 5 of each class",
        "epoch": "as many steps as on train-weaksup",
    }
    assert "supervision" not in finished.record.identity
    assert record.images == finished.record.images
    assert record.identity["fingerprints"] == finished.record.identity["fingerprints"]
    assert record.counts.keys() == {f"{kind}_maps_{split}" for kind in ("constant", "invalid") for split in SPLITS}
    assert "train_images=8" in explain(record)


SPLITS = ("train-fullsup", "test")


def test_what_needs_classes_is_absent_with_the_reason(few, finished):
    keys = {f"top{k}_{what}" for k in (1, 5) for what in ("cls", "loc", "loc_fullsup")} | {"top1_loc_at_0.2"}
    for scores in (few.record, few.record.slices["boxes_5_50"]):
        assert scores.absent == dict.fromkeys(keys, REASON) | {"pxap": "the split has boxes, no masks"}
        assert scores.metrics.keys() == finished.record.metrics.keys() - keys


def test_thresholds_are_frozen_on_the_held_out_images_alone(few):
    splits = {}
    with np.load(few.path.with_suffix(".npz")) as stored:
        assert not [name for name in stored.files if name.endswith("ranks")]
        for split in SPLITS:
            arrays = {name: stored[f"{split}/{name}"] for name in ("packed", "maxima", "criteria", "largest")}
            splits[split] = SplitScores(hits=BoxHits.from_arrays(arrays))
    assert [len(splits[split].hits) for split in SPLITS] == [8, 16]
    again = score(splits["test"], splits["train-fullsup"])
    assert again.metrics == few.record.metrics
    assert again.thresholds == few.record.thresholds


def test_maps_are_saved_without_logits(few):
    assert len(list((few.maps / "test").glob("*.npy"))) == 16
    assert len(list((few.maps / "train-fullsup").glob("*.npy"))) == 8
    with np.load(few.request.results / "runs" / few.record.run_id / "test.npz") as kept:
        assert sorted(kept.files) == ["ids", "maps"]
        assert kept["maps"].min() > 0
        assert kept["maps"].max() < 1


def test_its_row_stands_in_the_table_of_the_others_and_is_not_ranked(few, finished):
    nulls, _ = load_records(few.request.results)
    (table,) = build([*nulls, finished.record]).tables
    assert {row.label for row in table.rows} == {"cam", "fsl"}
    assert len(table.nulls) == 3
    for name in few.record.metrics:
        assert "fsl" not in mark(table, ("", name))
    text = to_markdown(build([*nulls, finished.record]))
    assert "| fsl ¹" in text or "| fsl ²" in text
    assert "not weakly supervised: trained on the boxes of 8 images of train-fullsup; its thresholds" in text


def test_it_is_not_trained_again(few, monkeypatch):
    monkeypatch.setattr("wsolbench.experiment.fit", lambda *args, **kwargs: pytest.fail("trained again"))
    assert run(few.request) == few.path
