"""Loading trunk weights strictly: torchvision's own, or a local file with torchvision's keys."""

import hashlib
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path

import torch
from torch import Tensor
from torchvision import models

from wsolbench.backbones.registry import backbone_entry
from wsolbench.errors import UserError
from wsolbench.network import Network


def weights_identity(source: str, backbone: str) -> str:
    """Return what names the weights in a run's identity, without loading them.

    Args:
        source: ``none``, ``imagenet`` or a path.
        backbone: the backbone's name.

    Returns:
        ``none``, torchvision's name of the weights, or ``sha256:`` and 16 hex digits of the file.

    Raises:
        UserError: no such file, or no such weights for this backbone.
    """
    if source == "none":
        return "none"
    if source == "imagenet":
        return _torchvision_name(backbone)
    path = Path(source)
    if not path.is_file():
        raise UserError(f"--weights {source}: no such file; expected imagenet, none or a file with a state dict")
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def load_weights(network: Network, source: str, backbone: str) -> None:
    """Load trunk weights into a network and note which parameters they provide.

    Keys under the backbone's ``dropped_prefixes`` are left out; any other missing or unexpected key is an error. A
    linear classifier with the right number of classes is kept, as the reference does on ILSVRC.

    Args:
        network: changed in place; its ``pretrained`` is set.
        source: ``none``, ``imagenet`` or a path.
        backbone: the backbone's name.

    Raises:
        UserError: the weights cannot be read or do not fit.
    """
    if source == "none":
        return
    state = _download(backbone) if source == "imagenet" else _read(Path(source))
    dropped = network.backbone.dropped_prefixes
    trunk = {key: value for key, value in state.items() if not key.startswith(dropped)}
    try:
        network.backbone.load_state_dict(trunk, strict=True)
    except RuntimeError as error:
        raise UserError(
            f"--weights {source} does not fit {backbone}: {_misfit(network.backbone.state_dict(), trunk)}; give a file "
            "of this backbone with torchvision's keys, no prefix before them"
        ) from error
    fc = {name: state.get(f"fc.{name}") for name in ("weight", "bias")}
    own = getattr(network.head, "fc", None)
    fits = own is not None and fc["weight"] is not None and fc["weight"].shape == own.weight.shape
    if own is not None and fits and fc["bias"] is not None:
        own.load_state_dict(fc)
    network.pretrained = frozenset(f"backbone.{name}" for name, _ in network.backbone.named_parameters())


def _misfit(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> str:
    """Say which keys of two state dicts differ, with an example of each kind.

    >>> _misfit({"a": torch.ones(2), "b": torch.ones(1), "c": torch.ones(1)}, {"a": torch.ones(3)})
    "Missing: 'b' and 1 more. Other shape: 'a' (3,) instead of (2,)"
    """
    both = [key for key in ours if key in theirs]
    kinds = {
        "Missing": [f"'{key}'" for key in ours if key not in theirs],
        "Unexpected": [f"'{key}'" for key in theirs if key not in ours],
        "Other shape": [
            f"'{key}' {tuple(theirs[key].shape)} instead of {tuple(ours[key].shape)}"
            for key in both
            if theirs[key].shape != ours[key].shape
        ],
    }
    texts = {kind: keys[0] + (f" and {len(keys) - 1} more" if keys[1:] else "") for kind, keys in kinds.items() if keys}
    return ". ".join(f"{kind}: {text}" for kind, text in texts.items())


def _torchvision_name(backbone: str) -> str:
    """Return torchvision's name of the backbone's weights, such as ``ResNet50_Weights.IMAGENET1K_V1``."""
    weights = backbone_entry(backbone).weights
    if not weights:
        raise UserError(f"there are no imagenet weights for {backbone}; use --weights none or --weights FILE")
    return weights


def _download(backbone: str) -> Mapping[str, Tensor]:
    """Fetch torchvision's weights, or take them from its cache; never running code from them."""
    enum, _, member = _torchvision_name(backbone).partition(".")
    weights = getattr(models, enum)[member]
    try:
        state: Mapping[str, Tensor] = weights.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except (OSError, HTTPException, RuntimeError) as error:  # no network, cut off, or a wrong hash
        raise UserError(
            f"the imagenet weights of {backbone} could not be downloaded ({error}); "
            "download them elsewhere and pass --weights FILE, or train from scratch with --weights none"
        ) from error
    return state


def _read(path: Path) -> Mapping[str, Tensor]:
    """Read a state dict from a .pth/.pt or .safetensors file, never running code from it."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: object = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"--weights {path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # damaged bytes make the readers raise nearly anything
        raise UserError(
            f"--weights {path} cannot be read as a state dict ({type(error).__name__}): it is damaged or holds more "
            "than tensors; expected a .pth or .safetensors file with tensors by name"
        ) from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise UserError(f"--weights {path} does not hold a state dict (names to tensors)")
    return state
