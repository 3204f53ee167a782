"""What a backbone is: an ordered list of steps, some of which end at a named point.

A point lies after the ReLU. A method looks at a point (``keep``), changes what passes it (``after``) or reruns only
what follows it (``start``); there are no hooks and no state-dict surgery (DESIGN: the plugin interface).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

if TYPE_CHECKING:
    from wsolbench.heads import Head

Effect = Callable[[Tensor], Tensor]
Step = tuple[str | None, Callable[[Tensor], Tensor]]


@dataclass(frozen=True)
class Features:
    """What one pass gives.

    Attributes:
        last: output of the last step, (N, C, h, w).
        kept: the value at each asked-for point, before the effect there acts, (N, C', h', w').
    """

    last: Tensor
    kept: Mapping[str, Tensor] = field(default_factory=dict)


def run_steps(
    steps: Sequence[Step],
    x: Tensor,
    *,
    after: Mapping[str, Effect],
    keep: Collection[str],
    start: str | None,
) -> Features:
    """Run steps in order.

    Args:
        steps: (point name or None, function), early to late.
        x: the input of the first step or, with ``start``, the value at that point.
        after: effects, by the point after which they act.
        keep: points whose value (before the effect) is returned.
        start: run only the steps that follow this point.

    Returns:
        The output of the last step and the kept values.

    Raises:
        ValueError: a point does not exist.
    """
    names = [name for name, _ in steps if name is not None]
    for name in (*after, *keep, *(() if start is None else (start,))):
        if name not in names:
            raise ValueError(f"there is no point '{name}' in this network; its points are {', '.join(names)}")
    first = 0 if start is None else next(i for i, (name, _) in enumerate(steps) if name == start) + 1
    kept: dict[str, Tensor] = {}
    for name, step in steps[first:]:
        x = step(x)
        if name in keep:
            kept[name] = x  # type: ignore[index]
        if name in after:
            x = after[name](x)  # type: ignore[index]
    return Features(last=x, kept=kept)


class Backbone(nn.Module, ABC):
    """A convolutional trunk with named points; its state-dict keys are torchvision's.

    Attributes:
        points: point name -> channels, early to late.
        roles: ``insertion``: the points where ADL and InCA act; ``guidance``: those of SPG's branches B1 and B2.
        channels: channels of the last feature map.
        dropped_prefixes: prefixes of torchvision keys that this trunk does not have.
    """

    points: Mapping[str, int]
    roles: Mapping[str, tuple[str, ...]]
    channels: int
    dropped_prefixes: ClassVar[tuple[str, ...]]

    @abstractmethod
    def steps(self) -> list[Step]:
        """Return the steps, early to late."""

    @abstractmethod
    def make_head(self, num_classes: int) -> "Head":
        """Build the CAM head that belongs to this trunk, with random weights."""

    @abstractmethod
    def reference_is_fast(self, name: str) -> bool:
        """Whether the reference trains a parameter at ten times the learning rate (METHODS: shared training recipe).

        Args:
            name: as in ``Network.named_parameters()``: ``backbone.layer4.0.conv1.weight``, ``head.fc.bias``.
        """

    def overlap_pools(self, points: Collection[str] | None = None) -> None:
        """Make 2x2 pools 3x3 ones of padding 1, as the reference does on VGG16 for ACoL (all) and SPG (pool4).

        A pool without stride, which is an identity here, stays one. Nothing happens on trunks without 2x2 pools.

        Args:
            points: which pools; None: all.
        """

    def forward(
        self,
        images: Tensor,
        *,
        after: Mapping[str, Effect] | None = None,
        keep: Collection[str] = (),
        start: str | None = None,
    ) -> Features:
        """Run the trunk; see :func:`run_steps`.

        Args:
            images: float (N, 3, H, W), normalised; with ``start`` the value at that point.
            after: effects by point.
            keep: points to return.
            start: run only what follows this point.

        Returns:
            The last feature map (N, C, h, w) and the kept values.
        """
        return run_steps(self.steps(), images, after=after or {}, keep=keep, start=start)
