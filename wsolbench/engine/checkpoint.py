"""Checkpoints: one file, written atomically, tensors and plain values only, never loaded as code."""

from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from wsolbench.errors import UserError
from wsolbench.files import atomic_write

FORMAT = 1
"""Raised when the content of a checkpoint changes its meaning."""


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint; a crash leaves the previous one.

    Args:
        path: the file.
        state: tensors, numbers, strings, lists and dicts of them.
    """
    buffer = BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    atomic_write(path, buffer.getvalue())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises:
        UserError: it is damaged, or of another format.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what torch raises for damaged bytes depends on where the damage lies
        raise UserError(f"the checkpoint {path} cannot be read; delete it or use --no-resume to start over") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise UserError(f"the checkpoint {path} is not of format {FORMAT}; delete it or use --no-resume to start over")
    return state
