"""The caches that a run would make: which, how large, and made once."""

from pathlib import Path

import numpy as np
import pytest
from data_examples import made_dataset, made_split

from wsolbench.data import preparing
from wsolbench.data.cache import cached_images
from wsolbench.data.preparing import make_caches, plan_caches
from wsolbench.data.splits import SPLITS
from wsolbench.errors import UserError


def test_training_images_are_a_bit_larger_than_scored_ones(tmp_path):
    parts = plan_caches(made_dataset(), SPLITS, tmp_path / "cache", 64)
    assert [(part.images.name, part.side) for part in parts] == [
        ("train-weaksup", 73),
        ("train-fullsup", 64),
        ("test", 64),
    ]
    assert [part.bytes for part in parts] == [4 * 73 * 73 * 3, 4 * 64 * 64 * 3, 4 * 64 * 64 * 3]
    assert all(part.missing >= part.bytes for part in parts)
    assert not (tmp_path / "cache").exists()  # a plan writes nothing
    assert [part.side for part in plan_caches(made_dataset(), SPLITS, tmp_path)] == [37, 32, 32]


def test_what_is_prepared_is_what_a_run_finds(tmp_path):
    dataset = made_dataset()
    make_caches(plan_caches(dataset, SPLITS, tmp_path), tmp_path, quiet=True)
    assert [part.missing for part in plan_caches(dataset, SPLITS, tmp_path)] == [0, 0, 0]
    for made in dataset.splits.values():
        made.pictures = [UserError("read again")] * 4
    make_caches(plan_caches(dataset, SPLITS, tmp_path), tmp_path, quiet=True)
    pixels = cached_images(dataset.images("test"), 32, tmp_path, quiet=True)
    wanted = np.asarray(made_dataset().images("test").read(2).resize((32, 32), resample=2))
    assert np.array_equal(pixels[2], wanted)


def test_a_split_that_is_there_is_not_made_again(tmp_path):
    dataset = made_dataset()
    make_caches(plan_caches(dataset, ["test"], tmp_path), tmp_path, quiet=True)
    parts = plan_caches(dataset, SPLITS, tmp_path)
    assert [part.missing > 0 for part in parts] == [True, True, False]
    dataset.splits["test"].pictures = [UserError("read again")] * 4
    make_caches(parts, tmp_path, quiet=True)
    assert len(list(tmp_path.glob("*.npy"))) == 3


def test_a_full_disk_is_refused_before_anything_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(preparing, "free_bytes", lambda folder: 1000)
    parts = plan_caches(made_dataset(), SPLITS, tmp_path)
    with pytest.raises(UserError, match=r"need 0.0 MB more, and the disk of .* has 0.0 MB free; free some space"):
        make_caches(parts, tmp_path, quiet=True)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_prepared_is_refused(tmp_path):
    with pytest.raises(UserError, match="--cache none keeps no decoded images"):
        plan_caches(made_dataset(), SPLITS, Path("none"))
    empty = made_dataset()
    empty.splits["test"] = made_split("test", 0)
    with pytest.raises(UserError, match="test of made has no images; expected at least one"):
        plan_caches(empty, SPLITS, tmp_path)
