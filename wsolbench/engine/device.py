"""Which device runs, in which arithmetic, and how deterministically."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from wsolbench.errors import UserError


def resolve_device(name: str) -> torch.device:
    """Return the device for ``auto`` (CUDA if there is one), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        UserError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"--device {name} is not a device; expected auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"--device {name} is not supported; expected auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"--device {name}: this machine has {torch.cuda.device_count()} CUDA devices; use --device cpu")
    return device


def resolve_precision(name: str, device: torch.device) -> str:
    """Return ``bf16`` or ``fp32``; ``auto`` takes bf16 where the hardware multiplies it natively.

    Raises:
        UserError: not one of the three.
    """
    if name not in ("auto", "bf16", "fp32"):
        raise UserError(f"--precision {name} is not allowed; expected auto, bf16 or fp32")
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp32"
    flags: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # newer than the oldest torch we support
    return "bf16" if flags.get("avx512_bf16") or flags.get("amx_bf16") else "fp32"


def device_name(device: torch.device) -> str:
    """Return what the device is, in words, for a record."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_cpu_model()}, {torch.get_num_threads()} threads"


def _cpu_model() -> str:
    """Return the processor's name as the system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def reset_peak_memory(device: torch.device) -> None:
    """Begin a new measurement of the peak memory, where the system allows it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif Path("/proc/self/clear_refs").exists():
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # 5: the peak of the resident set becomes its present size


def peak_memory_mb(device: torch.device) -> float | None:
    """Return the peak memory in MiB since :func:`reset_peak_memory`: of the device, or of the process on a CPU.

    None where the system does not tell.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), None)


@contextmanager
def determinism(wanted: bool) -> Iterator[None]:
    """Refuse operations without a deterministic implementation while inside, if wanted."""
    before = torch.are_deterministic_algorithms_enabled()
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


@contextmanager
def full_precision() -> Iterator[None]:
    """Compute float32 in float32 while inside: TF32 off, as the scoring forward requires (PROTOCOL)."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
