"""--preset: what it sets, what wins over it, and that the printed command repeats the run."""

import dataclasses
import json
import shlex

import pytest

from wsolbench.cli.main import app
from wsolbench.errors import UserError
from wsolbench.experiment import make_plan, run
from wsolbench.recipe import Recipe
from wsolbench.records import read_record
from wsolbench.request import Request

NAME = "table2/without-contrastive"


@pytest.fixture
def preset_request(tiny_request):
    """Return a function that asks for a preset on ``parts``, on the preset's own backbone."""

    def make(method="inca", **changes):
        return tiny_request(method, **{"backbone": None, "preset": NAME, "recipe": {}, "weights": "none", **changes})

    return make


def test_a_preset_sets_backbone_config_and_recipe(preset_request):
    plan = make_plan(preset_request())
    assert plan.recipe.backbone == plan.identity["backbone"] == "resnet50"
    assert plan.config == plan.method.presets[NAME].config
    assert (plan.config.contrastive, plan.config.fc_reduction) == ("none", "sum")
    assert (plan.recipe.lr, plan.recipe.batch_size, plan.recipe.weight_decay) == (0.001, 32, 1e-4)
    assert plan.dataset.defaults["lr"] != plan.recipe.lr  # the preset wins over the dataset,
    kept = {name: plan.dataset.defaults[name] for name in ("epochs", "lr_decay_every", "feature_map")}
    assert {name: getattr(plan.recipe, name) for name in kept} == kept  # which keeps what the paper does not say


def test_without_a_preset_nothing_changes(preset_request):
    plan = make_plan(preset_request(preset=None))
    assert plan.recipe.backbone == Recipe().backbone == "resnet50"
    assert plan.config == plan.method.defaults("resnet50")
    assert plan.recipe.lr == plan.dataset.defaults["lr"]


def test_options_and_set_win_over_a_preset(preset_request):
    changed = {
        "backbone": "resnet-tiny",
        "recipe": {"feature_map": 8, "epochs": 7},
        "settings": {"lr": "0.05", "fc_reduction": "mean", "attention": "literal"},
    }
    plan = make_plan(preset_request(**changed))
    assert (plan.recipe.backbone, plan.recipe.feature_map, plan.recipe.epochs) == ("resnet-tiny", 8, 7)
    assert plan.recipe.lr == 0.05
    preset = plan.method.presets[NAME].config
    assert plan.config == dataclasses.replace(preset, fc_reduction="mean", attention="literal")


def test_the_same_settings_by_hand_are_the_same_run(preset_request):
    plan = make_plan(preset_request())
    settings = {"contrastive": "none", "fc_reduction": "sum", "lr": "0.001"}
    by_hand = make_plan(preset_request(preset=None, backbone="resnet50", settings=settings))
    assert by_hand.identity == plan.identity
    assert by_hand.run_id == plan.run_id
    assert "preset" not in json.dumps(plan.identity)
    assert make_plan(preset_request(preset="table2/full")).run_id != plan.run_id
    same = make_plan(preset_request(preset="supplement1/triplet"))  # one run, two rows
    assert same.run_id == make_plan(preset_request(preset="table2/full")).run_id


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"preset": "table2/without-contrast"},
            "unknown preset of inca 'table2/without-contrast'; did you mean 'table2",
        ),
        ({"method": "cam"}, "cam has no presets; leave out --preset table2/without-contrastive"),
    ],
)
def test_a_preset_that_is_not_there(preset_request, changes, message):
    with pytest.raises(UserError, match=message) as caught:
        make_plan(preset_request(**changes))
    assert "\n" not in str(caught.value)


def test_the_command_names_the_preset_and_repeats_the_run(preset_request, monkeypatch):
    changes = {"settings": {"lr": "0.05"}, "recipe": {"epochs": 1, "seed": 3}}
    for request in (preset_request(**changes), preset_request(**changes, backbone="resnet-tiny")):
        words = shlex.split(request.command)
        assert words[:6] == ["wsolbench", "run", "inca", "parts", "--preset", NAME]
        asked = []

        def note(again, asked=asked):
            asked.append(again)
            raise UserError("only asked")

        monkeypatch.setattr("wsolbench.experiment.run", note)
        with pytest.raises(UserError, match="only asked"):
            app(words[1:], standalone_mode=False)
        assert make_plan(dataclasses.replace(asked[0], device="cpu")).identity == make_plan(request).identity
    assert Request(method="cam", dataset="parts").command == "wsolbench run cam parts"


def test_a_run_of_a_preset_is_recorded_resolved(preset_request, tmp_path):
    request = preset_request(backbone="resnet-tiny", recipe={"epochs": 1}, results=tmp_path)
    record = read_record(run(request))
    assert record.identity["config"]["contrastive"] == "none"
    assert record.provenance.command == request.command
    (row,) = record.history
    assert {"cls", "fc"} <= set(row)
    assert "ca" not in row
    assert 0 <= row["empty_masks_layer4.0"] <= 1
    assert 0 < row["foreground_layer4.0"] < 1


def test_a_record_says_the_backbone_that_was_not_asked_for(tiny_request, tmp_path, monkeypatch):
    monkeypatch.setattr("wsolbench.methods.inca.InCA.presets", {"small": _small()})
    request = tiny_request("inca", backbone=None, preset="small", recipe={"epochs": 1}, results=tmp_path)
    record = read_record(run(request))
    assert record.identity["backbone"] == "resnet-tiny"
    assert "--preset small --backbone resnet-tiny" in record.provenance.command


def _small():
    from wsolbench.method import Preset
    from wsolbench.methods.inca import InCAConfig

    return Preset(backbone="resnet-tiny", config=InCAConfig(contrastive="none"))


def test_a_backbone_without_the_datasets_stride_takes_its_finest(tiny_request):
    assert make_plan(tiny_request("cam", backbone="vgg16", weights="none")).recipe.feature_map == 8
    assert make_plan(tiny_request("cam", backbone="resnet-tiny")).recipe.feature_map == 4
