"""``wsolbench bench``: real runs in processes of their own, that fail, are killed, and meet each other."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from wsolbench.bench.grid import weakly_supervised
from wsolbench.failures import load_failures
from wsolbench.records import load_records

PLUGIN = '''\
"""CAM that {what}."""
import os
import time

import torch

from wsolbench.methods.cam import CAM


class Own(CAM):
    name = "{name}"

    def losses(self, images, labels, draws):
        {does}
        return super().losses(images, labels, draws)
'''
PLUGINS = {
    "raises": 'raise KeyError("an inner one")',
    "leaves": "os._exit(7)",
    "hungry": "assert len(images) < 16 or self._eat()",
    "slow": "time.sleep(0.05)",
}
HUNGRY = "\n    def _eat(self):\n        raise torch.OutOfMemoryError('too much')\n"


@pytest.fixture
def plugins(tmp_path):
    """Return the options that name the plugins."""
    for name, does in PLUGINS.items():
        text = PLUGIN.format(what=name, name=name, does=does) + (HUNGRY if name == "hungry" else "")
        (tmp_path / f"{name}.py").write_text(text)
    return [word for name in PLUGINS for word in ("--plugin", str(tmp_path / f"{name}.py"))]


@pytest.fixture
def words(arguments, plugins):
    """Return the options of every grid here; the last --epochs counts."""
    return [*arguments.tiny, *(word for word in arguments.fast if word not in ("--backbone", "resnet-tiny")), *plugins]


def trained(results):
    return sorted((r.identity["method"], r.identity["recipe"]["seed"]) for r in load_records(results)[0] if r.trainable)


def test_a_run_that_fails_in_whatever_way_leaves_the_others_alone(cli, words, tmp_path):
    grid = ["bench", "--methods", "raises,leaves,hungry", "--seeds", "4", "--set", "batch_size=16", "--no-probe"]
    done = cli(*grid, *words)
    assert done.status == 1, done.out + done.err
    assert "Traceback" not in done.out + done.err
    assert "3 runs: 3 to run" in done.out
    results = tmp_path / "results"
    (hungry,) = (record for record in load_records(results)[0] if record.trainable)
    failures = {failure.identity["method"]: failure for failure in load_failures(results)[0]}
    assert failures["raises"].error.startswith("the plugin raised KeyError at ")
    assert failures["leaves"].error == "the process left with status 7 before the run was done"
    assert failures["hungry"].error == "a training step ran out of memory with batch_size=16"
    log = (results / failures["raises"].log).read_text()
    assert "KeyError" in log  # with the traceback
    assert "[#" not in log  # and without progress bars
    assert (hungry.identity["method"], hungry.run_id) == ("hungry", failures["hungry"].smaller)
    assert hungry.identity["recipe"]["batch_size"] == 8
    for sign in ("OUT OF MEMORY: hungry", "SMALLER BATCH: hungry", "FAILED: raises", "wsolbench leaderboard results"):
        assert sign in done.out
    again = cli(*grid, "--no-retry", *words)
    assert (again.status, again.err) == (0, "")
    assert "3 runs: 1 done, 2 left out\nnothing to do" in again.out
    assert re.search(r"hungry, batch_size=8 \(16 ran out of memory\) .* 4 ", again.out)


def test_a_finished_run_forgets_its_failure(cli, words, tmp_path, monkeypatch):
    from wsolbench.failures import Failure, write_failure

    run = ["run", "cam", "parts", "--backbone", "resnet-tiny", *words]
    assert cli(*run).status == 0
    (record,) = (record for record in load_records(tmp_path / "results")[0] if record.trainable)
    said = {"error": "e", "command": "c", "device": "d", "finished": "f", "attempts": 1}
    write_failure(Failure(identity=record.identity, **said), tmp_path / "results")
    assert cli(*run, "--no-resume").status == 0
    assert load_failures(tmp_path / "results") == ([], [])


# --- killed, stopped, and two at once ---------------------------------------------------------------------------------


@pytest.fixture
def start(tmp_path, words):
    """Return a function that starts the grid of two slow runs in a process of its own."""
    started = []
    grid = [
        "bench",
        "--methods",
        "slow",
        "--seeds",
        "0,1",
        "--no-probe",
        *words,
        "--epochs",
        "12",
        "--set",
        "batch_size=8",
    ]

    def begin():
        command = [sys.executable, "-m", "wsolbench", *grid]
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield SimpleNamespace(begin=begin, grid=grid)
    for process in started:
        process.kill()
        process.communicate()


def wait_for(condition, seconds=60):
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)
    return found


def children_of(process):
    """Return the ids of a process's children."""
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True, check=False
    )
    return [int(word) for word in listed.stdout.split()]


def lives(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_two_share_a_grid_and_a_third_goes_on_after_ctrl_c_and_a_kill(start, cli, tmp_path):
    results = tmp_path / "results"
    stopped, killed = start.begin(), start.begin()
    checkpoints = wait_for(lambda: len(found := [*results.glob("runs/*/last.pt")]) == 2 and found)
    (one,), (other,) = children_of(stopped), children_of(killed)  # each has a run of its own
    stopped.send_signal(signal.SIGINT)
    killed.kill()
    out, err = stopped.communicate(timeout=60)
    assert (stopped.returncode, err.splitlines()[-1]) == (130, "stopped; the same command goes on from here")
    assert "Traceback" not in out + err
    wait_for(lambda: not lives(one) and not lives(other))
    assert "seed 0: starts" in out + killed.communicate()[0]
    assert trained(results) == []

    third = cli(*start.grid, "--workers", "2")
    assert third.status == 0, third.out + third.err
    assert all(f"seed {seed}: goes on from its last epoch" in third.out for seed in (0, 1))
    assert trained(results) == [("slow", 0), ("slow", 1)]
    assert {len(record.history) for record in load_records(results)[0] if record.trainable} == {12}
    assert load_failures(results) == ([], [])
    assert [*results.glob("runs/*.lock")] == []
    assert not any(checkpoint.exists() for checkpoint in checkpoints)


# --- the command line -------------------------------------------------------------------------------------------------


def test_a_dry_run_says_what_and_how_long_and_writes_nothing(cli, words, tmp_path):
    done = cli("bench", "--methods", "cam", "--seeds", "0,1", "--dry-run", *words)
    assert done.status == 0, done.err
    assert "measuring 1 configuration that" in done.out
    assert re.search(r"cam +resnet-tiny +parts +2 +0 1 +\d:\d\d +measured now", done.out)
    assert re.search(r"2 runs: 2 to run\nabout \d:\d\d, one at a time on ", done.out)
    assert not (tmp_path / "results").exists()


def test_a_recipe_says_what_is_not_the_papers(cli, words):
    options = ["--recipe", "table2", "--datasets", "parts", "--backbones", "resnet-tiny", "--dry-run", "--no-probe"]
    done = cli("bench", *options, *words)
    assert done.status == 0, done.err
    assert "35 runs: 35 to run" in done.out
    assert "not stated by the paper, and so ours:\n- " in done.out
    assert "presets written for resnet50 keep its hyperparameters on resnet-tiny" in done.out
    assert "5 seeds, since it names none" in done.out
    fewer = cli("bench", *options, "--seeds", "0", *words)
    assert "7 runs: 7 to run" in fewer.out
    assert "5 seeds" not in fewer.out


def test_the_commands_of_the_page_are_true(cli):
    page = (Path(__file__).parents[2] / "docs/bench.md").read_text(encoding="utf-8")
    block = page.split("executed, as dry runs, by tests/cli/test_cli_bench.py -->")[1].split("```")[1]
    planned = [
        cli(*shlex.split(line)[1:], "--dry-run", "--no-probe", "--device", "cpu") for line in block.strip().splitlines()
    ]
    assert [done.status for done in planned] == [0] * 4, [done.err for done in planned]
    counts = [int(re.search(r"^(\d+) runs: ", done.out, re.MULTILINE)[1]) for done in planned]
    methods = len(weakly_supervised([]))
    assert counts == [methods * 3, 3 * 5, methods * 2 * 2 * 3, 7]


def test_recipes_are_listed(cli):
    done = cli("list", "recipes")
    assert [line.split()[0] for line in done.out.splitlines()] == [
        "table2",
        "table3",
        "table4",
        "table5",
        "table6",
        "table7",
        "supplement1",
    ]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--methods", "camm"], "unknown method 'camm'; did you mean 'cam'?"),
        (["--methods", ","], "--methods ',' names nothing"),
        (["--seeds", "0,x"], "--seeds x cannot be read"),
        (["--seeds", "-1"], "--seeds -1 cannot be read"),
        (["--datasets", "part"], "unknown dataset 'part'; did you mean 'parts'?"),
        (["--backbones", "vgg"], "unknown backbone 'vgg'"),
        (["--recipe", "table8"], "unknown recipe 'table8'"),
        (["--recipe", "table6", "--tuned"], "--tuned is not for table6"),
        (["--recipe", "table5", "--methods", "has", "--datasets", "cub"], "the recipe has no run of these"),
        (["--workers", "0"], "--workers 0 is out of range"),
        (["--data-root", "x"], "--data-root x is of no use: parts is generated"),
        (["--datasets", "cub,ilsvrc", "--data-root", "x"], "write --data-root DATASET=x"),
        (["--datasets", "cub", "--data-root", "x", "--data-root", "cub=y"], "--data-root was given twice for cub"),
        (["--datasets", "parts,cub", "--data-option", "train=32"], "write --data-option DATASET=train=32"),
        (["--datasets", "parts,cub", "--data-option", "parts=train=32"], "cub needs images.txt"),
        (["--datasets", "cub", "--data-root", "nowhere"], "--data-root nowhere does not exist"),
    ],
)
def test_a_wrong_word_is_refused_before_anything_starts(refused, options, says, tmp_path):
    assert says in refused("bench", "--device", "cpu", *options)
    assert list(tmp_path.iterdir()) == []
