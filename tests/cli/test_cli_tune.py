"""``wsolbench tune``, and ``run --config`` with what it chose."""

import json
import shlex
from dataclasses import replace

import pytest

from wsolbench.records import load_records

TUNE = ["--backbone", "resnet-tiny", "--epochs", "1", "--precision", "fp32", "--device", "cpu", "--quiet"]


@pytest.fixture
def words(arguments):
    """Return the words that tune cam in trials of a second."""
    return ["tune", "cam", "parts", *arguments.tiny, *TUNE]


def test_tune_chooses_and_run_trains_the_choice_with_a_fresh_seed(cli, words, tmp_path):
    done = cli(*words, "--trials", "2")
    assert done.status == 0, done.err
    lines = done.out.splitlines()
    folder = tmp_path / "results" / "parts" / "tuning"
    (study,) = folder.iterdir()
    assert lines[0] == f"study {study.name}, 2 trials in {study.relative_to(tmp_path)}"
    assert lines[-1] == f"choice: {(study / 'choice.json').relative_to(tmp_path)}"
    assert any(line.startswith("Chosen: trial ") for line in lines)
    assert {path.name for path in study.iterdir()} == {
        *("0.json", "0.npz", "1.json", "1.npz", "choice.json", "choice.md"),
    }
    choice = json.loads((study / "choice.json").read_text())
    drawn = choice["chosen"]["drawn"]
    ran = cli("run", "cam", "parts", "--config", study / "choice.json", "--device", "cpu", "--quiet")
    assert ran.status == 0, ran.err
    (record,) = (each for each in load_records(tmp_path / "results")[0] if each.trainable)
    recipe = record.identity["recipe"]
    assert (recipe["lr"], recipe["feature_map"], recipe["epochs"]) == (drawn["lr"], drawn["feature_map"], 1)
    assert recipe["seed"] == 0 != choice["chosen"]["seed"]
    assert record.images["train-weaksup"] == 64
    assert "--config" not in record.provenance.command  # the command needs no file
    again = cli(*shlex.split(record.provenance.command)[1:], "--device", "cpu", "--quiet")
    assert again.out.splitlines()[-1] == ran.out.splitlines()[-1]
    (study / "choice.json").write_text(json.dumps({**choice, "trials": 9}))  # more trials that change nothing
    assert cli("run", "cam", "parts", "--config", study / "choice.json", "--device", "cpu", "--quiet").status == 0
    (credited,) = (each for each in load_records(tmp_path / "results")[0] if each.trainable)
    assert credited == replace(record, tuned=replace(record.tuned, trials=9))


def test_a_job_array_needs_no_ledger(cli, words, tmp_path):
    for trial, expected in ((1, "1 of 2 trials are not done yet; the last one makes the choice"), (0, None)):
        done = cli(*words, "--trials", "2", "--trial", trial)
        assert done.status == 0, done.err
        last = done.out.splitlines()[-1]
        assert last == expected or (expected is None and last.startswith("choice: "))
    assert not list(tmp_path.rglob("ledger.db"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--trials", "0"], "error: --trials 0 is out of range"),
        (["--set", "lr=0.1"], "error: --set lr is not taken by tune"),
        (["--storage", "journal.log"], "error: --storage is no URL of a database; expected sqlite:///FILE"),
        (["--trial", "3", "--trials", "3"], "error: --trial 3 is out of range; expected 0 to 2"),
    ],
)
def test_refusals(refused, words, options, message):
    assert refused(*words, *options).startswith(message)


def test_a_missing_choice_is_refused(refused):
    sentence = refused("run", "cam", "parts", "--config", "none.json")
    assert sentence.startswith("error: --config none.json cannot be used: No such file or directory; expected a choice")
