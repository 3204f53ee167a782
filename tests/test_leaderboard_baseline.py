"""``--baseline``: differences, claims and ranks beside the rows of a table, from hits that lie beside the records."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from leaderboard_examples import V2
from record_examples import make_null, make_record

from wsolbench.comparison import compare
from wsolbench.comparison_runs import Question
from wsolbench.errors import UserError
from wsolbench.leaderboard.model import build
from wsolbench.leaderboard.pages import make_page, write_tables
from wsolbench.leaderboard.sections import Beside
from wsolbench.leaderboard.significance import standings
from wsolbench.protocols import BoxHits, SplitScores, score
from wsolbench.record_schema import Slice
from wsolbench.records import load_records, record_path, write_hits, write_record
from wsolbench.stored_hits import score_arrays

RESULTS = Path(__file__).parents[1] / "results"
PART = "boxes_5_50"
FEW = {"supervision": {"kind": "masks", "train_images": 80, "threshold_images": 20}}
SIZES = {"test": 60, "train-fullsup": 24}


def hits(probability, count, seed):
    """Return boxes that are found with some probability, at levels around 100."""
    rng = np.random.default_rng(seed)
    near = np.abs(np.arange(256) - rng.integers(60, 120, count)[:, None]) < rng.integers(30, 90, count)[:, None]
    lucky = rng.random((count, 3)) < probability * np.array([1, 0.8, 0.5])
    return SplitScores(hits=BoxHits.from_levels(lucky[:, :, None] & near[:, None], np.full(count, 255, dtype=np.uint8)))


def write(folder, record, probability, seed, *, headline="", stored=True):
    """Write a record with hits that it agrees with; its slice is the first 40 test images."""
    splits = {split: hits(probability, size, seed) for split, size in SIZES.items()}
    masks = {split: {PART: np.arange(size) < 40} for split, size in SIZES.items()}
    whole = score(*splits.values())
    inside = score(*(splits[split].select(masks[split][PART]) for split in SIZES))
    names = ("metrics", "thresholds", "absent")
    part = Slice(images=40, **{name: getattr(inside, name) for name in names})
    own = {name: getattr(whole, name) for name in names}
    write_record(dataclasses.replace(record, headline=headline, slices={PART: part}, **own), folder)
    arrays = score_arrays(splits, masks if stored else None)
    write_hits(record_path(record.identity, folder).with_suffix(".npz"), **arrays)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Write five seeds of cam, inca and few, two of has, and the center row."""
    folder = tmp_path_factory.mktemp("written")
    for method, probability in {"cam": 0.6, "inca": 0.95, "has": 0.55, "few": 0.99}.items():
        for seed in range(2 if method == "has" else 5):
            write(folder, make_record(method, seed, **(FEW if method == "few" else {})), probability, seed)
    write(folder, make_null(), 0.6, 99)
    return folder


@pytest.fixture
def results(written, tmp_path):
    """Return a copy of the records that may be changed."""
    return shutil.copytree(written, tmp_path / "results")


def asked(folder, baseline="cam", **changes):
    """Return the board of a folder and how its rows stand."""
    board = build(*load_records(folder))
    return board, standings(board, folder, baseline, **{"resamples": 300, "quiet": True, **changes})


def main_grid(folder, baseline="cam"):
    board, known = asked(folder, baseline)
    (grid,) = make_page(board, "main", Beside(standings=known)).grids
    return grid


def test_the_marks_follow_the_claims(results):
    grid = main_grid(results)
    assert [head.title for head in grid.heads[:3]] == ["n", "against cam, 95 %", "rank, 95 %"]
    cells = {line.label: [cell.text + cell.rest for cell in line.cells[1:3]] for line in grid.lines}
    assert cells["cam"] == ["baseline", "2–3"]
    assert cells["few"] == cells["center"] == ["", ""]  # trained on boxes; a null row
    assert cells["inca"][0].startswith("+")
    assert cells["inca"][0].endswith("] †")
    assert cells["inca"][1] == "1"
    assert cells["has"][0].endswith("]")  # two seeds claim nothing
    said = " ".join(grid.caption)
    assert "Against cam, in “V2”: seeds in pairs" in said
    assert "(Holm over 2 comparisons, 5 shared seeds or more)" in said
    below = {line.label: line.cells[1].rest for line in main_grid(results, "inca").lines}
    assert below["cam"].endswith("] ‡")


def test_the_numbers_are_those_of_compare(results):
    board, known = asked(results)
    found = compare(Question(runs=["cam", "inca", "has"], results=results, resamples=300, quiet=True))
    (standing,) = known.values()
    assert standing.ranks == {side.name: rank for side, rank in zip(found.sides, found.ranks, strict=True)}
    for verdict in found.verdicts:
        mean, interval, _ = standing.differences[verdict.side]
        assert (mean, interval) == (verdict.difference.mean, verdict.difference.interval)
        rows = {row.label: row for row in board.tables[0].rows}
        ours, base = (rows[name].by_seed(("", V2)) for name in (verdict.side, "cam"))
        assert mean == pytest.approx(np.mean([ours[seed] - base[seed] for seed in ours.keys() & base.keys()]))
    assert [claim for _, _, claim in standing.differences.values()] == [1, 0]


def test_the_committed_records_stand_as_compare_says():
    folder = RESULTS / "parts"
    board, known = asked(folder, resamples=120)
    names = [row.label for row in board.tables[0].rows if not row.supervision and row.label != "cam"]
    found = compare(Question(runs=["cam", *names], results=folder, resamples=120, quiet=True))
    (standing,) = known.values()
    expected = {v.side: (v.difference.mean, v.difference.interval) for v in found.verdicts}
    assert {label: found[:2] for label, found in standing.differences.items()} == expected
    assert len(expected) == 10
    assert {claim for _, _, claim in standing.differences.values()} == {0}  # three seeds
    assert standing.ranks == {side.name: rank for side, rank in zip(found.sides, found.ranks, strict=True)}


def test_rows_that_do_not_clear_center_are_not_marked(results):
    board, known = asked(results)
    (standing,) = known.values()
    assert standing.unclear == {"cam", "has"}
    assert standing.said_of_marks == ("Not above center by their intervals, so not marked as best: cam, has.",)
    for layout, column in (("main", "V2"), ("criteria", "V2 oracle")):
        grid = make_page(board, layout, Beside(standings=known)).grids[0]
        at = [head.text for head in grid.heads].index(column)
        assert {line.label: line.cells[at].rank for line in grid.lines if line.cells[at].rank} == {"inca": 1}
        assert standing.said_of_marks[0] in grid.caption


def test_slices_are_read_from_the_hits_file(tmp_path):
    for method, probability in (("cam", 0.6), ("inca", 0.95)):
        for seed in range(2):
            write(tmp_path, make_record(method, seed), probability, seed, headline=PART)
    board, known = asked(tmp_path)
    (standing,) = known.values()
    rows = {row.label: row.by_seed((PART, V2)) for row in board.tables[0].rows}
    expected = np.mean([rows["inca"][seed] - rows["cam"][seed] for seed in (0, 1)])
    assert standing.differences["inca"][0] == pytest.approx(expected)
    assert "in “V2, boxes 5–50 %”" in standing.said[0]


def test_slices_that_are_not_stored_are_asked_of_the_data_and_trouble_is_said(tmp_path):
    for method in ("cam", "inca"):
        write(tmp_path, make_record(method), 0.6, 0, headline=PART, stored=False)
    _, known = asked(tmp_path)
    (standing,) = known.values()
    assert standing.ranks == {}
    assert standing.said[0].startswith("Not compared with cam: ")  # made-up records are of no data


def test_a_baseline_in_no_table_is_an_error_that_lists_the_choices(results):
    for name in ("camm", "few", "center"):
        with pytest.raises(
            UserError, match=f"--baseline {name} names no row that can be compared; expected one of cam,"
        ):
            asked(results, name)


def test_a_table_without_the_baseline_says_so(results):
    for seed in range(2):
        write(results, make_record("adl", seed, backbone="resnet18"), 0.6, seed)
        write(results, make_record("has", seed, backbone="resnet18", config={"cell": 4}), 0.5, seed)
        write(results, make_record("has", seed, backbone="resnet18", config={"cell": 8}), 0.6, seed)
    captions = {}
    for name in ("cam", "has", "has (cell=4)"):
        board, known = asked(results, name)
        grids = make_page(board, "main", Beside(standings=known)).grids
        captions[name] = [" ".join(grid.caption) for grid in grids]
    tiny, small = captions["cam"]
    assert "Not compared: cam was not run here." in small
    assert "Against cam" in tiny
    assert "Not compared: has is has (cell=8) and has (cell=4) here." in captions["has"][1]
    assert "Against has, in" in captions["has"][0]
    assert "Against has (cell=4), in" in captions["has (cell=4)"][1]


def test_rows_without_a_seed_in_common_are_named(results):
    write(results, make_record("adl", 9), 0.6, 9)
    _, known = asked(results)
    (standing,) = known.values()
    assert "Without a seed in common: adl." in standing.said
    assert "adl" not in standing.differences
    alone = make_record("adl", 9)
    with_seeds = {"cam": (0, 1), "adl": (9,)}
    board = build(
        [
            record
            for record in load_records(results)[0]
            if record.identity["recipe"]["seed"] in with_seeds.get(record.identity["method"], ())
        ]
    )
    (standing,) = standings(board, results, "cam", resamples=100, quiet=True).values()
    assert (standing.ranks, standing.said) == ({}, ("No row has “V2” and a seed of cam.",))
    assert alone.run_id in {record.run_id for record in board.records}


def test_hits_that_are_not_there_are_said_not_raised(results):
    for path in results.rglob("*.npz"):
        path.unlink()
    _, known = asked(results)
    (standing,) = known.values()
    assert standing.said[0].startswith("Not compared with cam: the hits of run ")


def test_one_row_alone_is_not_compared(tmp_path):
    write(tmp_path, make_record("cam"), 0.6, 0)
    assert asked(tmp_path)[1] == {}


def test_written_tables_can_stand_to_a_baseline(results):
    def known(board, folder):
        return standings(board, folder, "cam", resamples=100, quiet=True)

    write_tables(results, known)
    assert "against cam, 95 %" in (results / "parts" / "leaderboard.md").read_text()
    assert "$\\dagger$" in (results / "parts" / "leaderboard.tex").read_text()
