"""The leaderboard: what shares a table, how rows are summarised and ranked, and what is written. Numbers by hand."""

import csv
import io
import math
import random
import subprocess
import sys

import pytest
from record_examples import FINGERPRINTS, make_empty_slice, make_null, make_record, make_slice, squeeze

from wsolbench.errors import UserError
from wsolbench.leaderboard.columns import columns
from wsolbench.leaderboard.model import build
from wsolbench.leaderboard.pages import to_markdown, write_tables
from wsolbench.leaderboard.sections import caption, detectable, mark, title
from wsolbench.leaderboard.tidy import to_csv, to_frame
from wsolbench.record_schema import Tuned
from wsolbench.records import load_records, write_record

V2 = ("", "max_box_acc_v2")


def labels(rows):
    return [row.label for row in rows]


def small_board():
    """Two seeds of cam, two configs of has, one null row; every number below follows from these by hand."""
    no_labels = {"top1_cls": "there are no labels"}
    return [
        make_record("cam", 0, fields={"metrics": {"top1_cls": 80.0, "max_box_acc_v2": 50.0}}),
        make_record("cam", 1, fields={"metrics": {"top1_cls": 82.0, "max_box_acc_v2": 52.0}}),
        make_record("has", config={"cell": 4}, fields={"metrics": {"top1_cls": 90.0, "max_box_acc_v2": 51.0}}),
        make_record("has", config={"cell": 8}, v2=40.504, fields={"absent": no_labels}),
        make_null("center", fields={"absent": {"top1_cls": "center does not classify"}}),
    ]


def test_golden_markdown():
    # cam: mean (80 + 82) / 2 = 81, sample std sqrt(((-1)^2 + 1^2) / 1) = 1.41; cam and has (cell=4) tie at V2 51.00.
    assert squeeze(to_markdown(build(small_board(), ["b.json was skipped: it is torn"]))) == [
        "## parts, resnet tiny, 64×64 px, maps 16×16",
        "| Method | n | Top 1 Cls | V2 |",
        "|: | :| :| :|",
        "| cam | 2 | *81.00* ± 1.41 | **51.00** ± 1.41 |",
        "| has (cell=4) | 1 | **90.00** | **51.00** |",
        "| has (cell=8) | 1 | –¹ | *40.50* |",
        "| *null rows* | | | |",
        "| center | 1 | –² | 30.00 |",
        "¹ there are no labels",
        "² center does not classify",
        "Protocol version 1, scored on test (1,000 images). Percent, mean ± sample standard deviation over n seeds;"
        " best bold, second best italic, null rows not ranked, nor means that do not exceed center's. Ranked by “V2”."
        " Localisation columns are oracles: their threshold t is the best one on test itself. n differs between rows"
        " (1 to 2). Fewer than 5 seeds: differences between methods are not claims. Data: test cccccccccccccccc,"
        " train fullsup bbbbbbbbbbbbbbbb, train weaksup aaaaaaaaaaaaaaaa.",
        "Not shown:",
        "b.json was skipped: it is torn",
    ]


def test_the_order_of_the_records_does_not_matter():
    records = small_board() + [make_record("adl", seed, v2=seed / 7, recipe={"epochs": 50}) for seed in range(9)]
    texts = {to_markdown(build(records)) + to_csv(build(records))}
    for seed in range(5):
        random.Random(seed).shuffle(records)
        texts.add(to_markdown(build(records)) + to_csv(build(records)))
    assert len(texts) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset": "parts/context"},
        {"dataset_options": {"classes": 3}},
        {"backbone": "resnet18"},
        {"protocol": "2"},
        {"fingerprints": {**FINGERPRINTS, "test": "d" * 16}},
        {"recipe": {"epochs": 13}},
        {"recipe": {"image_size": 96}},
        {"recipe": {"normalization": "ivr"}},
        {"weights": "imagenet"},
        {"fields": {"map_size": (8, 8)}},
    ],
)
def test_what_cannot_be_compared_does_not_share_a_table(changes):
    board = build([make_record("cam"), make_record("adl", **changes)])
    assert [labels(table.rows) for table in board.tables] in ([["cam"], ["adl"]], [["adl"], ["cam"]])
    assert len({title(table.section) + caption(table) for table in board.tables}) == 2
    assert len({table.section.key for table in board.tables}) == 2


def test_sections_of_one_title_show_what_differs():
    records = [make_record(recipe={"epochs": epochs}, protocol=protocol) for epochs, protocol in ((5, "1"), (50, "2"))]
    titles = [title(table.section) for table in build([*records, make_record(dataset="other")]).tables]
    assert titles == [
        "other, resnet-tiny, 64×64 px, maps 16×16",
        "parts, resnet-tiny, 64×64 px, maps 16×16, epochs=5, protocol=1",
        "parts, resnet-tiny, 64×64 px, maps 16×16, epochs=50, protocol=2",
    ]


def test_height_stands_before_width():
    table = build([make_record(fields={"map_size": (8, 16)}, dataset_options={"classes": 3})]).tables[0]
    assert title(table.section) == "parts (classes=3), resnet-tiny, 64×64 px, maps 8×16"


def test_rows_are_ordered_by_v2_and_those_without_it_come_last():
    records = [make_record(name, v2=v2) for name, v2 in (("a", 40.0), ("b", 60.0), ("d", 50.0), ("c", 50.0))]
    records.append(make_record("0", fields={"metrics": {"top1_cls": 99.0}}))
    assert labels(build(records).tables[0].rows) == ["b", "c", "d", "a", "0"]


def sliced(method, whole, part, name="boxes_5_50", **changes):
    fields = {"headline": name, "slices": {name: make_slice(part)}, "metrics": {"top1_cls": 9.0, V2[1]: whole}}
    return make_record(method, fields={**fields, **changes.pop("fields", {})}, **changes)


def test_the_headline_slice_ranks_the_rows_and_comes_first_among_the_localisation_columns():
    records = [sliced("a", 60.0, 20.0), sliced("b", 50.0, 30.0), sliced("c", 55.0, 25.0)]
    nulls = [
        sliced(name, 9.0, part, backbone="none", fields={"trainable": False}) for name, part in (("y", 1), ("z", 2))
    ]
    table = build([*records, *nulls]).tables[0]
    assert labels(table.rows) == ["b", "c", "a"]
    assert labels(table.nulls) == ["z", "y"]
    assert [column.title for column in columns(table)] == ["Top-1 Cls", "V2, boxes 5–50 %", "V2"]
    assert "Ranked by “V2, boxes 5–50 %”." in caption(table)
    assert mark(table, ("boxes_5_50", "max_box_acc_v2")) == {"b": 1, "c": 2}
    assert mark(table, V2) == {"a": 1, "c": 2}


def test_without_a_headline_slice_all_test_images_rank_the_rows():
    records = [sliced("a", 60.0, 20.0, fields={"headline": ""}), sliced("b", 50.0, 30.0, fields={"headline": ""})]
    table = build(records).tables[0]
    assert labels(table.rows) == ["a", "b"]
    assert [column.title for column in columns(table)] == ["Top-1 Cls", "V2", "V2, boxes 5–50 %"]
    assert "Ranked by “V2”." in caption(table)


def test_a_headline_slice_without_a_column_of_its_own_gets_one():
    table = build([sliced("a", 60.0, 20.0, "small"), sliced("b", 50.0, 30.0, "small")]).tables[0]
    assert labels(table.rows) == ["b", "a"]
    assert [column.title for column in columns(table)] == ["Top-1 Cls", "V2, small", "V2"]


def test_a_table_without_its_headline_metric_does_not_claim_to_be_ranked():
    records = [make_record(name, fields={"metrics": {"top1_cls": 9.0}}) for name in ("b", "a")]
    assert labels(build(records).tables[0].rows) == ["a", "b"]
    assert "Ranked by" not in caption(build(records).tables[0])


def test_what_does_not_exceed_center_is_not_marked():
    v2 = {"a": 60.0, "b": 50.004, "c": 40.0}
    records = [make_record(name, v2=value) for name, value in v2.items()]
    assert mark(build([*records, make_null(v2=49.99)]).tables[0], V2) == {"a": 1, "b": 2}
    beaten = build([*records, make_null(v2=50.0), make_null("full-image", v2=99.0)]).tables[0]  # b prints as 50.00
    assert mark(beaten, V2) == {"a": 1}
    assert "nor means that do not exceed center's" in caption(beaten)
    assert mark(build([*records, make_null(v2=70.0)]).tables[0], V2) == {}
    others = build([*records, make_null("full-image", v2=99.0)]).tables[0]
    assert mark(others, V2) == {"a": 1, "b": 2}
    assert "center" not in caption(others)


def test_center_is_asked_metric_by_metric():
    metrics = {"a": {V2[1]: 50.0, "top1_cls": 10.0}, "b": {V2[1]: 20.0, "top1_cls": 90.0}}
    records = [make_record(name, fields={"metrics": values}) for name, values in metrics.items()]
    table = build([*records, make_null(v2=30.0, fields={"absent": {"top1_cls": "it does not classify"}})]).tables[0]
    assert mark(table, V2) == {"a": 1}
    assert mark(table, ("", "top1_cls")) == {"b": 1, "a": 2}


def test_a_method_from_a_file_shares_the_table_and_its_versions_are_rows():
    records = [
        make_record("cam"),
        *(make_record("mine", v2=v2, plugin=text) for text, v2 in (("aa", 9.0), ("bb", 8.0))),
    ]
    assert [labels(table.rows) for table in build(records).tables] == [["cam", "mine (plugin=aa)", "mine (plugin=bb)"]]
    assert labels(build(records[:2]).tables[0].rows) == ["cam", "mine"]


def test_configs_of_one_method_are_told_apart_by_the_fields_that_differ():
    configs = [{"cell": 4, "rate": 0.5, "on": True}, {"cell": 4.0, "rate": 1, "on": True}, {"rate": 0.5, "on": True}]
    records = [make_record("has", config=config, v2=9.0 - i) for i, config in enumerate(configs)]
    # 4 and 4.0 are the same value, so this is a second seed of the first row.
    records.append(make_record("has", 1, config={"cell": 4.0, "rate": 0.5, "on": True}, v2=9.0))
    rows = build([*records, make_record("cam", v2=1.0)]).tables[0].rows
    assert labels(rows) == ["has (cell=4, rate=0.5)", "has (cell=4, rate=1)", "has (rate=0.5)", "cam"]
    assert [row.n for row in rows] == [2, 1, 1, 1]


def test_mean_and_sample_standard_deviation():
    records = [make_record(seed=seed, v2=v2) for seed, v2 in enumerate((1.0, 2.0, 6.0))]
    score = build(records).tables[0].rows[0].score(V2)
    assert (score.mean, score.n) == (3.0, 3)
    assert score.std == math.sqrt((4 + 1 + 9) / 2)
    assert build(records[:1]).tables[0].rows[0].score(V2).std is None


def test_ties_share_a_rank_as_printed_and_a_lone_row_has_none():
    v2 = {"a": 50.001, "b": 50.004, "c": 49.9, "d": 49.9, "e": 10.0}
    text = to_markdown(build([make_record(name, v2=value) for name, value in v2.items()]))
    assert text.count("**50.00**") == 2
    assert text.count(" *49.90*") == 2
    assert " 10.00 " in text
    assert "*" not in to_markdown(build([make_record()])).replace("**", "*").split("Percent")[0]


def test_null_rows_are_never_ranked():
    text = to_markdown(build([make_record("a", v2=50.0), make_record("b", v2=40.0), make_null("ceiling", v2=99.0)]))
    assert "**50.00**" in text
    assert " *40.00*" in text
    assert " 99.00 " in text
    assert text.index("*null rows*") < text.index("| ceiling")


def test_null_rows_stand_in_every_table_they_fit():
    same = [make_record("cam"), make_record("cam", backbone="resnet18", recipe={"epochs": 50})]
    others = [
        make_record("cam", dataset_options={"classes": 3}),
        make_record("cam", fingerprints={**FINGERPRINTS, "test": "d" * 16}),
        make_record("cam", protocol="2"),
        make_record("cam", recipe={"image_size": 96}),
        make_record("cam", recipe={"normalization": "ivr"}),
        make_record("cam", fields={"map_size": (8, 8)}),
    ]
    tables = build([*same, *others, make_null()]).tables
    assert [labels(table.nulls) for table in tables if table.rows[0].records[0] in same] == [["center"], ["center"]]
    assert [table.nulls for table in tables if table.rows[0].records[0] in others] == [()] * len(others)


def test_null_rows_that_fit_nowhere_are_shown_alone():
    board = build([make_record(), make_null(dataset="other")])
    alone = next(table for table in board.tables if not table.rows)
    assert (alone.section.dataset, labels(alone.nulls)) == ("other", ["center"])
    assert "other, no backbone, 64×64 px" in to_markdown(board)


def test_a_baseline_with_a_backbone_is_ranked():
    table = build([make_record("random", fields={"trainable": False})]).tables[0]
    assert (labels(table.rows), table.nulls) == (["random"], ())


def test_a_null_row_recorded_beside_two_recipes_counts_once():
    nulls = [make_null(recipe={"epochs": epochs}) for epochs in (12, 50)]
    assert build([make_record(), *nulls]).tables[0].nulls[0].n == 1
    different = make_null(v2=31.0, recipe={"epochs": 51})
    assert build([make_record(), *nulls, different]).tables[0].nulls[0].n == 2


def test_a_metric_that_some_seeds_lack_says_of_how_many_it_is():
    records = [make_record(seed=seed, v2=50.0 + seed) for seed in range(2)]
    records.append(make_record(seed=2, fields={"metrics": {}, "absent": {V2[1]: "its maps are lost"}}))
    row = build(records).tables[0].rows[0]
    assert (row.score(V2).n, row.n, row.reason(V2)) == (2, 3, "its maps are lost")
    text = to_markdown(build(records))
    assert "50.50 ± 0.71 (n=2)¹" in text
    assert "¹ its maps are lost" in text


def test_the_slice_column_appears_when_records_have_it():
    parts, empty = {"boxes_5_50": make_slice()}, {"boxes_5_50": make_empty_slice()}
    records = [
        make_record("cam", fields={"slices": parts}),
        make_record("adl"),
        make_record("has", fields={"slices": empty}),
    ]
    text = to_markdown(build(records))
    assert "V2, boxes 5–50 %" in text
    assert "the 612 test images" in text
    assert "¹ not recorded" in text
    assert "² no test image is in this slice" in text
    assert "boxes" not in to_markdown(build(records[1:2]))


def test_the_caption_explains_frozen_thresholds_and_is_silent_about_claims_from_five_seeds_on():
    metrics = {"max_box_acc_v2": 50.0, "max_box_acc_v2_fullsup": 49.0}
    records = [make_record(seed=seed, fields={"metrics": metrics}) for seed in range(5)]
    said = caption(build(records).tables[0])
    assert "chosen on train-fullsup (400 images) and frozen" in said
    assert "claims" not in said
    assert "Fewer than 5 seeds" in caption(build(records[:4]).tables[0])


def test_a_bar_in_a_name_does_not_break_the_table():
    assert "| a\\|b" in to_markdown(build([make_record("a|b")]))


def test_csv_is_tidy_exact_and_complete():
    lines = list(csv.DictReader(io.StringIO(to_csv(build(small_board())))))
    assert len(lines) == 2 * 3 + 2  # (cam, has, has) x (top1_cls, V2), then the null row's V2 and its absent top1_cls
    cam = next(line for line in lines if line["label"] == "cam" and line["metric"] == "max_box_acc_v2")
    assert (cam["mean"], cam["n"], cam["images"], cam["null"]) == ("51.0", "2", "1000", "False")
    assert float(cam["std"]) == math.sqrt(2)
    lost = next(line for line in lines if line["label"] == "has (cell=8)" and line["metric"] == "top1_cls")
    assert (lost["mean"], lost["n"], lost["reason"], lost["config"]) == ("", "0", "there are no labels", '{"cell": 8}')
    assert [line["method"] for line in lines if line["null"] == "True"] == ["center", "center"]


def test_csv_says_why_a_slice_has_no_number():
    records = [make_record(fields={"slices": {"boxes_5_50": make_empty_slice()}})]
    line = list(csv.DictReader(io.StringIO(to_csv(build(records)))))[-1]
    assert (line["slice"], line["images"], line["metric"], line["n"]) == ("boxes_5_50", "0", "max_box_acc_v2", "0")
    assert line["reason"] == "no test image is in this slice"


def test_written_tables_are_one_set_for_each_dataset_and_repeatable(tmp_path):
    for dataset in ("parts", "parts/context"):
        for record in small_board():
            changed = make_record(fields={**vars(record), "identity": {**record.identity, "dataset": dataset}})
            write_record(changed, tmp_path)
    (tmp_path / "parts" / "records" / "torn.json").write_text("{")
    paths = write_tables(tmp_path)
    folders = (tmp_path / "parts", tmp_path / "parts" / "context")
    kinds = ("csv", "html", "md", "tex")
    assert sorted(paths) == sorted(folder / f"leaderboard.{kind}" for folder in folders for kind in kinds)
    first = [path.read_bytes() for path in paths]
    assert write_tables(tmp_path) == paths
    assert [path.read_bytes() for path in paths] == first
    text = (tmp_path / "parts" / "leaderboard.md").read_text()
    assert text.startswith("<!-- generated from records by `wsolbench leaderboard --write`; do not edit -->\n")
    assert "- torn.json was skipped: it is not valid JSON" in text
    assert "context" not in text
    assert str(tmp_path) not in text
    assert sorted(write_tables(folders[1])) == sorted(path for path in paths if path.parent == folders[1])


def test_folders_without_records_are_the_users_mistake(tmp_path):
    with pytest.raises(UserError, match="there is no record below"):
        write_tables(tmp_path)
    with pytest.raises(UserError, match="is no folder"):
        write_tables(tmp_path / "missing")
    assert to_markdown(build(*load_records(tmp_path))).startswith("Not shown:\n\n- there is no record below")


def test_no_heavy_import():
    code = "import sys, wsolbench.leaderboard.pages; print(sorted({'torch', 'pandas'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def tuned(name="s-cam", trials=16, **drawn):
    return {"tuned": Tuned(study=name, trials=trials, trial=3, drawn=drawn, images=44, training_s=600.0)}


def tuned_board():
    """Two tuned methods with their own learning rate and map size, one tuned with another budget, one not tuned."""
    return build(
        [
            *(
                make_record("cam", seed, v2=50.0, recipe={"lr": 0.1}, fields=tuned(lr=0.1, feature_map=8))
                for seed in (0, 1)
            ),
            make_record(
                "has",
                v2=40.0,
                config={"rate": 0.5},
                recipe={"lr": 0.2},
                fields={**tuned("s-has", lr=0.2, rate=0.5), "map_size": (8, 8)},
            ),
            make_record("adl", recipe={"lr": 0.1}, fields=tuned("s-adl", trials=8, lr=0.1)),
            make_record("cam", recipe={"lr": 0.1}),
            make_null(fields={"map_size": (8, 8)}),
            make_null("ceiling"),
        ]
    )


def test_tuned_rows_share_a_table_with_those_of_the_same_budget():
    tables = {title(table.section): table for table in tuned_board().tables}
    assert {name: labels(table.rows) for name, table in tables.items()} == {
        "parts, resnet-tiny, 64×64 px, maps 16×16": ["cam"],
        "parts, resnet-tiny, 64×64 px, 16 trials each": ["cam tuned", "has tuned"],
        "parts, resnet-tiny, 64×64 px, 8 trials each": ["adl tuned"],
        "parts, no backbone, 64×64 px, maps 8×8": [],
    }
    nulls = [labels(table.nulls) for table in tables.values()]
    assert sorted(nulls) == [["ceiling"], ["ceiling"], ["ceiling"], ["center"]]  # those of the largest map


def test_a_tuned_row_says_what_was_chosen_and_what_it_cost():
    text = to_markdown(tuned_board())
    assert (
        "¹ trial 3 of 16, the best on 44 images of train-fullsup: lr=0.1, feature_map=8; all trials trained for 10.0"
        " minutes" in text
    )
    frame = to_frame(tuned_board())
    found = frame[frame.method == "has"].iloc[0]
    assert (found.trials, found.tuned, found.map_height) == (16, '{"lr": 0.2, "rate": 0.5}', 8)


def test_two_choices_for_one_method_are_two_rows():
    records = [
        make_record("cam", recipe={"lr": lr}, fields=tuned(name, lr=lr)) for name, lr in (("a", 0.1), ("b", 0.2))
    ]
    assert labels(build(records).tables[0].rows) == ["cam tuned (lr=0.1, study=a)", "cam tuned (lr=0.2, study=b)"]


def test_the_caption_says_what_the_seeds_could_have_shown():
    values = {"a": [60.0, 61.0, 62.0], "b": [50.0, 53.0, 50.0], "c": [40.0, 41.0, 42.0]}
    records = [make_record(name, seed, v2=v2) for name, each in values.items() for seed, v2 in enumerate(each)]
    table = build(records).tables[0]
    sd = math.sqrt(((-10 + 10) ** 2 + 2**2 + 2**2) / 2)  # of b minus a: -10, -8, -12; c minus a does not vary
    smallest = (5.653489380959587 * sd / math.sqrt(3) + 0) / 2  # noncentral t with 2 degrees of freedom; the median
    assert math.isclose(detectable(table, V2), smallest, rel_tol=1e-9)
    assert f"a difference from the best ranked row had to be {smallest:.2f} in “V2”" in caption(table)
    assert detectable(build(records[:4]).tables[0], V2) is None  # one seed in common
    assert "four times in five" not in caption(build(records[:4]).tables[0])
