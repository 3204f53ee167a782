"""The method under test: building it as the engine does, its batches, and where in its file to look."""

import inspect
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from wsolbench.backbones.registry import backbone_entry, build_backbone
from wsolbench.method import Draws, Losses, Method, Prediction
from wsolbench.network import build_network

SIZE = (32, 32)
CLASSES = 3
HOME = "resnet-tiny"
STRIDE = 4
"""Nearly every check runs on this backbone and stride, with images of this size: 8x8 feature maps."""


class CheckFailure(AssertionError):
    """A method does not do what a check asks for.

    Attributes:
        expected: what the check asked for, one sentence.
        seen: what the method did instead.
        where: file, line and function to look at.
    """

    def __init__(self, expected: str, seen: str, where: str) -> None:
        super().__init__(f"expected: {expected}\nseen: {seen}\nlook at: {where}")
        self.expected = expected
        self.seen = seen
        self.where = where


@dataclass(frozen=True)
class Subject:
    """A method's class, and what the checks do with it again and again.

    Attributes:
        kind: the class.
    """

    kind: type[Method[Any]]

    def build(
        self,
        backbone: str = HOME,
        *,
        classes: int = CLASSES,
        seed: int = 0,
        stride: int = STRIDE,
        config: object | None = None,
    ) -> Method[Any]:
        """Build the method as the engine does: seeded, channels last in memory.

        Args:
            backbone: name as on the command line.
            classes: number of classes K.
            seed: of torch's own stream.
            stride: feature-map stride; the coarsest if the backbone does not offer it.
            config: the method's configuration; None: its defaults for the backbone.
        """
        strides = backbone_entry(backbone).strides
        torch.manual_seed(seed)
        network = build_network(build_backbone(backbone, stride if stride in strides else strides[0]), classes)
        method = self.kind(network, self.kind.defaults(backbone) if config is None else config)
        return method.to(memory_format=torch.channels_last)

    def batch(
        self, n: int = 4, size: tuple[int, int] = SIZE, classes: int = CLASSES, seed: int = 1
    ) -> tuple[Tensor, Tensor]:
        """Make images (n, 3, H, W) of noise, as normalised images are spread, and labels (n,).

        A method that trains with masks gets them as a fourth channel: a rectangle of ones.
        """
        generator = torch.Generator().manual_seed(seed)
        images = torch.randn(n, 3, *size, generator=generator)
        labels = torch.randint(classes, (n,), generator=generator)
        mask = torch.zeros(n, *size, dtype=torch.bool)
        mask[:, size[0] // 4 : size[0] // 2, size[1] // 4 :] = True
        return self.with_masks(images, mask), labels

    def with_masks(self, images: Tensor, masks: Tensor) -> Tensor:
        """Return what the method trains on: the images (n, 3, H, W), with masks (n, H, W) if it asks for them."""
        if self.kind.supervision == "masks":
            images = torch.cat([images, masks[:, None].to(images.dtype)], dim=1)
        return images.contiguous(memory_format=torch.channels_last)

    def draw(self, method: Method[Any], images: Tensor, seed: int = 0) -> Draws:
        """Draw one step's randomness for a batch."""
        height, width = images.shape[2:]
        return method.draw(len(images), (height, width), torch.Generator().manual_seed(seed))

    def failure(self, expected: str, seen: str, part: str) -> CheckFailure:
        """Build the error of a check that failed.

        Args:
            expected: one sentence.
            seen: one sentence.
            part: the method's attribute to look at, such as ``losses``.
        """
        return CheckFailure(expected, seen, self.where(part))

    def crash(self, expected: str, error: BaseException) -> CheckFailure:
        """Build the error of a check in which an exception was raised; the line in the method's own file is named."""
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if frame.filename == self.file]
        last = (own or frames)[-1]
        where = f"{last.filename}:{last.lineno}, in {last.name}: {last.line}"
        if self.file and not own:
            where = f"{self.file}, {self.kind.__name__}; raised at {where}"
        return CheckFailure(expected, f"{type(error).__name__}: {headline(error)}", where)

    def wrong_return(self) -> CheckFailure | None:
        """Return the error of a part that gives something of another kind, which shows later and elsewhere.

        Asked only once something was raised; None if every part gives what it should, or raises itself.
        """
        wanted = {
            "draw": (Mapping, "a dict of tensors by name, {} if it draws nothing"),
            "losses": (Losses, "Losses(terms={name: tensor})"),
            "predict": (Prediction, "Prediction(logits=..., maps=...)"),
        }
        try:
            method = self.build()
            images, labels = self.batch()
            draws = self.draw(method, images)
            given = {"draw": draws, "losses": method(images, labels, draws), "predict": predict(method, images, labels)}
        except (Exception, SystemExit):
            return None
        for part, (kind, words) in wanted.items():
            if not isinstance(given[part], kind):
                return self.failure(f"{part} returns {words}", f"it returned {type(given[part]).__name__}", part)
        return None

    @property
    def file(self) -> str:
        """The file that the method stands in; empty if it stands in none."""
        try:
            return inspect.getsourcefile(self.kind) or ""
        except (OSError, TypeError):
            return ""

    def where(self, part: str) -> str:
        """Return file, line and name of a part of the method, or of its class if it inherits the part."""
        classes = self.kind.__mro__[: self.kind.__mro__.index(Method)]
        owner = next((base for base in classes if part in vars(base)), None)
        name = f"{owner.__name__}.{part}" if owner else f"{self.kind.__name__}, which does not define {part} itself"
        target: Any = getattr(owner, part) if owner else self.kind
        if not inspect.isroutine(target) and not inspect.isclass(target):
            target = owner
        try:
            return f"{inspect.getsourcefile(target)}:{inspect.getsourcelines(target)[1]}, {name}"
        except (OSError, TypeError):  # typed in at a prompt
            return name


def headline(error: BaseException) -> str:
    """Return the first line of an error's message that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else "(no message)"


def total(losses: Losses) -> Tensor:
    """Return the sum of the loss terms."""
    return torch.stack(list(losses.terms.values())).sum()


def predict(method: Method[Any], images: Tensor, labels: Tensor | None = None) -> Prediction:
    """Predict as the engine does: in evaluation mode, without gradients, from three channels."""
    was_training = method.training
    method.eval()
    with torch.inference_mode():
        prediction = method.predict(images[:, :3], labels)
    method.train(was_training)
    return prediction


def outputs(prediction: Prediction) -> dict[str, Tensor]:
    """Return the tensors of a prediction by name; a method that does not classify has no logits."""
    named = {"logits": prediction.logits, "maps": prediction.maps}
    return {name: value for name, value in named.items() if value is not None}


def first_difference(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], tolerance: float = 0.0) -> str:
    """Compare named tensors.

    Args:
        ours: by name.
        theirs: by name.
        tolerance: largest difference allowed, as a share of the spread of ``ours``; a thousandth of that of its size.

    Returns:
        One phrase on the first name that differs, empty if none does.

    >>> first_difference({"a": torch.ones(2)}, {"a": torch.zeros(2)})
    "'a' differs by up to 1"
    """
    if ours.keys() != theirs.keys():
        return f"the names differ: {', '.join(sorted(ours.keys() ^ theirs.keys()))}"
    for name in ours:
        value, other = ours[name].detach(), theirs[name].detach()
        if value.shape != other.shape:
            return f"'{name}' has shape {tuple(value.shape)} and {tuple(other.shape)}"
        if torch.equal(value, other):
            continue
        gap = float((value.double() - other.double()).abs().max())
        scale = float(value.double().max() - value.double().min() + 1e-3 * value.double().abs().max())
        if not gap <= tolerance * scale:  # a gap of NaN is a difference
            return f"'{name}' differs by up to {gap:.3g}"
    return ""
