"""Lock files: one holder at a time, and nothing left of one that was killed."""

import signal
import subprocess
import sys

import pytest

from wsolbench.locks import HeldError, hold, holder, run_lock

HOLD = """
import sys
from pathlib import Path
from wsolbench.locks import hold
with hold(Path(sys.argv[1]), "it"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def held(tmp_path):
    """Return a lock that another process holds, and that process."""
    path = run_lock("abc", tmp_path)
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        assert process.stdout.readline() == b"held\n"
        yield path, process
        process.kill()


def test_a_lock_is_for_one_and_says_whose_it_is(held):
    path, process = held
    assert holder(path).startswith(f"process {process.pid} on ")
    says = rf"run abc is held by another process \(process {process.pid} on .*; wait"
    with pytest.raises(HeldError, match=says), hold(path, "run abc"):
        raise AssertionError
    assert holder(path)  # looking and trying took nothing away


def test_a_killed_holder_locks_nothing(held):
    path, process = held
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert path.is_file()
    assert holder(path) == ""
    with hold(path, "it"):
        assert holder(path)
    assert not path.exists()


def test_a_lock_leaves_nothing_behind_also_after_an_error(tmp_path):
    path = tmp_path / "runs" / "a.lock"
    with pytest.raises(ZeroDivisionError), hold(path, "it"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    assert holder(path) == ""


def test_the_folder_stays_if_something_is_in_it(tmp_path):
    with hold(tmp_path / "runs" / "a.lock", "it"):
        (tmp_path / "runs" / "b").touch()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["b"]


def test_where_there_are_no_locks_nobody_is_kept_out(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError("no locks here")

    monkeypatch.setattr("wsolbench.locks.fcntl.flock", refuse)
    with hold(tmp_path / "a.lock", "it"):
        assert holder(tmp_path / "a.lock") == ""
        with hold(tmp_path / "a.lock", "it"):
            pass
