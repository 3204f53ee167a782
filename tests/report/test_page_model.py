"""What the page shows equals what the leaderboard, the hits and the maps say."""

from dataclasses import replace

import numpy as np
import pytest
from page_examples import write_results
from record_examples import make_null, make_provenance, make_record

from wsolbench.data.places import Places
from wsolbench.data.registry import open_dataset
from wsolbench.errors import UserError
from wsolbench.leaderboard.model import build
from wsolbench.leaderboard.sections import mark
from wsolbench.protocols import CRITERIA, PixelHits, SplitScores, average_precision, box_accuracy_counts, levels
from wsolbench.records import load_records, record_path
from wsolbench.report.page.columns import Cost, families, slice_title, summary, thresholds
from wsolbench.report.page.data import gather
from wsolbench.report.page.pictures import CRITERION, Chosen, choose, encode, maps_of_row
from wsolbench.report.page.runs import HISTORY_POINTS, behind
from wsolbench.report.page.scores import by_class, curves, decisions, metrics_by_class, read_test, threshold_index
from wsolbench.report.page.sets import locate
from wsolbench.report.page.tables import print_table, with_groups

OPTIONS = {"train": "16", "fullsup": "16", "test": "40"}


@pytest.fixture(scope="module")
def dataset():
    return open_dataset("parts", None, OPTIONS)


@pytest.fixture(scope="module")
def results(tmp_path_factory, dataset):
    folder = tmp_path_factory.mktemp("page") / "results"
    write_results(folder, dataset, seeds=(0, 1, 2))
    return folder


@pytest.fixture(scope="module")
def board(results):
    return build(*load_records(results))


@pytest.fixture(scope="module")
def page(results):
    return gather(results, Places(), 12)


# --- tables -----------------------------------------------------------------------------------------------------------


def test_every_cell_is_the_leaderboards_score_to_the_last_digit(board):
    (table,) = board.tables
    printed = print_table(table, 0)
    compared = 0
    for row, line in zip((*table.rows, *table.nulls), (*printed.lines, *printed.nulls), strict=True):
        assert (line.label, line.n) == (row.label, row.n)
        for (column, _), cell in zip(printed.columns, line.cells, strict=True):
            if isinstance(column.source, Cost):
                continue
            score = row.score(column.source)
            if score is None:
                assert (cell.text, cell.value, cell.reason) == ("", "", row.reason(column.source))
                assert cell.reason
                continue
            assert float(cell.value) == score.mean
            assert cell.text == f"{score.mean:.2f}"
            assert cell.spread == ("" if score.std is None else f"± {score.std:.2f}")
            compared += 1
    assert compared > 100


def test_best_and_second_are_the_leaderboards_and_null_rows_have_no_rank(board):
    (table,) = board.tables
    printed = print_table(table, 0)
    for index, (column, _) in enumerate(printed.columns):
        if isinstance(column.source, Cost):
            assert not any(line.cells[index].rank for line in printed.lines)
        else:
            ranks = {line.label: line.cells[index].rank for line in printed.lines if line.cells[index].rank}
            assert ranks == mark(table, column.source)
    assert {line.label for line in printed.nulls} == {"center", "full-image", "ceiling"}
    assert not any(cell.rank for line in printed.nulls for cell in line.cells)


def test_oracle_and_frozen_stand_beside_each_other_and_what_ranks_comes_first(board):
    (table,) = board.tables
    found = families(table)
    assert found[0].columns[0].source == table.section.headline
    assert found[0].group == ""
    keys = [column.source[1] for column, _ in with_groups(found) if not isinstance(column.source, Cost)]
    for key in ("max_box_acc_v2", "max_box_acc_v2_iou70", "gt_known", "top1_loc", "top5_loc", "max_box_acc"):
        assert keys[keys.index(key) + 1] == f"{key}_fullsup"
    assert {"top1_cls", "top5_cls", "gt_known_at_0.2", "top1_loc_at_0.2"} <= set(keys)
    assert "pxap" not in keys  # no row has it


def test_empty_cells_are_explained_below_the_table(board):
    printed = print_table(board.tables[0], 0)
    (nothing,) = [text for text in printed.empty if text.startswith("it does not classify")]
    assert "Top-1 Cls" in nothing
    assert "center" in nothing


def test_costs_are_those_of_the_runs():
    fast, slow = make_provenance(wall_s=60.0), make_provenance(wall_s=180.0, peak_memory_mb=100.0)
    records = [make_record(seed=seed, fields={"provenance": each}) for seed, each in enumerate((fast, slow))]
    (table,) = build([*records, make_null(fields={"map_size": (16, 16)})]).tables
    columns = {column.name: column for column, _ in with_groups(families(table))}
    minutes = summary(table.rows[0], columns["minutes"])
    assert (minutes.mean, minutes.n) == (2.0, 2)
    assert minutes.std == pytest.approx(2**0.5)
    memory = summary(table.rows[0], columns["memory, MiB"])
    assert (memory.mean, memory.std, memory.n, memory.reason) == (100.0, None, 1, "not measured on that device")


def test_v2_names_the_threshold_of_each_criterion(board):
    (table,) = board.tables
    record = table.rows[0].records[0]
    columns = {column.source: column for column, _ in with_groups(families(table)) if isinstance(column.source, tuple)}
    expected = [record.thresholds[f"max_box_acc_v2_iou{d}_fullsup"] for d in (30, 50, 70)]
    assert thresholds(record, columns["", "max_box_acc_v2_fullsup"]) == expected
    assert thresholds(record, columns["", "top1_cls"]) == []
    assert slice_title("boxes_5_50") == "V2, boxes 5–50 %"


# --- behind a cell ----------------------------------------------------------------------------------------------------


def test_behind_a_row_is_every_run_with_its_command_and_numbers(page, board):
    (table,) = board.tables
    for row, told in zip(table.rows, page.data["tables"][0]["rows"], strict=False):
        assert [run["id"] for run in told["runs"]] == [record.run_id for record in row.records]
        assert [run["command"] for run in told["runs"]] == [record.provenance.command for record in row.records]
        for run, record in zip(told["runs"], row.records, strict=True):
            numbers = dict(zip(page.data["tables"][0]["columns"], run["values"], strict=True))
            assert numbers["GT-known, oracle"] == record.metrics["gt_known"]
            assert numbers["minutes"] == record.provenance.wall_s / 60
        assert told["history"]["cls"][0] == [2.0, 1.0, 0.6667, 0.5, 0.4]
        assert "epochs" in told["unusual"]


def test_long_training_keeps_its_first_and_last_epoch():
    history = [{"cls": float(epoch), "broken": None} for epoch in range(1000)]
    (table,) = build([make_record(fields={"history": history})]).tables
    told = behind(table.rows[0], [], {})["history"]
    (values,) = told["cls"]
    assert len(values) == HISTORY_POINTS
    assert (values[0], values[-1]) == (0.0, 999.0)
    assert "broken" not in told


# --- curves and classes -----------------------------------------------------------------------------------------------


def read_scores_of(table, results):
    folders = locate(results, [record for row in table.rows for record in row.records])
    records = [record for row in (*table.rows, *table.nulls) for record in row.records]
    return {record.run_id: read_test(folders.hits[record.run_id], record) for record in records}


def test_curves_have_every_step(board, results):
    (table,) = board.tables
    scores = read_scores_of(table, results)
    found = curves(table, scores)
    for place, row in enumerate(table.rows):
        hits = [scores[record.run_id].hits for record in row.records]
        expected = np.mean([100 * box_accuracy_counts(each) / len(each) for each in hits], axis=0)
        steps, values = np.array(found["steps"]), np.array(found["rows"][place])
        whole = values[:, np.searchsorted(steps, np.arange(1000), side="right") - 1] / 100
        np.testing.assert_allclose(whole, expected, atol=0.00501)
    assert len(found["steps"]) <= 256


def test_marked_thresholds_are_the_records(board, results):
    (table,) = board.tables
    found = curves(table, read_scores_of(table, results))
    record = table.rows[0].records[1]
    for index, d in enumerate(CRITERIA):
        key = f"max_box_acc_v2_iou{round(100 * d)}_fullsup"
        t, value = found["chosen"][0][index]["frozen"][1]
        assert (t, value) == (record.thresholds[key], round(record.metrics[key], 2))


def test_without_hits_there_are_no_curves(board):
    assert curves(board.tables[0], {}) is None


def test_classes_equal_a_slow_count(board, results, dataset):
    (table,) = board.tables
    record = table.rows[0].records[0]
    scores = read_scores_of(table, results)[record.run_id]
    labels = dataset.images("test").labels
    counts = np.bincount(labels, minlength=len(dataset.class_names))
    found = metrics_by_class(scores, record, labels, counts)
    hits = scores.hits.unpacked()
    for label in range(len(counts)):
        members = np.flatnonzero(labels == label)
        v2 = 0.0
        for index, d in enumerate(CRITERIA):
            t = threshold_index(record.thresholds[f"max_box_acc_v2_iou{round(100 * d)}_fullsup"])
            v2 += sum(hits[i, index, levels(int(scores.hits.maxima[i]))[t]] for i in members) / len(members) / 3
        assert found["V2"][label] == pytest.approx(100 * v2)
        assert found["Top-1 Cls"][label] == pytest.approx(100 * np.mean(scores.ranks[members] == 0))


def test_classes_weighted_by_their_images_give_the_tables_number(board, results, dataset):
    labels = dataset.images("test").labels
    counts = np.bincount(labels, minlength=len(dataset.class_names))
    (table,) = board.tables
    scores = read_scores_of(table, results)
    for row in (*table.rows, *table.nulls):
        for record in row.records:
            found = metrics_by_class(scores[record.run_id], record, labels, counts)
            for name, key in (("GT-known", "gt_known_fullsup"), ("V2", "max_box_acc_v2_fullsup")):
                assert (found[name] * counts).sum() / counts.sum() == pytest.approx(record.metrics[key], abs=1e-9)


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_pictures_are_chosen_evenly_over_the_classes_whatever_the_order_of_the_split():
    rng = np.random.default_rng(0)
    ids = [f"image {index}" for index in range(60)]
    labels = rng.integers(0, 5, 60)
    chosen = choose(ids, labels, 17)
    counts = np.bincount(labels[chosen], minlength=5)
    assert (len(chosen), counts.min(), counts.max()) == (17, 3, 4)
    shuffled = rng.permutation(60)
    again = choose([ids[index] for index in shuffled], labels[shuffled], 17)
    assert [ids[shuffled[index]] for index in again] == [ids[index] for index in chosen]
    assert set(choose(ids, labels, 9)) < set(chosen)
    assert len(choose(ids, labels, 100)) == 60


def test_hits_on_the_pictures_are_the_protocols(page, board, results, dataset):
    (table,) = board.tables
    scores = read_scores_of(table, results)
    ids = dataset.images("test").ids
    places = [ids.index(picture["id"]) for picture in page.data["sets"][0]["pictures"]]
    assert len(places) == 12
    for place, row in enumerate((*table.rows, *table.nulls)):
        record = row.records[0]
        told = page.data["tables"][0]["maps"][place]
        expected = decisions(scores[record.run_id].hits, record, "gt_known")[places]
        assert (told["run"], told["t"]) == (record.run_id, record.thresholds["gt_known_fullsup"])
        assert told["hit"] == expected.tolist()
        assert [value >= CRITERION for value in told["iou"]] == expected.tolist()


def test_the_lowest_seed_whose_maps_are_kept_is_shown(board, results, dataset, tmp_path):
    row = board.tables[0].rows[0]
    split = dataset.images("test")
    chosen = Chosen(indices=np.arange(3), images=split, annotations=dataset.annotations("test"), side=64)
    folders = {record.run_id: results / "runs" / record.run_id for record in row.records}
    folders[row.records[0].run_id] = tmp_path
    assert maps_of_row(row, chosen, folders)["seed"] == 1
    assert maps_of_row(row, chosen, {}) is None


def test_other_normalisations_are_stored_as_they_were_scored(board, results, dataset):
    split = dataset.images("test")
    chosen = Chosen(indices=np.arange(2), images=split, annotations=dataset.annotations("test"), side=64)
    row = board.tables[0].rows[0]
    record = row.records[0]
    recipe = {**record.identity["recipe"], "normalization": "ivr"}
    changed = replace(record, identity={**record.identity, "recipe": recipe}, percentile=90)
    folders = {changed.run_id: results / "runs" / record.run_id}
    told = maps_of_row(replace(row, records=(changed,)), chosen, folders)
    assert (told["size"], told["stretched"]) == ([32, 32], False)
    plain = maps_of_row(row, chosen, {record.run_id: results / "runs" / record.run_id})
    assert (plain["size"], plain["stretched"]) == ([8, 8], True)


def test_pictures_shrink_until_they_fit():
    rng = np.random.default_rng(0)
    from PIL import Image

    noise = [Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)) for _ in range(3)]
    free = sum(map(len, encode(noise, 10**9)))
    tight = sum(map(len, encode(noise, free // 2)))
    assert tight <= free // 2 < free


def test_without_thresholds_there_are_maps_and_no_boxes(board, results, dataset):
    """As for records of a dataset with masks."""
    split = dataset.images("test")
    chosen = Chosen(indices=np.arange(2), images=split, annotations=dataset.annotations("test"), side=64)
    row = board.tables[0].rows[0]
    bare = replace(row.records[0], thresholds={})
    told = maps_of_row(replace(row, records=(bare,)), chosen, {bare.run_id: results / "runs" / bare.run_id})
    assert (told["t"], told["boxes"], told["iou"], told["hit"]) == (None, [], [], [])
    assert told["size"] == [8, 8]


def test_masks_have_pxap_by_class_and_no_curves():
    rng = np.random.default_rng(0)
    pixels = PixelHits(pixels=rng.integers(0, 9, (5, 2, 1001)).astype(np.uint32))
    labels = np.array([0, 2, 0, 2, 2])
    scores = SplitScores(hits=pixels)
    (table,) = build([make_record(fields={"images": {"test": 5}})]).tables
    record = table.rows[0].records[0]
    found = metrics_by_class(scores, record, labels, np.array([2, 0, 3]))
    assert list(found) == ["PxAP"]
    assert found["PxAP"][2] == 100 * average_precision(pixels.select(np.array([1, 3, 4])).counts)
    assert np.isnan(found["PxAP"][1])
    told = by_class(table, {record.run_id: scores}, labels, 3)
    assert told["images"] == [2, 0, 3]
    assert told["rows"][0]["PxAP"][1] is None
    assert curves(table, {record.run_id: scores}) is None


# --- what is missing --------------------------------------------------------------------------------------------------


def test_without_its_data_the_page_says_so(tmp_path):
    record = make_record(dataset="cub")
    path = record_path(record.identity, tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text(record.to_json())
    page = gather(tmp_path, Places(), 10)
    (note,) = page.notes
    assert note.startswith("cub: no pictures and no numbers by class")
    assert "--data-root" in note
    assert (page.pictures, page.data["tables"][0]["classes"], page.data["tables"][0]["curves"]) == (0, None, None)


def test_without_kept_maps_the_page_says_which_command_makes_them(tmp_path, dataset):
    records = write_results(tmp_path, dataset, methods=("cam",), seeds=(0,))
    (tmp_path / "runs" / records[0].run_id / "test.npz").unlink()
    page = gather(tmp_path / "parts" / "records", Places(), 10)
    (note,) = page.notes
    assert f"`{records[0].provenance.command} --no-resume`" in note
    assert page.pictures == 0
    assert page.data["tables"][0]["classes"] is not None


def test_a_wrong_data_root_is_refused(tmp_path, results):
    with pytest.raises(UserError, match="does not exist; expected the folder or archive"):
        gather(results, Places(data_root=tmp_path / "nowhere"), 10)


def test_skipped_files_are_named(tmp_path, dataset):
    write_results(tmp_path, dataset, methods=("cam",), seeds=(0,))
    (tmp_path / "parts" / "records" / "broken.json").write_text("{")
    page = gather(tmp_path, Places(), 0)
    (skipped,) = page.skipped
    assert skipped.startswith("parts/records/broken.json was skipped: it is not valid JSON")
    assert page.header["Records"] == "4 (1 trained, 3 null rows)"
