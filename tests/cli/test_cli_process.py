"""The command line in processes of its own: start-up, exit status, and a kill in the middle of an epoch."""

import json
import signal
import time

import pytest

from wsolbench.engine.checkpoint import load_checkpoint

HEAVY = ("torch", "torchvision", "numpy", "pandas", "scipy", "numba", "matplotlib", "PIL", "tabulate")

PLUGIN = '''\
"""HaS with dropout, that kills its process, or spoils its loss, at a step that the environment names."""
import os
import signal

import torch
from torch.nn import functional

from wsolbench.method import Losses
from wsolbench.methods.has import HaS, hide

KILL, SPOIL = (int(os.environ.get(name, 0)) for name in ("KILL_AT", "SPOIL_AT"))


class Fragile(HaS):
    name = "fragile"
    paper = "none"
    steps = 0

    def losses(self, images, labels, draws):
        self.steps += 1
        if self.steps == KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        features = self.network(hide(images, draws["seen"], self.config.cell)).last
        logits = self.network.logits(functional.dropout(features, 0.3, self.training))
        loss = functional.cross_entropy(logits, labels)
        return Losses(terms={"cls": loss * torch.nan if self.steps == SPOIL else loss})
'''


@pytest.fixture
def fragile(tmp_path, arguments):
    """Return the words that run the plugin for three epochs of four steps."""
    (tmp_path / "fragile.py").write_text(PLUGIN)
    words = ["-m", "wsolbench", "run", "fragile", "parts", "--plugin", "fragile.py", *arguments.tiny, *arguments.fast]
    return [*words, "--epochs", "3", "--set", "batch_size=16"]


def found(folder):
    """Return what the one trained record below a folder says, without when and how fast."""
    (record,) = (each for path in folder.rglob("records/*.json") if (each := json.loads(path.read_text()))["trainable"])
    return {name: value for name, value in record.items() if name != "provenance"}


# --- start-up ---------------------------------------------------------------------------------------------------------


def test_help_takes_less_than_half_a_second(process):
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        text = process("-m", "wsolbench", "--help", check=0).stdout
        seconds.append(time.perf_counter() - started)
    for command in ("demo", "run", "evaluate", "leaderboard", "explain", "list"):
        assert f"  {command} " in text
    assert min(seconds) < 0.5, seconds  # the least: other work on the machine only adds


@pytest.mark.parametrize("words", ["--help", "run --help", "evaluate --help", "demo --help", "leaderboard --help"])
def test_help_imports_nothing_heavy(process, words):
    code = (
        "import sys\nsys.argv = ['wsolbench', *sys.argv[1:]]\nfrom wsolbench.cli.main import main\n"
        "try:\n    main()\nfinally:\n    print('IMPORTED', *sys.modules, file=sys.stderr)"
    )
    done = process("-c", code, *words.split(), check=0)
    assert "Usage: wsolbench" in done.stdout
    imported = set(done.stderr.rpartition("IMPORTED ")[2].split())
    assert "wsolbench.cli.run" in imported
    assert imported.isdisjoint(HEAVY)


@pytest.mark.parametrize("kind", ["methods", "backbones", "datasets"])
def test_listing_does_not_import_torch(process, kind):
    code = (
        "import sys\nsys.argv = ['wsolbench', 'list', sys.argv[1]]\nfrom wsolbench.cli.main import main\n"
        "try:\n    main()\nfinally:\n    print('IMPORTED', *sys.modules, file=sys.stderr)"
    )
    imported = process("-c", code, kind, check=0).stderr.split()
    assert "torch" not in imported
    assert not any(name.startswith("wsolbench.methods.") for name in imported)


# --- exit status ------------------------------------------------------------------------------------------------------


def test_exit_status_and_traceback(process, fragile):
    process("-m", "wsolbench", "list", "methods", check=0)
    wrong = process("-m", "wsolbench", "list", "metods", check=2)
    assert wrong.stderr.startswith("error: unknown kind 'metods'; ")
    assert (wrong.stderr.count("\n"), wrong.stdout) == (1, "")
    shown = process("-m", "wsolbench", "list", "metods", "--debug", check=1)  # python's own, which shows the traceback
    assert "Traceback (most recent call last)" in shown.stderr
    assert "UserError: unknown kind 'metods'" in shown.stderr
    failed = process(*fragile, environment={"SPOIL_AT": "6"}, check=1)
    assert failed.stderr == (
        "error: loss term 'cls' was not finite at step 6; lower the learning rate (--set lr=...) "
        "or train in float32 (--precision fp32)\n"
    )
    assert failed.stdout == ""


# --- a kill -----------------------------------------------------------------------------------------------------------


def test_a_run_killed_in_an_epoch_ends_as_if_it_had_not_been(process, fragile, tmp_path):
    whole = process(*fragile, "--results", "whole", check=0)
    killed = process(*fragile, "--results", "parts", environment={"KILL_AT": "7"})  # in the second epoch of four steps
    assert killed.returncode == -signal.SIGKILL
    assert list((tmp_path / "parts").rglob("*.json")) == []
    (checkpoint,) = (tmp_path / "parts").rglob("last.pt")
    assert load_checkpoint(checkpoint)["epoch"] == 1
    # The resumed session has 8 of the 12 steps to go; one that began anew would be killed again.
    resumed = process(*fragile, "--results", "parts", environment={"KILL_AT": "9"}, check=0)
    assert found(tmp_path / "parts") == found(tmp_path / "whole")
    assert len(found(tmp_path / "whole")["history"]) == 3
    assert list((tmp_path / "parts").rglob(".*.tmp")) == []
    names = [done.stdout.splitlines()[-1].rpartition("/")[2] for done in (whole, resumed)]
    assert names[0] == names[1]
