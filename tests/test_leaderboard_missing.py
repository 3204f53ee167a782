"""An empty cell says why; tables never mix what cannot be compared."""

import pytest
from leaderboard_examples import INCA, V2, cub, failed, lines_of, notes_of
from record_examples import FINGERPRINTS, make_null, make_record

from wsolbench.leaderboard.model import build
from wsolbench.leaderboard.pages import make_page, to_markdown
from wsolbench.leaderboard.sections import Beside
from wsolbench.record_schema import Tuned


def page(records, failures=(), layout="main", warnings=()):
    return make_page(build(records, warnings), layout, Beside(failures=failures))


def grid(records, failures=(), layout="main"):
    (found,) = page(records, failures, layout).grids
    return found


# --- runs that failed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["main", "criteria", "cost"])
def test_a_method_that_failed_everywhere_has_a_row_that_says_why(layout):
    failures = [failed("has", 0), failed("has", 1), failed("has", 2, error="a loss is NaN")]
    found = grid([make_record("cam")], failures, layout)
    assert [line.label for line in found.lines] == ["cam", "has"]
    assert lines_of(found)["has"] == ["0", *["–"] * (len(found.heads) - 1)]
    ids = [failure.run_id for failure in failures]
    because = [
        f"failed (seed 0, 1; run {ids[0]}, {ids[1]}): out of memory",
        f"failed (seed 2; run {ids[2]}): a loss is NaN",
    ]
    assert notes_of(found, "has") == ([], [[], *[because] * (len(found.heads) - 1)])
    assert page([make_record("cam")], failures, layout).warnings == ()


def test_a_seed_that_failed_is_noted_at_its_row():
    lost = failed("cam", 1, smaller="0123456789abcdef")
    note = f"failed (seed 1; run {lost.run_id}, run anew with a smaller batch as 0123456789abcdef): out of memory"
    for layout in ("main", "cost"):
        assert notes_of(grid([make_record("cam")], [lost], layout), "cam")[0] == [note]
    assert notes_of(grid([make_record("cam")], [lost], "table4"), "cam")[1] == [[note]]


def test_the_configuration_that_failed_is_told_from_the_one_that_ran():
    found = grid([make_record("has", config={"cell": 4})], [failed("has", config={"cell": 8})])
    assert list(lines_of(found)) == ["has", "has (cell=8)"]


def test_post_hoc_maps_that_failed_are_no_failure_of_their_method():
    lost = failed("cam", extractor={"name": "gradcam", "point": "layer4"})
    for layout in ("main", "table4"):
        found = grid([make_record("cam")], [lost], layout)
        assert list(lines_of(found)) == ["cam", "cam + gradcam"]
        assert notes_of(found, "cam") == ([], [[]] * len(found.heads))


def test_failures_of_no_table_are_listed_and_skipped_files_too():
    elsewhere = failed("has", dataset="other")
    found = page([make_record("cam")], [elsewhere], warnings=["b.json was skipped: it is torn"])
    assert found.warnings == (
        "b.json was skipped: it is torn",
        f"has on other, resnet-tiny, failed (seed 0; run {elsewhere.run_id}): out of memory",
    )
    assert [line.label for line in found.grids[0].lines] == ["cam"]
    assert page([], [elsewhere]).warnings[0].startswith("has on other")


def test_a_failure_that_a_layout_does_not_show_is_listed_there():
    lost = failed("has", dataset="cub", backbone="resnet50", fingerprints=cub().identity["fingerprints"])
    records = [cub("inca")]
    assert page(records, [lost], "main").warnings == ()
    assert page(records, [lost], "table4").warnings == ()
    assert len(page(records, [lost], "table2").warnings) == 1


def test_failures_beside_tuned_rows():
    tuned = Tuned(study="s", trials=8, trial=1, drawn={"lr": 0.1}, images=44, training_s=60.0)
    record = make_record("cam", recipe={"lr": 0.1}, fields={"tuned": tuned})
    own, other = failed("cam", 1, recipe={"lr": 0.1}), failed("has", recipe={"lr": 0.2})
    for layout in ("main", "table4"):
        found = page([record], [own, other], layout)
        assert list(lines_of(found.grids[0])) == ["cam tuned"]
        assert own.run_id in " ".join(found.grids[0].notes())
        assert [text[:12] for text in found.warnings] == ["has on parts"]


def test_an_ablation_says_which_of_its_rows_failed():
    config = {**INCA, "mask": "drop"}
    lost = failed(
        "inca", dataset="cub", backbone="resnet50", config=config, fingerprints=cub().identity["fingerprints"]
    )
    old = cub("inca", config={**INCA, "fc": False}, protocol="0")
    found = next(each for each in page([cub("inca"), old], [lost], "table2").grids if "protocol=1" in each.title)
    assert notes_of(found, "Ours w/o M_dfg")[1][1] == [f"failed (seed 0; run {lost.run_id}): out of memory"]
    assert notes_of(found, "Ours w/o L_fc")[1][1] == ["recorded under protocol version 0 only"]
    assert notes_of(found, "Ours w/o non-local")[1][1] == ["not run"]


# --- wide tables: why a cell is empty ---------------------------------------------------------------------------------


def test_empty_cells_of_a_wide_table_say_why():
    records = [
        cub("cam"),
        cub("cam", backbone="vgg16"),
        cub("has", backbone="vgg16"),
        cub("has", protocol="0"),
        cub("adl", backbone="vgg16"),
        cub("adl", recipe={"normalization": "ivr"}),
        cub("acol", backbone="vgg16", extractor={"name": "gradcam", "point": "x"}),
    ]
    there = {"dataset": "cub", "fingerprints": cub().identity["fingerprints"], "backbone": "resnet50"}
    lost = [failed("spg", 4, **there), failed("acol", 0, **there)]
    failures = [
        *lost,
        failed("adl", 0, **{**there, "fingerprints": FINGERPRINTS}),
        failed("adl", 0, **there, protocol="2"),
    ]
    old, new = (each for each in page(records, failures, "table4").grids if "ivr" not in " ".join(each.caption))
    assert list(lines_of(old)) == ["has"]
    assert {label: notes_of(new, label)[1][0] for label in lines_of(new)} == {
        "cam": [],
        "has": ["recorded under protocol version 0 only"],
        "adl": [
            "not run"
        ],  # but with another normalisation, and it failed on other images, and under another protocol version
        "acol + gradcam": ["not run"],  # acol with its own maps failed
        "spg": [f"failed (seed 4; run {lost[0].run_id}): out of memory"],
        "acol": [f"failed (seed 0; run {lost[1].run_id}): out of memory"],
    }
    assert notes_of(new, "spg")[1][1] == ["not run"]
    assert {text.split(" on ")[0] for text in page(records, failures, "table4").warnings} == {"adl"}


# --- what never shares a table ----------------------------------------------------------------------------------------

TUNED = {"study": "s", "trial": 1, "drawn": {}, "images": 44, "training_s": 60.0}
APART = [
    {"protocol": "2"},
    {"fingerprints": {**FINGERPRINTS, "test": "d" * 16}},
    {"fingerprints": {**FINGERPRINTS, "train-weaksup": "d" * 16}},
    {"dataset_options": {"classes": 3}},
    {"recipe": {"normalization": "ivr"}},
    {"recipe": {"image_size": 96}},
    {"fields": {"tuned": Tuned(trials=8, **TUNED)}},
]


@pytest.mark.parametrize("layout", ["main", "table4", "table6", "table7"])
@pytest.mark.parametrize("change", APART)
def test_tables_do_not_mix(change, layout):
    metrics = {V2: 40.0, "top1_cls": 30.0, "top1_loc_at_0.2": 20.0}
    changes = {**change, "fields": {"metrics": metrics, **change.get("fields", {})}}
    records = [make_record("cam", fields={"metrics": metrics}), make_record("has", **changes)]
    found = page(records, layout=layout).grids
    shown = sorted(line.label for each in found for line in each.lines if line.cells[-1].value is not None)
    assert len(found) == 2
    assert shown in (["cam", "has"], ["cam", "has tuned"])
    assert all(sum(line.cells[-1].value is not None for line in each.lines) == 1 for each in found)
    texts = {(each.title, each.caption) for each in found}
    assert len(texts) == 2  # a reader can tell them apart


def test_budgets_of_tuning_do_not_mix():
    records = [
        make_record(name, fields={"tuned": Tuned(trials=trials, **TUNED)}) for name, trials in (("cam", 8), ("has", 30))
    ]
    for layout in ("main", "table4"):
        assert [list(lines_of(each)) for each in page(records, layout=layout).grids] in (
            [["cam tuned"], ["has tuned"]],
            [["has tuned"], ["cam tuned"]],
        )


@pytest.mark.parametrize("change", [{"weights": "imagenet"}, {"device_type": "cuda"}, {"recipe": {"epochs": 50}}])
def test_what_may_differ_in_a_wide_table_is_a_row_of_its_own(change):
    found = grid([make_record("cam", v2=50.0), make_record("cam", v2=60.0, **change)], layout="table4")
    assert sorted(cells for cells in lines_of(found).values()) == [["50.00"], ["60.00"]]
    ((name, value),) = change.items()
    shown = f"{name}={value}" if isinstance(value, str) else "epochs=50"
    assert lines_of(found)[f"cam ({shown})"] == ["60.00"]


def test_datasets_of_one_version_share_a_wide_table_and_versions_of_one_do_not():
    small = {"dataset_options": {"classes": 3}}
    records = [make_record(), make_record(dataset="other"), make_record(dataset="third"), make_record(**small)]
    found = page(records, layout="table4").grids
    assert [[head.text for head in each.heads] for each in found] == [
        ["other resnet-tiny", "third resnet-tiny"],
        ["parts resnet-tiny"],
        ["parts (classes=3) resnet-tiny"],
    ]


def test_a_wide_table_has_the_null_row_of_its_images_with_the_finest_maps():
    nulls = [
        make_null(v2=30.0, map_size=[8, 8], fields={"map_size": (8, 8)}),
        make_null(v2=31.0, map_size=[16, 16]),
        make_null(v2=32.0, recipe={"normalization": "ivr"}),
        make_null(v2=33.0, fingerprints={**FINGERPRINTS, "test": "d" * 16}),
    ]
    assert lines_of(grid([make_record(), *nulls], layout="table4"))["center"] == ["31.00"]
    fewer = {key: text for key, text in FINGERPRINTS.items() if key != "train-weaksup"}
    assert lines_of(grid([make_record(), make_null(fingerprints=fewer)], layout="table4"))["center"] == ["30.00"]


def test_what_is_not_shown_stands_below_the_tables():
    text = to_markdown(build([make_record()], ["x.json was skipped: <b>torn</b>\nagain"]))
    assert text.endswith("Not shown:\n\n- x.json was skipped: \\<b>torn\\</b> again\n")
