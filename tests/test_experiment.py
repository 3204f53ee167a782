"""The main path: what names a run, what a run leaves, what is not done twice."""

import dataclasses
import shlex

import numpy as np
import pytest
import torch

from wsolbench.cli.main import app
from wsolbench.config import override
from wsolbench.engine import fit as engine_fit
from wsolbench.engine.checkpoint import load_checkpoint
from wsolbench.errors import UserError
from wsolbench.evaluation import MapSource, evaluate
from wsolbench.experiment import OF_OPTIONS, build_method, make_plan, run
from wsolbench.protocols import BoxHits, SplitScores, label_ranks, prepare, score
from wsolbench.recipe import Recipe
from wsolbench.records import read_record, record_files

SPLITS = ("train-fullsup", "test")


def numbers(record):
    """Return what the run found out, without when and how fast."""
    return record.identity, record.metrics, record.thresholds, record.slices, record.counts, record.history


# --- the plan ---------------------------------------------------------------------------------------------------------


def test_defaults_come_from_dataset_backbone_and_recipe(tiny_request):
    plan = make_plan(tiny_request(recipe={}))
    recipe = plan.recipe
    assert set(plan.dataset.defaults) == {"epochs", "lr", "lr_decay_every", "feature_map"}
    assert {name: getattr(recipe, name) for name in plan.dataset.defaults} == plan.dataset.defaults
    assert recipe.epochs != Recipe().epochs
    assert (recipe.image_size, recipe.weights, recipe.backbone) == (64, "none", "resnet-tiny")
    assert (recipe.batch_size, recipe.momentum, recipe.weight_decay) == (32, 0.9, 1e-4)
    assert recipe.resized_side == 73
    assert plan.weights == "none"


def test_weights_are_torchvisions_where_there_are_any(tiny_request):
    plan = make_plan(tiny_request(backbone="resnet18"))
    assert plan.weights == "imagenet"
    assert plan.recipe.weights == "ResNet18_Weights.IMAGENET1K_V1"
    assert make_plan(tiny_request(backbone="resnet18", weights="none")).recipe.weights == "none"


def test_a_weight_file_is_named_by_its_content(tiny_request, tmp_path):
    found = []
    for name, content in (("a.pth", b"1"), ("b.pth", b"1"), ("c.pth", b"2")):
        (tmp_path / name).write_bytes(content)
        found.append(make_plan(tiny_request(weights=str(tmp_path / name))))
    assert found[0].recipe.weights == "sha256:6b86b273ff34fce1"  # of "1"
    assert found[0].run_id == found[1].run_id != found[2].run_id


def test_an_automatic_precision_is_recorded_resolved(tiny_request, monkeypatch):
    for flags, expected in (({"avx512_bf16": True}, "bf16"), ({}, "fp32")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda flags=flags: flags, raising=False)
        plan = make_plan(tiny_request(precision="auto"))
        assert plan.recipe.precision == expected
        assert plan.identity["recipe"]["precision"] == expected
        assert plan.run_id == make_plan(tiny_request(precision=expected)).run_id


def test_settings_reach_method_and_recipe_as_their_types(tiny_request):
    settings = {"drop_rate": "0.25", "cell": "8", "lr": "1e-2", "lr_decay_early": "true", "batch_size": "16"}
    plan = make_plan(tiny_request("has", settings=settings))
    assert (plan.config.drop_rate, plan.config.cell) == (0.25, 8)
    assert (plan.recipe.lr, plan.recipe.lr_decay_early, plan.recipe.batch_size) == (0.01, True, 16)
    assert plan.identity["config"] == {"drop_rate": 0.25, "cell": 8}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "camm"}, "unknown method 'camm'; did you mean 'cam'"),
        ({"dataset": "part"}, "unknown dataset 'part'; did you mean 'parts'"),
        ({"backbone": "resnet-tin"}, "unknown backbone 'resnet-tin'; did you mean 'resnet-tiny'"),
        ({"data_options": {"clases": "4"}}, "unknown option of parts 'clases'; did you mean 'classes'"),
        ({"data_options": {"classes": "4.5"}}, "classes=4.5 cannot be read; expected a whole number"),
        ({"data_options": {"classes": "1"}}, "classes of the dataset parts is 1; expected at least 2"),
        ({"settings": {"drop_rat": "1"}, "method": "has"}, "unknown setting 'drop_rat'; did you mean 'drop_rate'"),
        ({"settings": {"drop_rate": "0.5"}}, "unknown setting 'drop_rate'"),  # cam has none
        ({"settings": {"drop_rate": "1.5"}, "method": "has"}, "drop_rate=1.5 is out of range; expected a value from 0"),
        ({"settings": {"lr": "nan"}}, "lr=nan is not allowed; expected a finite number"),
        ({"settings": {"lr": "fast"}}, "lr=fast cannot be read; expected a number"),
        ({"settings": {"weights": "none"}}, "weights is not taken from --set; use --weights"),
        ({"settings": {"image_size": "32"}}, "image_size is not taken from --set; use --image-size"),
        ({"settings": {"world_size": "2"}}, "unknown setting 'world_size'"),
        ({"settings": {"batch_size": "1"}}, "batch_size=1 is out of range; expected at least 2"),
        ({"recipe": {"epochs": 0}}, "epochs=0 is out of range; expected at least 1"),
        ({"recipe": {"seed": -1}}, "seed=-1 is out of range; expected at least 0"),
        ({"recipe": {"feature_map": 5}}, "feature_map=5 is not allowed; expected one of 4, 8, 16"),
        ({"recipe": {"image_size": 4}}, "image_size=4 is out of range; expected at least 8"),
        ({"precision": "fp64"}, "--precision fp64 is not allowed"),
        ({"device": "tpu"}, "--device tpu is not a device"),
        ({"weights": "imagenet"}, "there are no imagenet weights for resnet-tiny"),
        ({"weights": "nowhere.pth"}, "--weights nowhere.pth: no such file"),
        ({"dataset": "cub", "data_options": {}}, "cub needs images.txt of CUB_200_2011 or split files"),
    ],
)
def test_what_cannot_be_planned_is_one_sentence(tiny_request, changes, message):
    with pytest.raises(UserError, match=message) as caught:
        make_plan(tiny_request(**{"recipe": {"epochs": 1}, **changes}))
    assert "\n" not in str(caught.value)


# --- identity ---------------------------------------------------------------------------------------------------------

OTHER = {
    "backbone": None,  # has an option of its own, below
    "weights": None,
    "precision": None,
    "normalization": "ivr",
    "world_size": None,
    "feature_map": "8",
    "image_size": "32",
    "epochs": "3",
    "batch_size": "16",
    "lr": "0.0123",
    "lr_decay_every": "40",
    "lr_decay_early": "true",
    "new_layer_lr": "5",
    "param_groups": "reference",
    "momentum": "0.5",
    "weight_decay": "0",
    "bn_recalibrate": "true",
    "deterministic": "true",
    "seed": "1",
}


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Recipe)])
def test_every_setting_of_the_recipe_names_the_run(tiny_request, name):
    if OTHER[name] is None:
        assert name in make_plan(tiny_request()).identity["recipe"]
    else:
        value = getattr(override(Recipe(), {name: OTHER[name]}), name)
        how = {"recipe": {"epochs": 2, name: value}} if name in OF_OPTIONS else {"settings": {name: OTHER[name]}}
        assert make_plan(tiny_request(**how)).run_id != make_plan(tiny_request()).run_id


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "bf16"},
        {"backbone": "resnet18", "weights": "none"},
        {"method": "has"},
        {"method": "has", "settings": {"cell": "8"}},
        {"dataset": "parts/no-body"},
        {"data_options": {"train": "64", "fullsup": "16", "test": "17"}},
        {"data_options": {"train": "72", "fullsup": "16", "test": "16"}},
    ],
)
def test_what_else_names_the_run(tiny_request, changes):
    base = {"method": "has"} if "settings" in changes else {}
    assert make_plan(tiny_request(**changes)).run_id != make_plan(tiny_request(**base)).run_id


def test_where_and_how_loudly_does_not(tiny_request, tmp_path):
    places = {"results": tmp_path, "cache": tmp_path, "save_maps": tmp_path, "quiet": False, "resume": False}
    changed = make_plan(tiny_request(**places))
    assert changed.run_id == make_plan(tiny_request()).run_id
    assert changed.identity == make_plan(tiny_request()).identity


def test_methods_with_the_same_seed_start_from_the_same_network(tiny_request):
    networks = [
        build_method(make_plan(tiny_request(method))).network.state_dict() for method in ("cam", "has", "inca", "adl")
    ]
    other = build_method(make_plan(tiny_request(recipe={"seed": 1}))).network.state_dict()
    for network in networks[1:]:
        assert all(torch.equal(value, networks[0][name]) for name, value in network.items())
    assert not all(torch.equal(value, networks[0][name]) for name, value in other.items())


# --- what a run leaves ------------------------------------------------------------------------------------------------


def test_the_record(finished):
    record = finished.record
    assert record.run_id == make_plan(finished.request).run_id
    assert record.images == {"train-weaksup": 64, "train-fullsup": 16, "test": 16}
    assert record.map_size == (16, 16)
    assert [row["lr"] for row in record.history] == [make_plan(finished.request).recipe.lr] * 2
    kinds = ("constant_maps", "invalid_maps", "invalid_logits")
    assert record.counts == {f"{kind}_{split}": 0 for kind in kinds for split in SPLITS}
    assert record.absent == {"pxap": "the split has boxes, no masks"}
    assert record.percentile is None
    assert record.provenance.train_images_per_s > 0
    assert record.provenance.wall_s > 0
    assert set(record.provenance.versions) >= {"wsolbench", "python", "torch", "numpy", "numba"}
    assert record.slices["boxes_5_50"].images == 16


def test_metrics_follow_from_the_kept_raw_maps_and_logits(finished):
    plan = make_plan(finished.request)
    scores = {}
    with np.load(finished.path.with_suffix(".npz")) as stored:
        hits = {name: stored[name] for name in stored.files}
    for split in SPLITS:
        annotations = plan.dataset.annotations(split)
        with np.load(finished.request.results / "runs" / plan.run_id / f"{split}.npz") as kept:
            assert kept["ids"].tolist() == list(annotations.ids)
            assert (kept["maps"].dtype, kept["maps"].shape) == (np.float32, (16, 16, 16))
            ranks = label_ranks(kept["logits"], annotations.labels)
            maxima = prepare(kept["maps"], (64, 64)).maps.max(axis=(1, 2))
        assert hits[f"{split}/ranks"].tolist() == ranks.tolist()
        assert hits[f"{split}/maxima"].tolist() == maxima.tolist()
        arrays = {name: hits[f"{split}/{name}"] for name in ("packed", "maxima", "criteria", "largest")}
        scores[split] = SplitScores(hits=BoxHits.from_arrays(arrays), ranks=ranks, num_classes=8)
    again = score(scores["test"], scores["train-fullsup"])
    assert again.metrics == finished.record.metrics
    assert again.thresholds == finished.record.thresholds


def test_saved_maps_score_the_same_in_evaluate(finished):
    plan = make_plan(finished.request)
    sources = [
        MapSource(maps=finished.maps / split, annotations=plan.dataset.annotations(split), side=64)
        for split in ("test", "train-fullsup")
    ]
    scores = evaluate(*sources, quiet=True).scores
    assert len(scores.metrics) == 13  # gt_known, V1 and V2 with its three criteria, oracle and frozen; gt_known_at_0.2
    assert scores.metrics == {name: finished.record.metrics[name] for name in scores.metrics}
    assert scores.thresholds == {name: finished.record.thresholds[name] for name in scores.thresholds}


def test_the_checkpoint_holds_all_that_prediction_needs(finished):
    plan = make_plan(finished.request)
    run_dir = finished.request.results / "runs" / plan.run_id
    state = load_checkpoint(run_dir / "model.pt")
    assert state["class_names"] == list(plan.dataset.class_names)
    assert (state["method"], state["config"], state["run_id"]) == ("cam", {}, plan.run_id)
    assert Recipe(**state["recipe"]) == plan.recipe
    method = build_method(plan)
    method.load_state_dict(state["weights"], strict=True)
    assert not (run_dir / "last.pt").exists()  # nothing is left to resume


def test_null_rows_are_written_once(tiny_request, finished, tmp_path):
    nulls = {
        record.identity["method"]: record.provenance.command
        for record in map(read_record, record_files(finished.request.results))
        if not record.trainable
    }
    assert nulls == dict.fromkeys(["center", "full-image", "ceiling"], finished.request.command)
    run(tiny_request(results=tmp_path))
    before = {path: path.stat().st_mtime_ns for path in record_files(tmp_path)}
    run(tiny_request("has", results=tmp_path))
    after = {path: path.stat().st_mtime_ns for path in record_files(tmp_path)}
    assert len(after) == len(before) + 1 == 5
    assert {path: after[path] for path in before} == before


def test_the_command_in_the_record_repeats_the_run(tiny_request, tmp_path, monkeypatch):
    request = tiny_request(
        "has",
        recipe={"epochs": 1, "seed": 3, "deterministic": True},
        settings={"cell": "8", "lr": "0.05"},
        dataset="parts/no-body",
    )
    words = shlex.split(request.command)
    assert words[:4] == ["wsolbench", "run", "has", "parts/no-body"]
    asked = []

    def note(again):
        asked.append(again)
        raise UserError("only asked")

    monkeypatch.setattr("wsolbench.experiment.run", note)
    with pytest.raises(UserError, match="only asked"):
        app(words[1:], standalone_mode=False)
    assert make_plan(dataclasses.replace(asked[0], device="cpu")).identity == make_plan(request).identity


# --- doing things once, or again --------------------------------------------------------------------------------------


def test_a_record_that_is_there_is_not_made_again(tiny_request, tmp_path, monkeypatch):
    path = run(tiny_request(results=tmp_path))
    before = path.read_bytes()
    monkeypatch.setattr("wsolbench.experiment.fit", lambda *args, **kwargs: pytest.fail("trained again"))
    assert run(tiny_request(results=tmp_path)) == path
    assert path.read_bytes() == before
    # Maps can still be had from it.
    run(tiny_request(results=tmp_path, save_maps=tmp_path / "maps"))
    assert len(list((tmp_path / "maps").rglob("*.npy"))) == 32


def test_no_resume_runs_again_and_finds_the_same(tiny_request, tmp_path):
    path = run(tiny_request(results=tmp_path))
    first = read_record(path)
    (tmp_path / "runs" / first.run_id / "last.pt").write_bytes(b"damaged")
    assert run(tiny_request(results=tmp_path, resume=False)) == path
    second = read_record(path)
    assert numbers(second) == numbers(first)
    assert second.provenance.started >= first.provenance.started
    assert second.provenance.wall_s != first.provenance.wall_s


def test_a_damaged_record_is_named_and_not_overwritten(tiny_request, tmp_path):
    path = run(tiny_request(results=tmp_path))
    path.write_text(path.read_text()[:-100])
    before = path.read_bytes()
    with pytest.raises(UserError, match="is there but unusable: it is not valid JSON"):
        run(tiny_request(results=tmp_path))
    assert path.read_bytes() == before


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_interrupted_run_goes_on_exactly(tiny_request, finished, tmp_path, monkeypatch, precision):
    whole = finished.record
    if precision == "bf16":
        whole = read_record(run(tiny_request(results=tmp_path / "whole", precision=precision)))
    plain, calls = engine_fit.train_epoch, []

    def stopped(*args):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return plain(*args)

    request = tiny_request(results=tmp_path / "parts", precision=precision)
    monkeypatch.setattr(engine_fit, "train_epoch", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(request)
    assert list((tmp_path / "parts").rglob("*.json")) == []
    assert load_checkpoint(tmp_path / "parts" / "runs" / whole.run_id / "last.pt")["epoch"] == 1
    assert numbers(read_record(run(request))) == numbers(whole)
    assert len(calls) == 3


def test_deterministic_runs_and_is_put_back(tiny_request, tmp_path):
    path = run(tiny_request("inca", results=tmp_path, recipe={"epochs": 1, "deterministic": True}))
    assert read_record(path).identity["recipe"]["deterministic"] is True
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_stride_the_backbone_lacks_fails_before_any_picture_is_drawn(tiny_request, tmp_path):
    request = tiny_request(results=tmp_path, cache=tmp_path / "cache", recipe={"feature_map": 16})
    with pytest.raises(UserError, match="--feature-map 16 is not available for resnet-tiny; expected one of 8, 4"):
        run(request)
    assert list(tmp_path.iterdir()) == []
