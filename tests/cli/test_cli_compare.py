"""``wsolbench compare`` and ``wsolbench rescore`` as commands, on runs that were really trained."""

import re

import pytest

from wsolbench.records import record_files


@pytest.fixture
def trained(cli, arguments):
    """Train two seeds of two methods and return their run ids."""
    for method in ("cam", "has"):
        for seed in (0, 1):
            done = cli("run", method, "parts", *arguments.tiny, *arguments.fast, "--seed", seed)
            assert done.status == 0, done.err


def test_compare_and_rescore(cli, trained, tmp_path):
    words = ("compare", "cam", "has", "--resamples", "200", "--quiet")
    first = cli(*words)
    assert first.status == 0, first.err
    assert "V2 on parts (fullsup=16, test=16, train=64): 16 test images at 64×64 px" in first.out
    assert "No claim: 2 seeds; at least 5 are needed, so run has and cam with the seeds 2, 3, 4." in first.out
    assert "Against the null row center" in first.out
    paths = record_files(tmp_path / "results")
    for again, count in ((cli("rescore", "--all"), len(paths)), (cli("rescore", paths[0].stem, paths[1]), 2)):
        assert again.status == 0, again.err
        same = re.findall(r"(\d+) of (\d+) numbers are the same to the last bit", again.out)
        assert len(same) == count
        assert all(equal == total for equal, total in same)
        assert "->" not in again.out
        assert f": {paths[0].relative_to(tmp_path)}" in again.out
    assert cli(*words).out == first.out
    kept = next((tmp_path / "results" / "runs").glob("*/test.npz"))
    kept.unlink()
    some = cli("rescore", "--all")
    assert some.status == 2
    assert f"error: the raw maps of run {kept.parent.name} are not in" in some.err
    assert f"error: 1 of {len(paths)} records could not be scored again" in some.err
    assert some.out.count("to the last bit") == len(paths) - 1
    assert cli(*words, "--seed", "1").out != first.out
    part = cli(
        "compare", "cam", "has", "--resamples", "200", "--slice", "boxes_5_50", "--metric", "gt_known", "--quiet"
    )
    assert part.status == 0, part.err
    assert part.out.startswith("GT-known on the slice boxes_5_50 of parts")


def test_refusals_are_one_sentence(refused, tmp_path):
    assert "is no folder" in refused("compare", "cam", "has")
    assert "unknown metric 'gtknown'; did you mean 'gt_known'?" in refused("compare", "a", "b", "--metric", "gtknown")
    assert "is no folder" in refused("rescore", "abc")
    assert "which records?" in refused("rescore")
    assert "which records?" in refused("rescore", "abc", "--all")
    (tmp_path / "results").mkdir()
    assert "there is no usable record below 'results'" in refused("compare", "cam", "has")
