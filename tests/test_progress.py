"""Progress: plain lines where there is no terminal, a bar where there is one."""

import re
from contextlib import suppress
from functools import partial
from io import StringIO

import pytest

from wsolbench import progress as module
from wsolbench.progress import Progress, progress


@pytest.fixture
def clock(monkeypatch):
    """Return a clock that tests set by hand: ``clock[0] = seconds``."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module, "Progress", partial(Progress, _start=100.0, _last=100.0))
    return now


class Terminal(StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """Return a function that puts a terminal where standard error is (pytest would undo it before the test)."""

    def put():
        screen = Terminal()
        monkeypatch.setattr(module.sys, "stderr", screen)
        return screen

    return put


def test_plain_lines_come_seldom(capsys, clock):
    with progress("cam, epoch 1/2", 400) as bar:
        for seconds in (5, 19.9, 20, 30, 45):
            clock[0] = 100 + seconds
            bar.advance(50, "loss 1.234")
    out, err = capsys.readouterr()
    assert out == ""
    # 150 images in 20 s are 7.5/s, rounded to even; 250 left take 33.3 s. 250 in 45 s: 5.6/s, 150 left take 27 s.
    assert err.splitlines() == [
        "cam, epoch 1/2: 150/400 images, 8/s, 0:33 left, loss 1.234",
        "cam, epoch 1/2: 250/400 images, 6/s, 0:27 left, loss 1.234",
    ]


def test_quiet_is_plain_on_a_terminal(clock, terminal):
    screen = terminal()
    with progress("evaluate test", 10, unit="maps", quiet=True) as bar:
        clock[0] += 21
        bar.advance(5)
    assert screen.getvalue() == "evaluate test: 5/10 maps, 0/s, 0:21 left\n"


def test_a_bar_on_a_terminal(clock, terminal):
    screen = terminal()
    with progress("score", 100) as bar:
        clock[0] += 0.1
        bar.advance(10)  # too soon to draw again
        clock[0] += 0.4
        bar.advance(40)
        clock[0] += 0.5
        bar.advance(50)
    err = screen.getvalue()
    assert err.endswith("\n")
    assert err.count("\n") == 1
    drawn = err.strip("\n").split("\r\033[K")
    assert drawn[:2] == ["", "[############............] score: 50/100 images, 100/s, 0:01 left"]
    assert drawn[-1] == "[########################] score: 100/100 images, 100/s, 0:00 left"


def test_an_error_starts_on_a_line_of_its_own(terminal):
    screen = terminal()
    with suppress(KeyError), progress("score", 100) as bar:
        bar.advance(10)
        raise KeyError
    assert screen.getvalue().endswith("\n")


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.25, "0:00"), (0.5, "0:01"), (9, "0:09"), (59.4, "0:59"), (59.5, "1:00"), (3599, "59:59"), (36_061, "10:01:01")],
)
def test_time_left(capsys, clock, seconds, expected):
    with progress("x", 2) as bar:
        bar.seconds_between_lines = 0
        clock[0] += seconds
        bar.advance(1)  # the other one will take as long
    assert re.search(r", ([\d:]+) left", capsys.readouterr().err).group(1) == expected


def test_nothing_done_yet_has_no_time_left(capsys, clock):
    with progress("x", 2) as bar:
        clock[0] += 30
        bar.advance(0, "waiting")
    assert capsys.readouterr().err == "x: 0/2 images, 0/s, ? left, waiting\n"
