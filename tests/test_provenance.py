"""Where a record comes from."""

import pytest

from wsolbench.provenance import Clock, join_sessions


@pytest.mark.parametrize(
    ("sessions", "dirty"),
    [
        ([("a", False)], False),
        ([("a", True)], True),
        ([("a", False), ("a", False)], False),
        ([("a", False), ("b", False)], True),  # numbers of two commits are of neither
        ([("a", True), ("a", False)], True),
        ([(None, None)], None),
    ],
)
def test_a_run_is_clean_if_every_session_had_the_same_clean_code(tmp_path, sessions, dirty):
    for number, code in enumerate(sessions):
        clock = join_sessions(tmp_path / "runs" / "sessions.log", Clock(code=code), resumed=number > 0)
    assert clock.code == (sessions[-1][0], dirty)


def test_starting_over_forgets_earlier_sessions(tmp_path):
    join_sessions(tmp_path / "sessions.log", Clock(code=("a", True)), resumed=False)
    assert join_sessions(tmp_path / "sessions.log", Clock(code=("b", False)), resumed=False).code == ("b", False)
