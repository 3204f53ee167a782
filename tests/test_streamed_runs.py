"""Runs without a cache of decoded images: the same run, the same numbers, one sentence a split, nothing kept."""

from pathlib import Path

import pytest

from wsolbench.experiment import run
from wsolbench.records import read_record


def test_a_run_without_a_cache_is_the_same_run(finished, tiny_request, tmp_path, caches, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(caches.iterdir())
    record = read_record(run(tiny_request(results=tmp_path / "results", cache=Path("none"))))
    assert record.identity == finished.record.identity
    assert record.metrics == finished.record.metrics
    assert record.thresholds == finished.record.thresholds
    assert record.history == finished.record.history
    said = capsys.readouterr().err
    for split, count in (("train-weaksup", 64), ("train-fullsup", 16), ("test", 16)):
        assert said.count(f"decoding the {count} images of {split} each time they are needed") == 1
    assert sorted(caches.iterdir()) == before
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


@pytest.mark.parametrize("cache", ["decoded", "none"])
def test_a_method_that_trains_on_boxes(tiny_request, tmp_path, cache):
    folder = Path("none") if cache == "none" else tmp_path / cache
    record = read_record(run(tiny_request("fsl", results=tmp_path / "results", cache=folder)))
    again = read_record(run(tiny_request("fsl", results=tmp_path / "again")))
    assert record.metrics == again.metrics
    assert record.history == again.history
