"""Estimates of time: from records of the same kind of run, and refined by runs that finish."""

import pytest
from record_examples import make_provenance, make_record

from wsolbench.bench.estimate import AROUND_S, START_S, Paces, Remaining, makespan, training_images
from wsolbench.bench.grid import Cell
from wsolbench.bench.recipes import GridRow
from wsolbench.request import Request

RECIPE = {"backbone": "resnet-tiny", "feature_map": 8, "precision": "fp32", "batch_size": 32, "epochs": 10}
IMAGES = {"train-weaksup": 330, "train-fullsup": 20, "test": 80}


def record(method="cam", rate=100.0, wall=52.0, device="cpu, 2 threads", seed=0, config=None, **recipe):
    """Return a record of a run on IMAGES, of which by default 32 s are training and 20 s are not."""
    origin = make_provenance(device=device, train_images_per_s=rate, wall_s=wall)
    fields = {"images": IMAGES, "provenance": origin}
    return make_record(method, seed, fields=fields, recipe={**RECIPE, **recipe}, config=config or {})


def cell(method="cam", seed=0, images=IMAGES, config=None, **recipe):
    identity = record(method, seed=seed, config=config, **recipe).identity
    return Cell(
        row=GridRow(method=method), request=Request(method=method, dataset="parts"), identity=identity, images=images
    )


def paces(*records):
    return Paces(records, "cpu, 2 threads")


def test_an_epoch_is_full_batches():
    assert training_images(cell().identity, IMAGES) == 10 * 320


def test_a_twin_takes_as_long_as_its_record():
    assert paces(record()).seconds(cell(seed=5)) == pytest.approx(START_S + 52)


def test_rates_carry_over_to_other_numbers_of_images_and_epochs():
    twice = {"train-weaksup": 660, "train-fullsup": 40, "test": 160}
    assert paces(record()).seconds(cell(images=twice)) == pytest.approx(START_S + 64 + 40)
    assert paces(record()).seconds(cell(epochs=5)) == pytest.approx(START_S + 16 + 20)


def test_the_middle_of_several_records_counts():
    known = paces(record(rate=100, wall=52), record(rate=50, wall=84, seed=1), record(rate=1, wall=3220, seed=2))
    assert known.seconds(cell(seed=3)) == pytest.approx(START_S + 64 + 20)
    assert known.pace(cell().identity).source == "3 records"


@pytest.mark.parametrize(
    "other",
    [
        {"device": "cpu, 1 threads"},
        {"method": "has"},
        {"batch_size": 16},
        {"feature_map": 4},
        {"precision": "bf16"},
        {"rate": None},
    ],
)
def test_records_of_other_kinds_say_nothing(other):
    assert paces(record(**other)).seconds(cell()) is None


def test_other_settings_of_a_method_stand_in_until_its_own_are_known():
    known = paces(record(config={"drop_rate": 0.5}))
    assert known.pace(cell().identity).source == "1 record of other settings"
    known.probed(cell().identity, 10.0, 1.0)
    assert known.pace(cell().identity).source == "measured now"
    exact = paces(record(config={"drop_rate": 0.5}), record(rate=50, wall=84))
    assert exact.pace(cell().identity).source == "1 record"


def test_a_resumed_run_tells_its_rate_but_not_the_rest():
    resumed = record(wall=3)
    assert paces(resumed).seconds(cell()) == pytest.approx(START_S + 32)
    assert paces(resumed, record(seed=1)).seconds(cell()) == pytest.approx(START_S + 52)


def test_records_without_a_recipe_are_no_help_and_no_harm():
    assert paces(make_record(fields={"provenance": make_provenance(train_images_per_s=9.0)})).seconds(cell()) is None


def test_a_probe_is_what_is_left():
    known = paces()
    known.probed(cell().identity, 64.0, 0.5)
    known.start_s = 1.0
    assert known.seconds(cell(seed=9)) == pytest.approx(1 + AROUND_S + 50 + 50)
    assert known.pace(cell().identity).source == "measured now"


def test_finished_runs_correct_the_others_and_stand_for_their_twins():
    known = paces(record(), record("has"))
    left = Remaining(known, workers=1)
    expected = START_S + 52
    assert left.left([cell(), cell("has")], []) == pytest.approx(2 * expected)
    left.finished(cell(), 2 * expected)
    assert left.expected(cell(seed=1)) == pytest.approx(2 * expected)
    assert left.expected(cell("has")) == pytest.approx(2 * expected)
    left.finished(cell("has"), 10)
    assert left.expected(cell("has", seed=1)) == 10
    assert left.left([cell("has", seed=1)], [(cell("has", seed=2), 4.0)]) == pytest.approx(16)
    assert left.left([], [(cell("has", seed=2), 400.0)]) == 0  # late already


def test_one_unknown_run_makes_the_rest_unknown_until_its_twin_is_done():
    left = Remaining(paces(record()), workers=1)
    assert left.left([cell(), cell("spg")], []) is None
    left.finished(cell("spg"), 30)
    assert left.left([cell("spg", seed=1)], []) == 30


@pytest.mark.parametrize(("workers", "seconds"), [(1, 12), (2, 8), (3, 7), (9, 5)])
def test_workers_take_the_next_run_when_they_are_free(workers, seconds):
    assert makespan([3, 2, 2, 5], workers) == seconds


def test_nothing_takes_no_time():
    assert makespan([], 3) == 0
