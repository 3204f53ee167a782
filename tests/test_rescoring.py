"""Scoring a finished run again from its maps: the same numbers to the last bit, and what is refused."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from wsolbench import rescoring
from wsolbench.data.places import Places
from wsolbench.errors import UserError
from wsolbench.null_rows import NULL_ROWS
from wsolbench.records import find_record, read_record, record_files, write_hits
from wsolbench.rescoring import changes, rescore
from wsolbench.stored_hits import read_arrays, read_scores


@pytest.fixture
def copied(finished, tmp_path):
    """Return a copy of a finished run's results that may be changed, and the run's id."""
    shutil.copytree(finished.request.results, tmp_path / "results")
    return tmp_path / "results", finished.record.run_id


def again(results, run):
    return rescore(run, results, Places())


def test_the_same_version_gives_the_same_numbers_to_the_last_bit(copied):
    results, run = copied
    path = next(path for path in record_files(results) if path.stem == run)
    before, hits = json.loads(path.read_text()), read_arrays(path.with_suffix(".npz"))
    path.with_suffix(".npz").unlink()
    rescored = again(results, run)
    after = json.loads(path.read_text())
    note = after["provenance"]["versions"].pop("rescored by wsolbench")
    assert after == before
    assert ", commit " in note
    written = read_arrays(path.with_suffix(".npz"))
    assert written.keys() == hits.keys()
    assert all(np.array_equal(written[name], hits[name]) and written[name].dtype == hits[name].dtype for name in hits)
    count = len(before["metrics"]) + len(before["slices"]["boxes_5_50"]["metrics"])
    assert changes(rescored) == [f"{count} of {count} numbers are the same to the last bit"]
    assert rescored.path == path


def test_history_command_and_cost_stay(copied):
    results, run = copied
    before = find_record(results, run)
    after = again(results, run).after
    assert after.history == before.history
    assert after.identity == before.identity
    untouched = dataclasses.replace(after.provenance, versions=before.provenance.versions)
    assert untouched == before.provenance


def test_other_maps_give_other_numbers_and_they_are_told(copied):
    results, run = copied
    kept = results / "runs" / run / "test.npz"
    arrays = read_arrays(kept)
    arrays["maps"] = -arrays["maps"]
    arrays["maps"][0] = 1.0
    arrays["maps"][1, 0, 0] = np.nan
    arrays["logits"][2, 0] = np.nan
    write_hits(kept, **arrays)
    rescored = again(results, run)
    lines = changes(rescored)
    v2 = [f"{record.metrics['max_box_acc_v2']:.6g}" for record in (rescored.before, rescored.after)]
    assert f"max_box_acc_v2: {v2[0]} -> {v2[1]}" in lines
    assert v2[0] != v2[1]
    counts = rescored.after.counts
    assert (counts["constant_maps_test"], counts["invalid_maps_test"], counts["invalid_logits_test"]) == (1, 1, 1)
    assert read_record(rescored.path) == rescored.after
    scores = read_scores(rescored.path.with_suffix(".npz"))
    assert scores["test"].hits.maxima[:2].tolist() == [0, 0]


def test_a_number_that_was_not_there_is_told(copied):
    results, run = copied
    before = find_record(results, run)
    fewer = dataclasses.replace(before, metrics={"gt_known": before.metrics["gt_known"]}, slices={}, headline="")
    new, same = changes(rescoring.Rescored(before=fewer, after=before, path=results))
    assert new.startswith("new: ")
    assert f"max_box_acc_v2 {before.metrics['max_box_acc_v2']:.2f}" in new.removeprefix("new: ").split(", ")
    assert same == "1 of 1 numbers are the same to the last bit"
    gone, same = changes(rescoring.Rescored(before=before, after=fewer, path=results))
    assert gone.startswith("gone: gt_known on boxes_5_50, ")
    assert same.startswith("1 of ")


def test_under_another_protocol_it_is_another_run_with_its_maps(copied, monkeypatch):
    results, run = copied
    monkeypatch.setattr(rescoring, "PROTOCOL_VERSION", "next")
    rescored = again(results, run)
    assert rescored.after.identity == {**rescored.before.identity, "protocol": "next"}
    assert rescored.after.run_id != run
    assert read_record(rescored.path).run_id == rescored.after.run_id
    assert find_record(results, run) == rescored.before
    assert again(results, rescored.after.run_id).after.metrics == rescored.after.metrics


@pytest.mark.parametrize("name", NULL_ROWS)
def test_a_null_row_is_drawn_again(copied, name):
    results, _ = copied
    path = next(path for path in record_files(results) if read_record(path).identity["method"] == name)
    before, hits = read_record(path), read_arrays(path.with_suffix(".npz"))
    path.with_suffix(".npz").unlink()
    after = again(results, path.stem).after
    assert {**dataclasses.asdict(after), "provenance": None} == {**dataclasses.asdict(before), "provenance": None}
    written = read_arrays(path.with_suffix(".npz"))
    assert written.keys() == hits.keys()
    assert all(np.array_equal(written[key], hits[key]) for key in hits)


# --- what is refused --------------------------------------------------------------------------------------------------


def refused(results, run):
    record = next(path for path in record_files(results) if path.stem == run)
    before = record.read_bytes()
    with pytest.raises(UserError) as error:
        again(results, run)
    assert "\n" not in str(error.value)
    assert record.read_bytes() == before
    return str(error.value)


@pytest.mark.parametrize("split", ["test", "train-fullsup"])
def test_maps_that_are_not_there(copied, split):
    results, run = copied
    (results / "runs" / run / f"{split}.npz").unlink()
    text = refused(results, run)
    assert f"the raw maps of run {run} are not in '{results / 'runs' / run / split}.npz'" in text
    assert "train it again with `wsolbench run cam parts" in text


def test_maps_that_are_damaged_or_foreign(copied):
    results, run = copied
    kept = results / "runs" / run / "test.npz"
    whole = read_arrays(kept)
    kept.write_bytes(kept.read_bytes()[:500])
    assert f"the raw maps in '{kept}' are unusable: it cannot be read as an .npz file" in refused(results, run)
    write_hits(kept, maps=whole["maps"])
    assert f"the raw maps in '{kept}' are unusable: it holds maps; expected ids and maps" in refused(results, run)
    for name, array in (("ids", whole["ids"][::-1]), ("maps", whole["maps"][1:]), ("maps", whole["maps"][:, 1:])):
        write_hits(kept, **{**whole, name: array})
        assert "that are not those of this run, (16, 16, 16); was it copied?" in refused(results, run)


def test_other_data(copied, make_dataset, monkeypatch):
    results, run = copied
    monkeypatch.setattr("wsolbench.recorded_data.open_places", lambda name, root, options: make_dataset({}))
    assert "give the data of that run with --data-root" in refused(results, run)


def test_a_run_that_is_not_there(copied):
    with pytest.raises(UserError, match="no record below"):
        again(copied[0], "zzz")


def test_the_folder_of_one_dataset_is_not_the_results_folder(copied):
    results, run = copied
    with pytest.raises(UserError, match="give the folder that holds DATASET/records and runs as --results"):
        again(results / "parts", run)
    assert not (results / "parts" / "parts").exists()
