"""Every layout by golden values that follow by hand from small made-up records."""

import pytest
from leaderboard_examples import INCA, V2, cub, lines_of, notes_of
from record_examples import make_null, make_provenance, make_record, make_slice

from wsolbench.errors import UserError
from wsolbench.leaderboard.ablations import ABLATIONS
from wsolbench.leaderboard.model import build
from wsolbench.leaderboard.pages import LAYOUTS, make_page
from wsolbench.leaderboard.sections import ranked
from wsolbench.leaderboard.variants import VARIANTS, presets_of
from wsolbench.methods.inca import paper_presets
from wsolbench.papers import published_numbers
from wsolbench.record_schema import Tuned


def grids(records, layout):
    return make_page(build(records), layout).grids


def texts(heads):
    return [head.text for head in heads]


def ranks(grid, label):
    return [cell.rank for cell in next(line for line in grid.lines if line.label == label).cells]


def two_seeds(method, **changes):
    """Two seeds that are 2 apart in everything: mean as given, sample standard deviation sqrt(2)."""
    values = changes.pop("metrics")
    return [
        make_record(method, seed, fields={"metrics": {key: mean + shift for key, mean in values.items()}}, **changes)
        for seed, shift in ((0, -1.0), (1, 1.0))
    ]


def test_main():
    records = [
        *two_seeds(
            "cam", metrics={"top1_cls": 80, V2: 50, f"{V2}_fullsup": 49, "gt_known": 60, "gt_known_fullsup": 59}
        ),
        *two_seeds(
            "has", metrics={"top1_cls": 70, V2: 52, f"{V2}_fullsup": 48, "gt_known": 61, "gt_known_fullsup": 58}
        ),
        make_null(fields={"absent": {"top1_cls": "it does not classify"}}),
    ]
    (grid,) = grids(records, "main")
    # The oracle and the frozen threshold of the metric that ranks the rows stand beside each other, before the others.
    heads = ["n", "Top-1 Cls", "V2", "V2 (fullsup t)", "GT-known", "GT-known (fullsup t)"]
    assert texts(grid.heads) == heads
    assert lines_of(grid) == {
        "has": ["2", *(f"{mean:.2f} ± 1.41" for mean in (70, 52, 48, 61, 58))],
        "cam": ["2", *(f"{mean:.2f} ± 1.41" for mean in (80, 50, 49, 60, 59))],
        "center": ["1", "–", "30.00", "–", "–", "–"],
    }
    assert ranks(grid, "has") == [0, 2, 1, 2, 1, 2]
    assert ranks(grid, "cam") == [0, 1, 2, 1, 2, 1]
    assert ranks(grid, "center") == [0] * 6
    assert [line.kind for line in grid.lines] == ["measured", "measured", "null"]
    assert notes_of(grid, "center")[1] == [[], ["it does not classify"], [], *[["not recorded"]] * 3]


def test_the_slices_columns_stand_side_by_side_and_one_of_all_images_has_none():
    both = {"boxes_5_50": make_slice()}
    fields = {"headline": "boxes_5_50", "slices": both, "metrics": {V2: 40.0, f"{V2}_fullsup": 39.0}}
    both["boxes_5_50"].metrics[f"{V2}_fullsup"] = 38.5
    (grid,) = grids([make_record(fields=fields)], "main")
    assert texts(grid.heads)[1:] == ["V2, boxes 5–50 %", "V2, boxes 5–50 % (fullsup t)", "V2", "V2 (fullsup t)"]
    assert lines_of(grid)["cam"] == ["1", "41.50", "38.50", "40.00", "39.00"]
    whole = {"boxes_5_50": make_slice(v2=40.0, images=1000)}
    (grid,) = grids([make_record(fields={**fields, "headline": "", "slices": whole})], "main")
    assert texts(grid.heads)[1:] == ["V2", "V2 (fullsup t)"]
    (ranking,) = grids([make_record(fields={**fields, "slices": whole})], "main")
    assert texts(ranking.heads)[1] == "V2, boxes 5–50 %"
    assert "Boxes 5" not in grid.caption[0]


def test_criteria():
    names = [f"{V2}_iou30", f"{V2}_iou30_fullsup", "max_box_acc", "max_box_acc_fullsup", "gt_known_at_0.2", "top5_loc"]
    fields = {"metrics": {name: 10.0 + i for i, name in enumerate(names)}, "headline": "boxes_5_50"}
    inside = {"boxes_5_50": make_slice(v2=7.0)}
    whole, part = grids([make_record(fields={**fields, "slices": inside})], "criteria")
    assert texts(whole.heads) == [
        "n",
        "IoU ≥ 0.3 oracle",
        "IoU ≥ 0.3 fullsup t",
        "V1 oracle",
        "V1 fullsup t",
        "t = 0.2 GT-known",
        "Top-5 Loc",
    ]
    assert lines_of(whole) == {"cam": ["1", "10.00", "11.00", "12.00", "13.00", "14.00", "15.00"]}
    assert (texts(part.heads), lines_of(part)) == (["n", "V2 oracle"], {"cam": ["1", "7.00"]})
    assert part.title.endswith("by criterion, boxes_5_50")
    assert part.caption[0] == "Only the test images of the slice boxes_5_50."


def test_criteria_of_masks_are_those_of_classes():
    absent = dict.fromkeys((V2, f"{V2}_iou30", "max_box_acc"), "the split has masks, no boxes")
    fields = {"metrics": {"pxap": 50.0, "top5_cls": 90.0}, "absent": absent}
    (grid,) = grids([make_record(fields=fields)], "criteria")
    assert texts(grid.heads) == ["n", "Top-5 Cls"]


def test_cost():
    def run(seed, wall, rate, **changes):
        origin = make_provenance(wall_s=wall, train_images_per_s=rate, peak_memory_mb=100.0 + 10 * seed)
        fields = {"provenance": origin, "parameters": 11_230_000, **changes.pop("fields", {})}
        return make_record(seed=seed, device_type="cuda", fields=fields, **changes)

    two = {"world_size": 2}
    records = [run(0, 60, 900, recipe=two), run(1, 180, 1100, recipe=two)]
    records.append(run(0, 30, None, recipe=two, method="has", fields={"parameters": None}))
    records.append(
        run(0, 6, None, recipe=two, fields={"parameters": None}, extractor={"name": "gradcam", "point": "layer4"})
    )
    (grid,) = grids(records, "cost")
    assert texts(grid.heads) == ["n", "parameters, M", "training images/s", "GPU minutes", "peak memory, MiB"]
    # Two devices: (1 min + 3 min) / 2 runs x 2 = 4 GPU minutes, sample standard deviation sqrt(8) = 2.8.
    assert lines_of(grid) == {
        "cam": ["2", "11.23", "1,000 ± 141", "4.0 ± 2.8", "105 ± 7"],
        "has": ["1", "–", "–", "1.0", "100"],
        "cam + gradcam": ["1", "–", "–", "0.2", "100"],
    }
    assert notes_of(grid, "has")[1][1:3] == [["not recorded"]] * 2
    assert notes_of(grid, "cam + gradcam")[1][1:3] == [["post-hoc maps of other runs: nothing was trained"]] * 2
    assert "Measured on: cpu, 2 threads." in " ".join(grid.caption)


def test_cost_of_a_search_has_no_spread_over_the_seeds():
    tuned = Tuned(study="s", trials=8, trial=1, drawn={"lr": 0.1}, images=44, training_s=630.0)
    records = [make_record(seed=seed, recipe={"lr": 0.1}, fields={"tuned": tuned}) for seed in (0, 1)]
    (grid,) = grids(records, "cost")
    assert texts(grid.heads)[-1] == "search, minutes"
    assert lines_of(grid)["cam tuned"][-1] == "10.5"


def test_all_is_every_layout_of_each_table_in_turn():
    records = [make_record(fields={"metrics": {V2: 9.0, "top1_cls": 5.0}}), make_record(dataset="other")]
    found = grids(records, "all")
    assert [grid.layout for grid in found] == ["main", "criteria", "cost"] * 2


def ablation(name, changes, **more):
    """Return what a layout says of InCA with changes; the values of the runs fall by 1 from one to the next."""
    records = []
    for index, change in enumerate(changes):
        metrics = {f"{V2}_iou{d}": 80.0 - index - d / 10 for d in (30, 50, 70)} | {"top1_cls": 60.0 - index}
        records.append(cub("inca", v2=70.0 - index, metrics=metrics, config={**INCA, **change}, **more))
    return records


def test_table_2():
    changes = [{}, {"mask": "drop"}, {"attention": "channel-mean"}, {"fc": False}, {"contrastive": "none"}]
    records = ablation("table2", changes)
    records.append(cub("adl", v2=61.5, metrics={f"{V2}_iou{d}": 90.0 - d for d in (30, 50, 70)}))
    (grid,) = grids(records, "table2")
    assert texts(grid.heads) == ["n", "V2, IoU ≥ 0.3", "V2, IoU ≥ 0.5", "V2, IoU ≥ 0.7", "Mean"]
    assert list(lines_of(grid).items()) == [
        ("Baseline", ["1", "60.00", "40.00", "20.00", "61.50 (−8.50)"]),
        ("Ours w/o contrastive", ["1", "73.00", "71.00", "69.00", "66.00 (−4.00)"]),
        ("Ours w/o L_fc", ["1", "74.00", "72.00", "70.00", "67.00 (−3.00)"]),
        ("Ours w/o non-local", ["1", "75.00", "73.00", "71.00", "68.00 (−2.00)"]),
        ("Ours w/o M_dfg", ["1", "76.00", "74.00", "72.00", "69.00 (−1.00)"]),
        ("Ours (full)", ["1", "77.00", "75.00", "73.00", "70.00"]),
    ]
    assert notes_of(grid, "Baseline")[0] == ["the method adl"]


def test_table_3_and_the_supplement():
    layers = ["conv5_3", "pool4", "pool3", "pool2", "pool1"]
    points = [{"points": list(reversed(layers[:count]))} for count in (1, 2, 4)]
    (grid,) = grids(ablation("table3", points, backbone="vgg16"), "table3")
    assert texts(grid.heads) == ["n", "Top-1 Cls", "V2"]
    assert lines_of(grid) == {
        "conv5_3": ["1", "60.00", "70.00"],
        "+ pool4": ["1", "59.00", "69.00"],
        "+ pool3": ["0", "–", "–"],
        "+ pool2": ["1", "58.00", "68.00"],
        "+ pool1": ["0", "–", "–"],
    }
    assert notes_of(grid, "+ pool3")[1] == [[], ["not run"], ["not run"]]
    (grid,) = grids(ablation("supplement1", [{"contrastive": "nt-xent"}, {}]), "supplement1")
    assert lines_of(grid) == {
        "Baseline": ["0", "–", "–", "–", "–"],
        "Ours (full) w NT-Xent": ["1", "77.00", "75.00", "73.00", "70.00"],
        "Ours (full) w triplet": ["1", "76.00", "74.00", "72.00", "69.00"],
    }


def test_two_configurations_of_one_variant_are_two_lines_and_no_reference():
    records = ablation("table2", [{}, {"attention": "literal"}, {"mask": "drop"}])
    (grid,) = grids(records, "table2")
    assert [label for label in lines_of(grid) if label.startswith("Ours (full)")] == [
        "Ours (full): inca (attention=residual, mask=dropped-foreground)",
        "Ours (full): inca (attention=literal, mask=dropped-foreground)",
    ]
    assert lines_of(grid)["Ours w/o M_dfg"][-1] == "68.00"


def test_without_a_run_of_inca_there_is_no_ablation():
    page = make_page(build([cub("adl")]), "table2")
    assert (page.grids, page.warnings) == ((), ("no record belongs into a table of the layout table2",))


def test_every_preset_of_the_paper_is_the_row_of_its_own_table_and_of_no_other():
    for name, preset in paper_presets().items():
        config = {key: list(value) if isinstance(value, tuple) else value for key, value in vars(preset.config).items()}
        identity = {"method": "inca", "config": config}
        held = {row.preset for rows in VARIANTS.values() for row in rows if row.holds(identity)}
        alike = {other for other, each in paper_presets().items() if each.config == preset.config}
        assert held == alike - {"table2/baseline-with-m-dfg"}, name
        assert set(presets_of(identity)) - {""} == held
    known = {number.preset for number in published_numbers() if number.preset} - {"table2/baseline-with-m-dfg"}
    assert {row.preset for rows in VARIANTS.values() for row in rows} == known
    assert {*VARIANTS} == {*ABLATIONS}


def wide_records():
    """Two methods on two backbones of CUB and one of ILSVRC; has on one backbone only; center is above has."""
    there = {"dataset": "ilsvrc"}
    return [
        *(cub("cam", seed, 60.0 + seed) for seed in (0, 1)),
        cub("cam", v2=50.0, backbone="vgg16"),
        cub("cam", v2=70.0, **there),
        cub("inca", v2=62.0),
        cub("inca", v2=49.0, backbone="vgg16"),
        cub("inca", v2=72.0, **there),
        cub("has", v2=45.0, backbone="vgg16"),
        cub("center", v2=46.0, make=make_null),
    ]


def test_table_4():
    (grid,) = grids(wide_records(), "table4")
    assert texts(grid.heads) == ["cub resnet50", "cub vgg16", "cub Mean", "ilsvrc resnet50"]
    assert list(lines_of(grid).items()) == [
        ("inca", ["62.00", "49.00", "55.50", "72.00"]),
        ("cam", ["60.50 ± 0.71", "50.00", "55.25", "70.00"]),
        ("has", ["–", "45.00", "–", "–"]),
        ("center", ["46.00", "46.00", "46.00", ""]),
    ]
    assert ranks(grid, "inca") == [1, 2, 1, 1]
    assert ranks(grid, "cam") == [2, 1, 2, 2]
    assert ranks(grid, "has") == [0, 0, 0, 0]
    assert notes_of(grid, "has")[1] == [["not run"], [], ["not for every backbone"], ["not run"]]
    said = " ".join(grid.caption)
    assert "Mean: over the backbones of a dataset. Protocol version 1, normalisation min-max. Data: cub 64 px, " in said
    assert "(1 to 2)" in said


@pytest.mark.parametrize(("layout", "metric"), [("table6", "top1_loc_at_0.2"), ("table7", "top1_cls")])
def test_tables_6_and_7(layout, metric):
    records = [
        cub(method, metrics={metric: value}, backbone=backbone)
        for method, value, backbone in (("cam", 40.0, "resnet50"), ("cam", 44.0, "vgg16"), ("has", 41.0, "vgg16"))
    ]
    (grid,) = grids(records, layout)
    mean = {"table6": [[], []], "table7": [["42.00"], ["–"]]}[layout]
    assert lines_of(grid) == {"cam": ["40.00", "44.00", *mean[0]], "has": ["–", "41.00", *mean[1]]}


def test_masks_stand_in_table_4_by_pxap():
    fields = {"metrics": {"pxap": 58.0}, "absent": {V2: "the split has masks, no boxes"}}
    (grid,) = grids([cub("cam"), cub("cam", dataset="openimages", fields=fields)], "table4")
    assert texts(grid.heads) == ["cub resnet50", "openimages, PxAP resnet50"]
    assert lines_of(grid) == {"cam": ["50.00", "58.00"]}
    assert "PxAP where there are masks." in grid.caption


def test_a_row_that_trained_on_boxes_is_not_ranked_in_table_4():
    few = {"supervision": {"kind": "masks", "train_images": 80, "threshold_images": 20}}
    (grid,) = grids([cub("cam", v2=50.0), cub("has", v2=40.0), cub("few", v2=90.0, **few)], "table4")
    assert {line.label: line.cells[0].rank for line in grid.lines} == {"few": 0, "cam": 1, "has": 2}


def detailed(method, v2, backbone, cls=50.0):
    metrics = {f"{V2}_iou{d}": v2 + shift for d, shift in ((30, 20), (50, 0), (70, -20))} | {"top1_cls": cls}
    return cub(method, v2=v2, metrics=metrics, backbone=backbone)


def test_table_5():
    records = [
        detailed("inca", 60.0, "resnet50", 81.0),
        detailed("inca", 50.0, "vgg16"),
        detailed("adl", 61.0, "resnet50", 80.0),
        detailed("adl", 52.0, "vgg16"),
        detailed("has", 70.0, "resnet50"),  # not on vgg16
        detailed("cam", 30.0, "resnet50"),
        detailed("cam", 30.0, "vgg16"),
    ]
    (grid,) = grids(records, "table5")
    assert texts(grid.heads) == ["Top-1 Cls", "V2, IoU ≥ 0.3", "V2, IoU ≥ 0.5", "V2, IoU ≥ 0.7", "Mean"]
    assert list(lines_of(grid).items()) == [
        ("adl, resnet50", ["80.00", "81.00", "61.00", "41.00", "61.00"]),
        ("inca, resnet50", ["81.00 (+1.00)", "80.00 (−1.00)", "60.00 (−1.00)", "40.00 (−1.00)", "60.00 (−1.00)"]),
        ("adl, vgg16", ["50.00", "72.00", "52.00", "32.00", "52.00"]),
        ("inca, vgg16", ["50.00 (+0.00)", "70.00 (−2.00)", "50.00 (−2.00)", "30.00 (−2.00)", "50.00 (−2.00)"]),
    ]
    (grid,) = grids(records[2:], "table5")  # without inca the best is beside the second best
    assert list(lines_of(grid)) == ["cam, resnet50", "adl, resnet50", "cam, vgg16", "adl, vgg16"]
    assert grids(records[:1], "table5") == ()


def test_ranks():
    assert ranked({"a": 3.0, "b": 2.0, "c": 2.0, "d": 1.0}, 0.0) == {"a": 1, "b": 2, "c": 2}
    assert ranked({"a": 3.0, "b": 2.0, "c": 1.0}, 0.0, without={"a"}) == {"b": 1, "c": 2}
    assert ranked({"a": 3.0, "b": 2.0}, 2.0) == {"a": 1}
    assert ranked({"a": 3.0}, 0.0) == {}


def test_an_unknown_layout_is_named():
    with pytest.raises(UserError, match="unknown layout 'tabel4'; did you mean 'table4'"):
        make_page(build([]), "tabel4")
    assert [*LAYOUTS] == [
        "main",
        "criteria",
        "cost",
        "all",
        "table2",
        "table3",
        "supplement1",
        *map("table{}".format, (4, 5, 6, 7)),
    ]
