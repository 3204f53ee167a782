"""Named random streams."""

import hashlib

import torch

from wsolbench.engine.seeding import derive_seed, stream

CPU = torch.device("cpu")


def test_the_seed_is_the_start_of_a_sha256():
    digest = hashlib.sha256(b"3/draws/7").digest()
    assert derive_seed(3, "draws", 7) == int.from_bytes(digest[:8], "little") // 2


def test_names_do_not_run_together_and_seeds_fit_int64():
    seeds = [derive_seed(seed, name, epoch) for seed in range(20) for name in ("order", "draws") for epoch in range(20)]
    assert len(set(seeds)) == len(seeds)
    assert derive_seed(1, "1") != derive_seed(11)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_streams_repeat_and_are_independent_of_torchs_own():
    torch.manual_seed(1)
    first = torch.rand(4, generator=stream(CPU, 0, "draws", 2))
    torch.manual_seed(2)
    torch.rand(3)
    assert torch.equal(torch.rand(4, generator=stream(CPU, 0, "draws", 2)), first)
    assert not torch.equal(torch.rand(4, generator=stream(CPU, 0, "draws", 3)), first)
    torch.manual_seed(2)
    expected = torch.rand(3)
    torch.manual_seed(2)
    torch.rand(5, generator=stream(CPU, 0, "draws", 2))
    assert torch.equal(torch.rand(3), expected)
