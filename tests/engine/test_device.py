"""Devices, precisions and settings that must be put back."""

import mmap
import os
from contextlib import suppress

import pytest
import torch

from wsolbench.engine.device import (
    determinism,
    device_name,
    full_precision,
    peak_memory_mb,
    reset_peak_memory,
    resolve_device,
    resolve_precision,
)
from wsolbench.errors import UserError

CPU = torch.device("cpu")


def test_auto_is_cuda_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == torch.device("cuda")
    assert resolve_device("cpu") == CPU


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gpu", "--device gpu is not a device; expected auto, cpu, cuda or cuda:N"),
        ("", "expected auto, cpu, cuda or cuda:N"),
        ("cuda:x", "--device cuda:x is not a device"),
        ("meta", "--device meta is not supported"),
        ("cuda:99", "--device cuda:99: this machine has .* CUDA devices; use --device cpu"),
    ],
)
def test_devices_that_are_not_there(name, message):
    with pytest.raises(UserError, match=message) as caught:
        resolve_device(name)
    assert "\n" not in str(caught.value)


def test_precision(monkeypatch):
    assert resolve_precision("bf16", CPU) == "bf16"
    assert resolve_precision("fp32", CPU) == "fp32"
    for flags, expected in (({"avx512_bf16": True}, "bf16"), ({"amx_bf16": True}, "bf16"), ({"avx2": True}, "fp32")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda flags=flags: flags, raising=False)
        assert resolve_precision("auto", CPU) == expected
    for capability, expected in (((9, 0), "bf16"), ((8, 0), "bf16"), ((7, 5), "fp32")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, found=capability: found)
        assert resolve_precision("auto", torch.device("cuda")) == expected
    with pytest.raises(UserError, match="--precision fp16 is not allowed; expected auto, bf16 or fp32"):
        resolve_precision("fp16", CPU)


def test_full_precision_is_put_back_after_an_error():
    torch.set_float32_matmul_precision("medium")
    allowed = torch.backends.cudnn.allow_tf32
    try:
        with suppress(KeyError), full_precision():
            assert torch.get_float32_matmul_precision() == "highest"
            assert not torch.backends.cudnn.allow_tf32
            raise KeyError
        assert torch.get_float32_matmul_precision() == "medium"
        assert torch.backends.cudnn.allow_tf32 == allowed
    finally:
        torch.set_float32_matmul_precision("highest")


def test_determinism_is_put_back_after_an_error(monkeypatch):
    monkeypatch.setitem(os.environ, "CUBLAS_WORKSPACE_CONFIG", ":16:8")
    with suppress(KeyError), determinism(True):
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"  # the user's choice stays
        raise KeyError
    assert not torch.are_deterministic_algorithms_enabled()
    with determinism(False):
        assert not torch.are_deterministic_algorithms_enabled()


def test_words_and_memory_of_this_machine():
    assert device_name(CPU).endswith(f", {torch.get_num_threads()} threads")
    assert 20 < peak_memory_mb(CPU) < 1_000_000  # MiB: this process has imported torch


def test_peak_memory_begins_anew():
    cpu = torch.device("cpu")
    reset_peak_memory(cpu)
    before = peak_memory_mb(cpu)
    if before is None:
        pytest.skip("this system does not tell the peak memory")
    # Pages of its own: a tensor may get some that the allocator kept resident from an earlier test.
    with mmap.mmap(-1, 256 * 2**20) as block:
        block.write(b"1" * len(block))
    assert peak_memory_mb(cpu) >= before + 200
    reset_peak_memory(cpu)
    assert peak_memory_mb(cpu) < before + 200
