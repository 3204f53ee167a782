"""Where randomness comes from: every stream has a name, and its seed follows from the run's seed and that name.

Streams start anew each epoch, so a resumed run needs no generator states to equal an uninterrupted one.
"""

import hashlib

import torch


def derive_seed(seed: int, *names: str | int) -> int:
    """Return the seed of a named stream, in [0, 2**63).

    >>> derive_seed(0, "order", 1) == derive_seed(0, "order", 1) != derive_seed(0, "order", 2)
    True
    """
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def stream(device: torch.device, seed: int, *names: str | int) -> torch.Generator:
    """Return a generator on a device for a named stream."""
    return torch.Generator(device=device).manual_seed(derive_seed(seed, *names))
