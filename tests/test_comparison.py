"""From records and their hits to words: who is compared with whom, what may be claimed, and what is refused."""

import dataclasses
import re
import shutil

import numpy as np
import pytest
from record_examples import make_identity, make_null, make_record

from wsolbench.comparison import compare
from wsolbench.comparison_runs import Question
from wsolbench.comparison_words import describe
from wsolbench.errors import UserError
from wsolbench.protocols import BoxHits, SplitScores, score
from wsolbench.record_schema import Tuned
from wsolbench.records import record_path, write_hits, write_record
from wsolbench.scoring import SLICES, score_with_slices
from wsolbench.stored_hits import score_arrays

IMAGES, FULLSUP = 60, 24


def made_up(found, seed):
    """Return a split whose images are found with some probability, by boxes whose best level varies."""
    rng = np.random.default_rng(seed)
    count = IMAGES if found is not None else FULLSUP
    best, width = rng.integers(60, 120, count), rng.integers(30, 90, count)
    near = np.abs(np.arange(256) - best[:, None]) < width[:, None]
    lucky = rng.random((count, 3)) < (0.5 if found is None else found) * np.array([1, 0.8, 0.5])
    hits = BoxHits.from_levels(lucky[:, :, None] & near[:, None], np.full(count, 255, dtype=np.uint8))
    return SplitScores(hits=hits)


def write(results, record, found, seed):
    """Write a record with hits that it agrees with."""
    splits = {"test": made_up(found, seed), "train-fullsup": made_up(None, seed)}
    scores = score(splits["test"], splits["train-fullsup"])
    values = {name: getattr(scores, name) for name in ("metrics", "thresholds", "absent")}
    record = dataclasses.replace(record, **values)
    write_record(record, results)
    write_hits(record_path(record.identity, results).with_suffix(".npz"), **score_arrays(splits))
    return record


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Write five seeds of cam and inca, two of has, and the center row."""
    folder = tmp_path_factory.mktemp("written")
    found = {"cam": 0.6, "inca": 0.95, "has": 0.55}
    for method, probability in found.items():
        for seed in range(2 if method == "has" else 5):
            write(folder, make_record(method, seed), probability, seed)
    write(folder, make_null(), 0.3, 99)
    return folder


@pytest.fixture
def results(written, tmp_path):
    """Return a copy of the records that may be changed."""
    return shutil.copytree(written, tmp_path / "results")


def asked(results, *runs, **changes):
    return Question(runs=runs, results=results, **{"resamples": 400, "quiet": True, **changes})


def told(results, *runs, **changes):
    return describe(compare(asked(results, *runs, **changes)))


def refused(results, *runs, **changes):
    with pytest.raises(UserError) as error:
        compare(asked(results, *runs, **changes))
    assert "\n" not in str(error.value)
    return str(error.value)


def line(text, start):
    return next(each for each in text.splitlines() if each.startswith(f"- {start}"))


# --- claims -----------------------------------------------------------------------------------------------------------


def test_a_claim_in_words(results):
    text = told(results, "cam", "inca")
    said = line(text, "inca")
    number = r"\d+\.\d\d"
    assert re.match(
        rf"- inca is {number} V2 above cam \(95 % interval {number} to {number}, 5 paired seeds, p = 0\.\d+\)\. "
        rf"The smallest difference that could have been detected is {number} V2 \(with a probability of 80 %\)\.$",
        said,
    )
    assert "No claim" not in text
    assert text.startswith("V2 on parts: 60 test images at 64×64 px, protocol version 1; 400 resamples, seed 0\n")


def test_the_numbers_are_those_of_the_statistics(results):
    found = compare(asked(results, "cam", "inca"))
    (verdict,) = found.verdicts
    cam, inca = (np.array([run.value for run in side.runs.values()]) for side in found.sides)
    assert (found.sides[0].name, verdict.side, verdict.against) == ("cam", "inca", "cam")
    assert verdict.difference.mean == pytest.approx((inca - cam).mean())
    assert verdict.difference.seed_sd == pytest.approx((inca - cam).std(ddof=1))
    assert verdict.difference.claimed(verdict.adjusted)
    assert found.ranks == [(2, 2), (1, 1)]
    assert found.images == IMAGES


def test_the_order_of_runs_decides_the_baseline_unless_it_is_named(results):
    first, named = told(results, "inca", "cam"), told(results, "cam", "inca", baseline="inca")
    assert "Against inca:" in first
    assert line(first, "cam").startswith("- cam is ")
    assert " V2 below inca (95 % interval " in line(first, "cam")
    assert not re.search(r"interval -", line(first, "cam"))  # below by a positive number
    crossing = r"- has is \d+\.\d\d V2 below cam \(95 % interval \d+\.\d\d below to \d+\.\d\d above, 2 paired"
    assert re.match(crossing, line(told(results, "cam", "has"), "has"))
    assert line(named, "cam") == line(first, "cam")


def test_a_difference_that_is_none_is_not_claimed(results):
    for seed in range(5):
        write(results, make_record("adl", seed), 0.6, 50 + seed)
    text = told(results, "cam", "adl")
    assert "no difference from cam can be claimed: adl is " in line(text, "no difference")


def test_few_seeds_make_no_claim_and_it_says_what_it_takes(results):
    said = line(told(results, "cam", "has"), "has")
    assert "No claim: 2 seeds; at least 5 are needed, so run has with the seeds 2, 3, 4. " in said
    assert "could have been detected is" in said
    three = told(results, *(f"{record_path(make_identity(m, s), results)}" for m in ("cam", "inca") for s in range(3)))
    assert "No claim: 3 seeds; at least 5 are needed, so run inca and cam with the seeds 3, 4. " in three


def test_holm_counts_every_method_of_the_family(results):
    found = compare(asked(results, "cam", "inca", "has"))
    values = [verdict.difference.p_value for verdict in found.verdicts]
    assert [verdict.family for verdict in found.verdicts] == [2, 2]
    assert found.verdicts[0].adjusted == pytest.approx(2 * min(values))
    assert "after Holm over 2 comparisons" in line(describe(found), "inca")


def test_seeds_are_paired(results):
    for seed in (3, 4, 5, 6, 7):
        write(results, make_record("adl", seed), 0.6, seed)
    found = compare(asked(results, "cam", "adl"))
    assert found.verdicts[0].difference.seeds == 2
    assert dict(found.verdicts[0].missing) == {"adl": [0, 1, 2]}
    assert found.verdicts[0].difference.mean == 0  # hits of seed 3 and 4 are the same
    for seed in (8, 9):
        write(results, make_record("ccam", seed), 0.6, seed)
    assert "have no seed in common" in refused(results, "cam", "ccam")


# --- checkpoints ------------------------------------------------------------------------------------------------------


def test_two_single_runs_are_checkpoints(results):
    runs = [record_path(make_identity(method, 1), results).stem for method in ("cam", "inca")]
    said = line(told(results, *runs), "inca")
    assert re.match(
        r"- inca is \d+\.\d\d V2 above cam \(95 % interval \d+\.\d\d to \d+\.\d\d\) on these images: ", said
    )
    assert "a comparison of two checkpoints, not of methods. No claim: 1 seed; at least 5 are needed, so run" in said
    assert "seeds 0, 2, 3, 4" in said
    assert "The smallest difference between checkpoints that could have been detected is " in said


def test_two_seeds_of_one_method_are_named_by_their_seeds(results):
    runs = [record_path(make_identity("cam", seed), results).stem for seed in (0, 3)]
    text = told(results, *runs)
    assert "cam seed 3 is " in line(text, "cam seed 3")
    assert "two checkpoints, not of methods. The smallest" in line(text, "cam seed 3")
    assert "No claim" not in text
    assert "all 5 runs are of cam and differ in the seed only" in refused(results, "cam")


# --- the null row -----------------------------------------------------------------------------------------------------


def test_every_method_is_held_against_center(results):
    text = told(results, "cam", "has")
    below = text[text.index("Against the null row center") :]
    assert re.match(
        r"- cam is \d+\.\d\d V2 above center \(95 % interval [\d.]+ to [\d.]+, 5 seeds, p = ", line(below, "cam")
    )
    assert "No claim" not in line(below, "cam")
    assert "2 seeds, p = " in line(below, "has")
    assert "run has with the seeds 2, 3, 4." in below


def test_a_method_that_does_not_clear_center_is_not_above_it(results):
    for seed in range(5):
        write(results, make_record("adl", seed), 0.3, 200 + seed)
    text = told(results, "cam", "adl")
    assert "- adl does not clear center by its interval: adl is " in text[text.index("Against the null row") :]


def test_center_can_be_a_side_and_pairs_with_every_seed(results):
    found = compare(asked(results, "center", "cam"))
    assert found.sides[0].fixed
    assert found.verdicts[0].difference.seeds == 5
    assert not found.center
    assert "Not compared with the null row center: it is among the runs above." in describe(found)


def test_the_right_center_is_chosen_of_several(results):
    other = make_null(recipe={"image_size": 224})
    write(results, other, 0.9, 5)
    assert {verdict.against for verdict in compare(asked(results, "cam", "has")).center} == {"center"}
    assert len(compare(asked(results, "cam", "center")).sides) == 2


def test_why_there_is_no_comparison_with_center(results):
    path = record_path(make_null().identity, results)
    path.with_suffix(".npz").unlink()
    assert f"its hits are not beside its record (`wsolbench rescore {path.stem}` writes them)" in told(
        results, "cam", "has"
    )
    path.unlink()
    assert "Not compared with the null row center: no record of it on these images was found." in told(
        results, "cam", "has"
    )


# --- other metrics and slices -----------------------------------------------------------------------------------------


def test_frozen_thresholds_are_resampled_too(results):
    found = compare(asked(results, "cam", "inca", metric="max_box_acc_v2_fullsup"))
    oracle = compare(asked(results, "cam", "inca"))
    assert describe(found).startswith("V2 (fullsup t) on ")
    for frozen, best in zip(found.sides, oracle.sides, strict=True):
        assert all(frozen.runs[seed].bias < best.runs[seed].bias for seed in range(5))


def test_a_metric_without_a_title_is_called_by_its_key(results):
    assert " max_box_acc_v2_iou70 above cam" in told(results, "cam", "inca", metric="max_box_acc_v2_iou70")


def test_a_metric_that_is_absent_is_refused_with_its_reason(results):
    text = refused(results, "cam", "inca", metric="top1_loc")
    assert "(cam) has no top1_loc: no logits: only score maps were given; choose another --metric" in text


def test_a_slice_is_compared_on_its_own_images(tmp_path, make_dataset, monkeypatch):
    small, middle = (0, 0, 9, 9), (0, 0, 49, 49)
    boxes = {"test": [[middle]] * 40 + [[small]] * 20, "train-fullsup": [[middle]] * 20 + [[small]] * 4}
    dataset = make_dataset(boxes)
    annotations = {split: dataset.annotations(split) for split in boxes}
    prints = {split: dataset.fingerprint(split) for split in ("train-weaksup", "train-fullsup", "test")}
    monkeypatch.setattr("wsolbench.recorded_data.open_places", lambda name, places, options: dataset)
    for method, found in (("cam", 0.5), ("inca", 0.8)):
        for seed in range(2):
            record = make_record(method, seed, fingerprints=prints, recipe={"image_size": 20})
            splits = {"test": made_up(found, seed), "train-fullsup": made_up(None, seed)}
            scores, slices = score_with_slices(splits, annotations, 20)
            record = dataclasses.replace(
                record, metrics=scores.metrics, thresholds=scores.thresholds, absent=scores.absent, slices=slices
            )
            write_record(record, tmp_path)
            write_hits(record_path(record.identity, tmp_path).with_suffix(".npz"), **score_arrays(splits))
    (part,) = SLICES
    found = compare(asked(tmp_path, "cam", "inca", part=part, metric="max_box_acc_v2_fullsup"))
    assert found.images == 40
    assert describe(found).startswith(f"V2 (fullsup t) on the slice {part} of parts: 40 test images")
    assert "Tables of this dataset are ranked by all test images (no --slice)." in describe(found)
    hits = record_path(record.identity, tmp_path).with_suffix(".npz")
    write_hits(hits, **score_arrays({split: scores.select(np.arange(5)) for split, scores in splits.items()}))
    assert "they are not of the images that the data have" in refused(tmp_path, "cam", "inca", part=part)
    monkeypatch.setattr("wsolbench.recorded_data.open_places", lambda name, places, options: make_dataset({}))
    assert "has the fingerprint" in refused(tmp_path, "cam", "inca", part=part)


# --- what is not compared ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"dataset": "tiny-imagenet"}, "the dataset is parts for one and tiny-imagenet for the other"),
        ({"dataset_options": {"classes": 4}}, 'the dataset\'s options is {} for one and {"classes":4} for the other'),
        ({"fingerprints": {"test": "d" * 16}}, "the splits' fingerprint is "),
        ({"recipe": {"image_size": 32}}, "the evaluation size is 64 for one and 32 for the other"),
        ({"protocol": "0"}, "the protocol version is 1 for one and 0 for the other"),
    ],
)
def test_runs_on_other_images_are_refused(results, changes, what):
    write(results, make_record("adl", 0, **changes), 0.5, 0)
    text = refused(results, "cam", "adl")
    assert "cannot be compared: " + what in text
    assert "give runs scored on the same images" in text


def test_a_datasets_options_tell_which_runs_are_meant(results):
    for seed in range(2):
        write(results, make_record("cam", seed, dataset_options={"classes": 10}), 0.6, seed)
    assert "the dataset's options is" in refused(results, "cam", "inca")
    found = compare(asked(results, "cam", data_options={"classes": "10"}))
    assert [side.name for side in found.sides] == ["cam seed 0", "cam seed 1"]
    assert "no record below" in refused(results, "cam", "inca", data_options={"classes": "11"})


def test_tuned_runs_are_asked_for_by_name(results):
    tuned = Tuned(study="s", trials=8, trial=1, drawn={"lr": 0.5}, images=44, training_s=1.0)
    for seed in range(5):
        write(results, make_record("cam", seed, recipe={"lr": 0.5}, fields={"tuned": tuned}), 0.6, seed)
    found = compare(asked(results, "cam", "cam tuned"))
    assert [(side.name, len(side.runs)) for side in found.sides] == [("cam", 5), ("cam tuned", 5)]
    assert "they differ in recipe.lr" in describe(found)


def test_other_settings_are_told(results):
    for seed in range(2):
        write(results, make_record("adl", seed, recipe={"epochs": 40}), 0.5, seed)
    assert "Beyond the method they differ in recipe.epochs: 12 for cam, 40 for adl." in told(results, "cam", "adl")


def test_configurations_of_one_method_are_told_apart(results):
    for rate in (0.25, 0.75):
        for seed in range(2):
            write(results, make_record("acol", seed, config={"rate": rate}), rate, seed)
    found = compare(asked(results, "acol"))
    assert {side.name for side in found.sides} == {"acol (rate=0.25)", "acol (rate=0.75)"}
    assert "acol is acol (rate=0.25) and acol (rate=0.75) here" in refused(
        results, "cam", "acol", baseline="acol"
    ).replace("acol (rate=0.75) and acol (rate=0.25)", "acol (rate=0.25) and acol (rate=0.75)")
    full = compare(asked(results, "cam", "acol", baseline="acol (rate=0.75)"))
    assert full.sides[0].name == "acol (rate=0.75)"


def test_hits_that_are_not_the_records_are_refused(results):
    path = record_path(make_identity("cam", 2), results).with_suffix(".npz")
    write_hits(path, **score_arrays({"test": made_up(0.9, 7), "train-fullsup": made_up(None, 7)}))
    text = refused(results, "cam", "inca")
    assert f"the hits beside run {path.stem} give max_box_acc_v2" in text
    assert f"`wsolbench rescore {path.stem}`" in text


@pytest.mark.parametrize("damage", [None, b"", b"nonsense", "truncated", "foreign"])
def test_unusable_hits_are_refused(results, damage):
    path = record_path(make_identity("cam", 2), results).with_suffix(".npz")
    if damage is None:
        path.unlink()
    elif damage == "foreign":
        np.savez(path, other=np.zeros(3))
    else:
        path.write_bytes(path.read_bytes()[:300] if damage == "truncated" else damage)
    text = refused(results, "cam", "inca")
    assert f"the hits of run {path.stem}, '{path}', are unusable: " in text
    assert "rescore" in text


def test_wrong_questions_are_refused(results):
    assert "unknown metric 'v2'" in refused(results, "cam", metric="v2")
    assert "unknown slice 'small'" in refused(results, "cam", part="small")
    assert "--resamples 5 is out of range; expected at least 100" in refused(results, "cam", resamples=5)
    assert "--seed -1 is out of range" in refused(results, "cam", seed=-1)
    assert "unknown baseline 'camm'; did you mean 'cam'?" in refused(results, "cam", "inca", baseline="camm")
    assert refused(results, "cam", "inc").startswith("unknown method or run 'inc'; did you mean 'inca'? Choices: cam")
    assert "begins with 'fade'" in refused(results, "cam", "fade")
    assert "has no pxap: the split has boxes, no masks" in refused(results, "cam", "inca", metric="pxap")
    one = record_path(make_identity("cam", 2), results)
    assert "is fewer than two comparable runs" in refused(results, one.stem, str(one))
    assert "is no folder" in refused(results / "absent", "cam", "inca")
    (results / "empty").mkdir()
    assert "there is no usable record below" in refused(results / "empty", "cam", "inca")


# --- where records lie ------------------------------------------------------------------------------------------------


def test_paths_need_no_results_folder(results, tmp_path):
    paths = [record_path(make_identity(method, 1), results) for method in ("cam", "inca")]
    said = told(tmp_path / "absent", *map(str, paths))
    assert said == told(results, *map(str, paths))
    assert "Against the null row center" in said
    alone = tmp_path / "elsewhere"
    alone.mkdir()
    for path in paths:
        for each in (path, path.with_suffix(".npz")):
            shutil.copy(each, alone)
    assert "inca is " in told(tmp_path / "absent", *(str(alone / path.name) for path in paths))


def test_a_record_that_cannot_be_read_is_named(results):
    path = record_path(make_identity("cam", 4), results)
    path.write_text("{}")
    text = told(results, "cam", "inca")
    assert f"{path.name} was skipped: it is not a wsolbench record" in text
    assert "No claim: 4 seeds; at least 5 are needed, so run cam with the seed 4." in text


def test_methods_that_the_family_leaves_out_are_named(results):
    assert "Also recorded on these images: has. " in told(results, "cam", "inca")
    assert "Also recorded" not in told(results, "cam", "inca", "has")
    runs = [record_path(make_identity(method, 1), results).stem for method in ("cam", "inca")]
    assert "Also recorded" not in told(results, *runs)  # checkpoints are no family
