"""Checks on backbones: keys of the trunk, and that a method works on each of them."""

import torch

from wsolbench.backbones.registry import backbone_entry, build_backbone
from wsolbench.conformance.prediction import check_shapes
from wsolbench.conformance.subject import HOME, STRIDE, Subject, total
from wsolbench.conformance.training import moved, restore_elsewhere
from wsolbench.method import Method

SIDE = 64
"""Side of the images, pixels: 4x4 feature maps at a stride of 16."""


def trunk_keys_are_the_backbones(subject: Subject) -> None:
    """The trunk's keys and shapes in the state dict are those of the plain backbone, so pretrained weights load."""
    check_trunk(subject, subject.build(), HOME, STRIDE)


def check_trunk(subject: Subject, method: Method[object], backbone: str, stride: int) -> None:
    """Check that a method left the trunk's parameters and buffers as they were.

    Raises:
        CheckFailure: a key is missing, new, or of another shape.
    """
    plain = {name: value.shape for name, value in build_backbone(backbone, stride).state_dict().items()}
    prefix = "network.backbone."
    state = method.state_dict()
    ours = {name.removeprefix(prefix): value.shape for name, value in state.items() if name.startswith(prefix)}
    changed = sorted(name for name in plain.keys() | ours.keys() if plain.get(name) != ours.get(name))
    if changed:
        seen = f"{len(changed)} keys of {prefix}* are missing, new or of another shape, such as '{changed[0]}'"
        advice = "insert layers with network(images, after={point: layer}) instead of into the trunk"
        raise subject.failure(f"the trunk of {backbone} with its own keys", f"{seen}; {advice}", "__init__")


def works_on(subject: Subject, backbone: str) -> None:
    """On this backbone: a finite loss, shapes, a gradient for every parameter, the trunk's keys, a trip to a file."""
    stride = backbone_entry(backbone).strides[0]
    method = subject.build(backbone, stride=stride)
    images, labels = subject.batch(2, (SIDE, SIDE))
    loss = total(method(images, labels, subject.draw(method, images)))
    if not loss.isfinite():
        raise subject.failure(f"a finite loss on {backbone}", f"a loss of {float(loss.detach())}", "losses")
    loss.backward()  # type: ignore[no-untyped-call]
    moved(subject, method)
    method.zero_grad(set_to_none=True)
    check_shapes(subject, method, images, labels)
    check_trunk(subject, method, backbone, stride)
    with torch.no_grad():
        restore_elsewhere(subject, method, subject.build(backbone, stride=stride, seed=1), n=2, side=SIDE)
