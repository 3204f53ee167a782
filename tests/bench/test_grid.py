"""The runs of a grid: what names them, in which order they come, and what is refused before anything starts."""

import json
import re
from dataclasses import replace

import pytest

from wsolbench.bench.grid import Grid, Source, cells_of, weakly_supervised
from wsolbench.bench.recipes import Block, GridRow
from wsolbench.errors import UserError
from wsolbench.experiment import make_plan
from wsolbench.request import Request

TINY = {"train": "64", "fullsup": "16", "test": "16"}

BROKEN = '''"""A method that cannot be built."""
from wsolbench.methods.cam import CAM

class Broken(CAM):
    name = "broken"

    def __init__(self, network, config):
        raise RuntimeError("no")
'''


@pytest.fixture
def grid(tmp_path):
    """Return a function that makes a grid on tiny parts; keywords replace fields of the shared request."""

    def make(methods=("cam", "has"), seeds=(0, 1), backbones=("resnet-tiny",), **shared):
        fields = {"results": tmp_path, "device": "cpu", "precision": "fp32", "recipe": {"epochs": 2}, "weights": "none"}
        return Grid(
            blocks=[Block(rows=[GridRow(method=name) for name in methods], backbones=backbones, datasets=["parts"])],
            seeds=seeds,
            shared=Request(method="", dataset="", **{**fields, **shared}),
            sources={"parts": Source(options=TINY)},
        )

    return make


def test_a_cell_is_named_as_the_run_that_it_becomes(grid):
    cells = cells_of(grid(("cam", "inca", "fsl"), seeds=(3, 0)))
    assert [str(cell) for cell in cells[:2]] == ["cam, resnet-tiny, parts, seed 3", "inca, resnet-tiny, parts, seed 3"]
    for cell in cells:
        assert make_plan(cell.request).identity == cell.identity
        assert make_plan(cell.request).run_id == cell.run_id
    assert make_plan(cells[0].with_batch(16).request).run_id == cells[0].with_batch(16).run_id
    assert cells[0].images == {"train-weaksup": 64, "train-fullsup": 16, "test": 16}


def test_every_row_has_a_seed_before_any_has_two(grid):
    cells = cells_of(grid(seeds=(0, 1), backbones=("resnet-tiny", "resnet18")))
    seen = [(cell.recipe["backbone"], cell.recipe["seed"], cell.row.method) for cell in cells]
    assert seen == [(b, s, m) for b in ("resnet-tiny", "resnet18") for s in (0, 1) for m in ("cam", "has")]


def test_what_two_blocks_ask_for_is_run_once(grid):
    once = grid()
    assert len(cells_of(replace(once, blocks=[*once.blocks, *once.blocks]))) == 4


def test_settings_of_the_user_go_on_top_of_a_recipes(grid):
    own = grid(settings={"lr": "0.5"}, recipe={"epochs": 3})
    of_table = replace(own, settings={"lr": "0.001", "batch_size": "16"}, schedules={"parts": {"epochs": 9}})
    recipe = cells_of(of_table)[0].recipe
    assert (recipe["lr"], recipe["batch_size"], recipe["epochs"]) == (0.5, 16, 3)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"methods": ["camm"]}, "camm on parts with resnet-tiny: unknown method 'camm'; did you mean 'cam'?"),
        ({"backbones": ["resnet"]}, "unknown backbone 'resnet'"),
        ({"settings": {"drop_rate": "0.5"}}, "cam on parts with resnet-tiny: unknown setting 'drop_rate'"),
        ({"recipe": {"feature_map": 16}}, "cam on parts with resnet-tiny: --feature-map 16 is not available"),
        ({"device": "tpu"}, "--device tpu"),
    ],
)
def test_what_no_run_can_be_made_of_is_refused_before_the_start(grid, changes, says):
    with pytest.raises(UserError, match=re.escape(says)):
        cells_of(grid(**changes))


def test_a_method_that_breaks_is_no_reason_to_refuse_the_others(grid, tmp_path):
    (tmp_path / "broken.py").write_text(BROKEN)
    assert len(cells_of(grid(["cam", "broken"], plugins=[tmp_path / "broken.py"]))) == 4


def test_all_is_what_is_trained_on_labels(tmp_path, capsys):
    (tmp_path / "torn.py").write_text("import nothing_of_that_name\n")
    (tmp_path / "own.py").write_text(BROKEN.replace("broken", "own").replace("Broken", "Own"))
    names = weakly_supervised([tmp_path / "own.py", tmp_path / "torn.py"])
    assert {"cam", "has", "inca", "own"} <= {*names}
    assert not {"fsl", "torn"} & {*names}
    assert "left out: method 'torn'" in capsys.readouterr().err


# --- tuned ------------------------------------------------------------------------------------------------------------


def write_study(results, method="has", name="a", **request):
    """Write the choice of a study, as far as a run needs it."""
    fields = {
        "method": method,
        "dataset": "parts",
        "backbone": "resnet-tiny",
        "preset": None,
        "weights": "none",
        "precision": "fp32",
        "data_options": TINY,
        "settings": {"lr": "0.02"},
        "recipe": {"epochs": 2, "feature_map": 8},
    }
    choice = {
        "trial_schema": 1,
        "study": f"{method}-{name}",
        "images": 16,
        "trials": 8,
        "chosen": {"trial": 3, "seed": 2**31, "drawn": {"lr": 0.02, "feature_map": 8}},
        "request": {**fields, **request},
        "training_s": 1.0,
    }
    path = results / "parts" / "tuning" / choice["study"] / "choice.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(choice))


def test_a_tuned_grid_runs_what_the_studies_chose(grid, tmp_path):
    write_study(tmp_path)
    write_study(tmp_path, "cam")
    write_study(tmp_path, name="other-epochs", recipe={"epochs": 5, "feature_map": 8})
    write_study(tmp_path, name="other-images", data_options={})
    cells = cells_of(replace(grid(), tuned=True, settings={"lr": "0.001", "batch_size": "16"}))
    assert {cell.recipe["lr"] for cell in cells} == {0.02}  # in place of the recipe's
    assert {(cell.recipe["feature_map"], cell.recipe["batch_size"]) for cell in cells} == {(8, 16)}
    assert {cell.request.tuned.study for cell in cells} == {"cam-a", "has-a"}
    assert all(make_plan(cell.request).run_id == cell.run_id for cell in cells)


def test_a_tuned_grid_needs_one_study_for_each(grid, tmp_path):
    write_study(tmp_path)
    with pytest.raises(
        UserError, match="cam on parts with resnet-tiny: no study below .* run `wsolbench tune cam parts"
    ):
        cells_of(replace(grid(), tuned=True))
    write_study(tmp_path, name="b")
    with pytest.raises(UserError, match="has on parts with resnet-tiny: 2 studies tuned it: has-a, has-b; say which"):
        cells_of(replace(grid(["has"]), tuned=True))


def test_what_a_study_chose_is_not_set_by_hand(grid, tmp_path):
    write_study(tmp_path)
    with pytest.raises(UserError, match="lr was chosen by --config"):
        cells_of(replace(grid(["has"], settings={"lr": "0.1"}), tuned=True))
