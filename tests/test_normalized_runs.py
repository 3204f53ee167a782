"""Runs whose score maps are normalised otherwise: scored from raw maps, percentile recorded, tables apart."""

import json

import numpy as np
import pytest

from wsolbench.data.registry import open_dataset
from wsolbench.engine.infer import Inference
from wsolbench.experiment import make_plan, run
from wsolbench.leaderboard.explain import explain
from wsolbench.leaderboard.model import build
from wsolbench.leaderboard.sections import title
from wsolbench.null_rows import write_null_rows
from wsolbench.outcome import score_outputs
from wsolbench.protocols import PERCENTILES, Normalization, SplitScores, score
from wsolbench.record_schema import Record
from wsolbench.records import load_records, read_record
from wsolbench.scoring import choose_normalization, in_parts, ranks_where_finite, score_raw_maps


def kept_outputs(results, record):
    """Return what a run keeps of each split."""
    found, marks = {}, np.zeros(16, dtype=bool)
    for split in ("train-fullsup", "test"):
        with np.load(results / "runs" / record.run_id / f"{split}.npz") as kept:
            logits, maps = kept["logits"], kept["maps"]
        found[split] = Inference(logits=logits, raw_maps=maps, constant=marks, invalid=marks)
    return found


@pytest.fixture(scope="module")
def normalized(tmp_path_factory, tiny_request):
    """Return a finished run whose maps are normalised by ivr: results, record, outputs by split."""
    results = tmp_path_factory.mktemp("normalized") / "results"
    record = read_record(run(tiny_request(recipe={"epochs": 1, "normalization": "ivr"}, results=results)))
    return results, record, kept_outputs(results, record)


def test_the_percentile_is_chosen_on_train_fullsup_and_recorded(normalized, tiny_request):
    _, record, outputs = normalized
    assert record.identity["recipe"]["normalization"] == "ivr"
    division = make_plan(tiny_request()).division
    boxes = division.annotations("train-fullsup")
    values = {}
    for percentile in PERCENTILES["ivr"]:
        normalization = Normalization(name="ivr", percentile=percentile)
        hits = score_raw_maps(outputs["train-fullsup"].raw_maps, boxes, 64, normalization).hits
        values[percentile] = score(SplitScores(hits=hits), None).metrics["max_box_acc_v2"]
    assert record.percentile == min(q for q, value in values.items() if value == max(values.values()))
    scored = score_outputs(outputs, division, 64, "ivr")
    again = score(scored["test"].scores, scored["train-fullsup"].scores)
    assert again.metrics == record.metrics
    assert again.thresholds == record.thresholds
    assert scored["test"].normalization == Normalization(name="ivr", percentile=record.percentile)


def test_null_rows_are_normalised_alike_and_stand_in_its_table_only(normalized, finished):
    results, record, _ = normalized
    records, warnings = load_records(results)
    assert not warnings
    nulls = [each for each in records if not each.trainable]
    assert {each.identity["method"] for each in nulls} == {"center", "full-image", "ceiling"}
    assert {each.identity["recipe"]["normalization"] for each in nulls} == {"ivr"}
    assert all(each.percentile in PERCENTILES["ivr"] for each in nulls)
    assert "normalization=ivr" in title(build(records).tables[0].section)
    assert f"percentile {record.percentile}, chosen on train-fullsup" in explain(record)
    other, _ = load_records(finished.request.results)
    tables = build([*records, *other]).tables
    assert len(tables) == 2
    for table in tables:
        records = [each for row in (*table.rows, *table.nulls) for each in row.records]
        assert len({each.identity["recipe"]["normalization"] for each in records}) == 1
        assert len(table.nulls) == 3
        assert "normalization" in table.section.differences


def test_the_full_image_is_the_same_by_any_normalisation(tmp_path):
    dataset = open_dataset("parts", None, {"train": "8", "fullsup": "6", "test": "6"})
    found = {}
    for name in ("min-max", "max", "pas", "ivr"):
        paths = write_null_rows(dataset, 32, (4, 4), tmp_path, "x", ("a" * 40, False), name)
        found[name] = {each.identity["method"]: each for each in map(read_record, paths)}
    for name in ("max", "pas", "ivr"):
        assert found[name]["full-image"].metrics == found["min-max"]["full-image"].metrics
        assert (found[name]["full-image"].percentile is None) == (name == "max")
    assert found["ivr"]["ceiling"].run_id != found["min-max"]["ceiling"].run_id


def test_a_record_without_a_percentile_is_an_old_record(finished, normalized):
    text = finished.path.read_text()
    assert "percentile" not in json.loads(text)
    assert Record.from_json(text).percentile is None
    assert Record.from_json(text).to_json() == text
    body = json.loads(normalized[1].to_json())
    assert body["percentile"] == normalized[1].percentile
    for wrong in (101, -1, "five", True):
        with pytest.raises(ValueError, match=r"'percentile' is .*, expected a percentile, 0 to 100 or null"):
            Record.from_json(json.dumps({**body, "percentile": wrong}))


def test_raw_maps_are_scored_in_parts_of_any_number(make_dataset):
    rng = np.random.default_rng(0)
    annotations = make_dataset({"train-fullsup": [[(10, 10, 60, 70)]] * 130}).annotations("train-fullsup")
    raw = rng.standard_normal((130, 4, 4))
    raw[3], raw[100, 0, 0] = 1, np.nan
    done = []
    scored = score_raw_maps(raw, annotations, 16, advance=done.append)
    assert sum(done) == 130
    assert len(done) > 1
    assert np.flatnonzero(scored.constant).tolist() == [3]
    assert np.flatnonzero(scored.invalid).tolist() == [100]
    alone = score_raw_maps(list(raw[90:]), annotations.select(np.arange(90, 130)), 16, threads=2)
    np.testing.assert_array_equal(alone.hits.packed, scored.hits.packed[90:])
    np.testing.assert_array_equal(alone.hits.largest, scored.hits.largest[90:])
    assert choose_normalization("max", in_parts(raw), annotations, 16) == Normalization(name="max")


def test_images_without_finite_logits_are_wrong_at_every_k():
    logits = np.array([[3.0, 1, 2], [np.nan, 9, 9], [np.inf, 0, 0]])
    ranks, finite = ranks_where_finite(logits, np.array([2, 1, 0]))
    assert ranks.tolist() == [1, 3, 3]
    assert finite.tolist() == [True, False, False]


def test_min_max_of_kept_outputs_is_what_the_run_recorded(finished):
    division = make_plan(finished.request).division
    scored = score_outputs(kept_outputs(finished.request.results, finished.record), division, 64, "min-max")
    assert score(scored["test"].scores, scored["train-fullsup"].scores).metrics == finished.record.metrics
    assert scored["test"].normalization == Normalization()
