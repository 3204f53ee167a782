"""Trunk and head as one ordered list of points: logits and class activation maps (Zhou et al., CVPR 2016)."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

from wsolbench.backbones.base import Backbone, Effect, Features, Step, run_steps
from wsolbench.errors import UserError, unknown_name
from wsolbench.heads import Head


class Network(nn.Module):
    """A backbone and its head.

    Attributes:
        points: point name -> channels, early to late, the head's points last.
        roles: named groups of points, such as ``insertion``.
        num_classes: number of classes K.
        pretrained: names of the trunk parameters that came from a weight file; see :mod:`wsolbench.backbones.weights`.
    """

    def __init__(self, backbone: Backbone, head: Head, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.num_classes = num_classes
        self.points: Mapping[str, int] = {**backbone.points, **head.points}
        self.roles: Mapping[str, tuple[str, ...]] = backbone.roles
        self.pretrained: frozenset[str] = frozenset()
        self._taps: dict[str, Effect] = {}

    def with_head(self, head: Head) -> "Network":
        """Return a network of the same trunk, not a copy, with another head: for methods that bring their own.

        Args:
            head: built for ``backbone.channels`` and ``num_classes``.
        """
        network = Network(self.backbone, head, self.num_classes)
        network.pretrained = self.pretrained
        return network

    def choose(self, points: Sequence[str], role: str) -> tuple[str, ...]:
        """Return points by name, early to late; those of a role if none is named.

        Args:
            points: names, in any order.
            role: what to fall back to, such as ``insertion``.

        Raises:
            UserError: there is no such point, and the nearest name is suggested; or a point is named twice.
        """
        for point in points:
            if point not in self.points:
                raise unknown_name("point", point, self.points)
        if len(set(points)) < len(points):
            raise UserError(f"points={','.join(points)} names a point twice; give it once")
        return tuple(point for point in self.points if point in points) if points else self.roles[role]

    def steps(self) -> list[Step]:
        """Return the steps of trunk and head, early to late; a network with layers between them overrides this."""
        return self.backbone.steps() + self.head.steps()

    def forward(
        self,
        images: Tensor,
        *,
        after: Mapping[str, Effect] | None = None,
        keep: Collection[str] = (),
        start: str | None = None,
    ) -> Features:
        """Run trunk and head up to the last feature map; see :func:`wsolbench.backbones.base.run_steps`.

        Args:
            images: float (N, 3, H, W), normalised; with ``start`` the value at that point.
            after: effects by point.
            keep: points whose value before the effect is returned.
            start: run only what follows this point.

        Returns:
            The last feature map (N, C, h, w) and the kept values.
        """
        effects = _followed_by(after or {}, self._taps) if self._taps else after or {}
        return run_steps(self.steps(), images, after=effects, keep=keep, start=start)

    @contextmanager
    def tap(self, point: str, effect: Effect) -> Iterator[None]:
        """Let an effect act at a point in every forward pass while inside, after whatever a method does there.

        Args:
            point: its name.
            effect: takes and returns the value at the point, (N, C, h, w).
        """
        assert point not in self._taps, "a point has one tap at a time"
        self._taps[point] = effect
        try:
            yield
        finally:
            del self._taps[point]

    def logits(self, features: Tensor) -> Tensor:
        """Return the logits, float32 (N, K), of the last feature map (N, C, h, w)."""
        return self.head.logits(features)

    def class_maps(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return each image's class activation map, float32 (N, h, w), for int64 labels (N,)."""
        return self.head.class_maps(features, labels)

    def mixed_maps(self, features: Tensor, mix: Tensor) -> Tensor:
        """Return the sum over classes of mix (N, K) times the class's map, float32 (N, h, w)."""
        return self.head.mixed_maps(features, mix)


def _followed_by(first: Mapping[str, Effect], then: Mapping[str, Effect]) -> dict[str, Effect]:
    """Return the effects of both, by point; where both act, ``then`` acts on what ``first`` returns."""
    chained = {point: (lambda x, f=first[point], g=then[point]: g(f(x))) for point in first.keys() & then.keys()}
    return {**first, **then, **chained}


def build_network(backbone: Backbone, num_classes: int) -> Network:
    """Put the CAM head of its kind on a backbone."""
    return Network(backbone, backbone.make_head(num_classes), num_classes)
