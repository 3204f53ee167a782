"""A method that conforms and has a part of every kind: setting, draw, layer, buffer, diagnostic, map, view."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from wsolbench.config import Uniform, check, hyper
from wsolbench.method import Losses, Method, Prediction


@dataclass(frozen=True, kw_only=True)
class HealthyConfig:
    """One setting that is tuned and one that is not."""

    drop_rate: float = hyper(0.2, "probability that a position is hidden", low=0, high=1, search=Uniform(0, 0.5))
    points: tuple[str, ...] = hyper(("layer4.0",), "points, by name")

    def __post_init__(self):
        check(self)


class Healthy(Method[HealthyConfig]):
    """Hide positions of the last features; a gate starts at zero, a buffer counts steps."""

    name = "healthy"
    paper = "nobody, nowhere"
    Config = HealthyConfig

    def __init__(self, network, config):
        super().__init__(network, config)
        self.gate = nn.Parameter(torch.zeros(()))
        self.register_buffer("steps", torch.zeros(()))

    def draw(self, n, size, generator):
        return {"seen": torch.rand((n, 1, 2, 2), generator=generator, device=generator.device) >= self.config.drop_rate}

    def losses(self, images, labels, draws):
        if self.training:
            self.steps += 1
        features = self.network(images).last
        seen = functional.interpolate(draws["seen"].to(features.dtype), size=features.shape[2:])
        gated = features * seen * (1 + self.gate)
        loss = functional.cross_entropy(self.network.logits(gated), labels)
        weight = self.steps / (self.steps + 1)  # changes from step to step
        return Losses(terms={"cls": loss, "again": weight * loss}, diagnostics={"seen": seen.float().mean()})

    def predict(self, images, labels=None):
        plain = super().predict(images, labels)
        return Prediction(logits=plain.logits, maps=plain.maps * (1 + self.gate))
