"""The grids of the paper's tables: what they hold, and that each can be planned on a small machine."""

from dataclasses import replace

import pytest

from wsolbench.bench.grid import Grid, Source, cells_of
from wsolbench.bench.recipes import RECIPES, narrowed, recipe, summaries
from wsolbench.errors import UserError
from wsolbench.methods.inca import InCA
from wsolbench.request import Request

TINY = {"train": "64", "fullsup": "16", "test": "16"}


def planned(name, tmp_path, backbones=("resnet-tiny",), epochs=1):
    table = recipe(name)
    blocks = narrowed(table.blocks, {"datasets": ["parts"], "backbones": backbones})
    shared = Request(
        method="",
        dataset="",
        results=tmp_path,
        device="cpu",
        precision="fp32",
        weights="none",
        recipe={} if epochs is None else {"epochs": epochs},
    )
    grid = Grid(
        blocks=blocks,
        seeds=[0],
        shared=shared,
        sources={"parts": Source(options=TINY)},
        settings=table.settings,
        schedules=table.schedules,
    )
    return cells_of(grid)


@pytest.mark.parametrize(
    ("name", "runs"),
    [
        ("table2", 7 * 5),
        ("table3", 5 * 5),
        ("table4", 7 * 3 * 2 * 3),
        ("table5", 2 * 3 * 2 * 3),
        ("table6", 8 * 3 * 2 * 3),
        ("table7", 8 * 3 * 2 * 3),
        ("supplement1", 3 * 5),
    ],
)
def test_the_number_of_runs(name, runs):
    assert recipe(name).runs == runs
    assert f"{runs} runs" in summaries()[name]


def test_every_row_of_the_ablations_is_a_preset_and_every_preset_a_row():
    rows = [row for each in RECIPES.values() for block in each.blocks for row in block.rows if row.preset]
    assert [row.preset for row in rows] == list(InCA.presets)
    for each in RECIPES.values():
        for block in each.blocks:
            for row in block.rows:
                assert row.preset is None or block.backbones == (InCA.presets[row.preset].backbone,)


@pytest.mark.parametrize("name", sorted({*RECIPES} - {"table3"}))
def test_a_whole_recipe_can_be_planned_on_a_small_machine(name, tmp_path):
    cells = planned(name, tmp_path)
    rows = {str(row) for block in recipe(name).blocks for row in block.rows}
    assert {str(cell.row) for cell in cells} == rows
    assert len({cell.run_id for cell in cells}) == len(cells) == len(rows)
    for cell in cells:
        stated = {"batch_size": 32, "lr": 0.001, "weight_decay": 1e-4, "momentum": 0.9, "epochs": 1}
        assert {name: cell.recipe[name] for name in stated} == stated
        assert cell.recipe["lr_decay_every"] == 2  # parts' own: the schedules are those of CUB and ImageNet


def test_table_3_needs_the_backbone_that_has_its_points(tmp_path):
    assert len(planned("table3", tmp_path, ("vgg16",))) == 5
    with pytest.raises(UserError, match=r"inca table3/conv5_3 on parts with resnet-tiny: unknown point 'conv5_3'"):
        planned("table3", tmp_path)


def test_tables_that_need_the_same_run_share_it(tmp_path):
    ids = {
        name: {str(cell.row): cell.run_id for cell in planned(name, tmp_path, ("resnet50",))}
        for name in RECIPES
        if name != "table3"
    }
    assert ids["table5"].items() <= ids["table4"].items() <= ids["table7"].items()
    assert ids["table6"] == ids["table7"]
    assert ids["table2"]["inca table2/full"] == ids["table4"]["inca"] == ids["supplement1"]["inca supplement1/triplet"]


def test_a_schedule_belongs_to_its_dataset(tmp_path):
    table = replace(recipe("supplement1"), schedules={"parts": {"epochs": 7, "lr_decay_every": 3}})
    blocks = narrowed(table.blocks, {"datasets": ["parts"], "backbones": ["resnet-tiny"]})
    shared = Request(method="", dataset="", results=tmp_path, device="cpu", precision="fp32")
    grid = Grid(
        blocks=blocks, seeds=[0], shared=shared, sources={"parts": Source(options=TINY)}, schedules=table.schedules
    )
    assert {(cell.recipe["epochs"], cell.recipe["lr_decay_every"]) for cell in cells_of(grid)} == {(7, 3)}
    again = replace(grid, shared=replace(shared, recipe={"epochs": 2}, settings={"lr_decay_every": "1"}))
    assert {(cell.recipe["epochs"], cell.recipe["lr_decay_every"]) for cell in cells_of(again)} == {(2, 1)}


def test_narrowing_keeps_to_the_blocks_that_have_a_name():
    blocks = recipe("table5").blocks
    assert [[str(row) for row in block.rows] for block in narrowed(blocks, {"datasets": ["cub"]})] == [["adl", "inca"]]
    assert [block.datasets for block in narrowed(blocks, {"rows": ["adl"]})] == [("cub",)]
    both = narrowed(blocks, {"rows": ["cam", "inca"]})  # cam is not in the table: it goes everywhere
    assert narrowed(blocks, {"rows": ["has"], "datasets": ["cub"]}) == []
    assert [[str(row) for row in block.rows] for block in both] == [["inca", "cam"], ["inca", "cam"]]


def test_an_unknown_recipe_is_refused_with_the_nearest():
    with pytest.raises(UserError, match="unknown recipe 'table44'; did you mean 'table4'"):
        recipe("table44")
