"""A planted fault of each kind is caught by the check that is meant for it, which lets the healthy twin pass."""

import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from conformance_healthy import Healthy, HealthyConfig
from torch import nn
from torch.nn import functional

from wsolbench.config import Choice, Uniform, hyper
from wsolbench.conformance import CheckFailure, checks
from wsolbench.conformance.report import run_check
from wsolbench.method import Losses, Prediction, Preset

FILES = (Path(__file__).name, "conformance_healthy.py")
FAULTS = []


def caught_by(name, words, part):
    """Register a fault: the check that must catch it, what the report must say, the part it must point to."""

    def register(kind):
        FAULTS.append(pytest.param(kind, name, words, part, id=f"{name}-{kind.__name__}"))
        return kind

    return register


def named(kind, name):
    backbone = name.removeprefix("works_on_") if name.startswith("works_on_") else "resnet-tiny"
    return next(check for check in checks(kind, backbone) if check.__name__ == name)


@cache
def passes(name):
    named(Healthy, name)()
    return True


@pytest.mark.parametrize(("kind", "name", "words", "part"), FAULTS)
def test_a_fault_is_caught_by_its_check(kind, name, words, part):
    assert passes(name)
    with pytest.raises(CheckFailure) as caught:
        named(kind, name)()
    failure = caught.value
    assert words in failure.seen, failure
    assert failure.expected
    assert any(file in failure.where for file in FILES)
    assert part in failure.where


def plus(losses, **terms):
    return Losses(terms={**losses.terms, **terms}, diagnostics=losses.diagnostics)


# --- inputs -----------------------------------------------------------------------------------------------------------


@caught_by("inputs_are_not_changed", "after losses, 'images' differs", "losses")
class DarkensImages(Healthy):
    def losses(self, images, labels, draws):
        images.mul_(0.5)
        return super().losses(images, labels, draws)


@caught_by("inputs_are_not_changed", "after losses, 'labels' differs", "losses")
class ShiftsLabels(Healthy):
    def losses(self, images, labels, draws):
        labels.copy_((labels + 1) % 3)
        return super().losses(images, labels, draws)


@caught_by("inputs_are_not_changed", "after losses, 'draws['seen']' differs", "losses")
class ShowsAll(Healthy):
    def losses(self, images, labels, draws):
        return super().losses(images, labels, {"seen": draws["seen"].fill_(True)})


@caught_by("inputs_are_not_changed", "after predict, 'images' differs", "predict")
class ClipsImages(Healthy):
    def predict(self, images, labels=None):
        return super().predict(images.clamp_(-1, 1), labels)


# --- losses -----------------------------------------------------------------------------------------------------------


@caught_by("losses_are_finite_scalars", "'root' is nan", "losses")
class RootOfNegative(Healthy):
    def losses(self, images, labels, draws):
        return plus(super().losses(images, labels, draws), root=(self.gate - 1).sqrt())


@caught_by("losses_are_finite_scalars", "the gradient of 'gate' is not finite", "losses")
class RootOfZero(Healthy):
    def losses(self, images, labels, draws):
        return plus(super().losses(images, labels, draws), root=self.gate.abs().sqrt())


@caught_by("losses_are_finite_scalars", "'each' is a tensor of shape (4,)", "losses")
class LossPerImage(Healthy):
    def losses(self, images, labels, draws):
        logits = self.network.logits(self.network(images).last)
        return Losses(terms={"each": functional.cross_entropy(logits, labels, reduction="none")})


@caught_by("losses_are_finite_scalars", "'cls' is of type float", "losses")
class LossAsNumber(Healthy):
    def losses(self, images, labels, draws):
        return Losses(terms={"cls": 0.5})


@caught_by("losses_are_finite_scalars", "the diagnostic 'gate' is attached", "losses")
class AttachedDiagnostic(Healthy):
    def losses(self, images, labels, draws):
        return Losses(terms=super().losses(images, labels, draws).terms, diagnostics={"gate": self.gate * 2})


@caught_by("losses_are_finite_scalars_in_bf16", "'norm' is bfloat16 under bf16", "losses")
class LossInHalf(Healthy):
    def losses(self, images, labels, draws):
        features = functional.conv2d(self.network(images).last, self.network.head.fc.weight[:, :, None, None])
        return plus(super().losses(images, labels, draws), norm=features.mean())


# --- randomness -------------------------------------------------------------------------------------------------------


@caught_by("losses_follow_from_their_arguments", "'noise' differs", "losses")
class TorchInLosses(Healthy):
    def losses(self, images, labels, draws):
        return plus(super().losses(images, labels, draws), noise=torch.rand(()) * self.gate.exp())


@caught_by("losses_follow_from_their_arguments", "'noise' differs", "losses")
class NumpyInLosses(Healthy):
    def losses(self, images, labels, draws):
        return plus(super().losses(images, labels, draws), noise=self.gate.exp() * float(np.random.rand()))


@caught_by("losses_follow_from_their_arguments", "'noise' differs", "losses")
class OwnNumpyInLosses(Healthy):
    def losses(self, images, labels, draws):
        return plus(super().losses(images, labels, draws), noise=self.gate.exp() * np.random.default_rng().random())


@caught_by("losses_follow_from_their_arguments", "'noise' differs", "losses")
class PythonInLosses(Healthy):
    def losses(self, images, labels, draws):
        return plus(super().losses(images, labels, draws), noise=self.gate.exp() * random.random())


@caught_by("draws_follow_from_the_generator", "'seen' differs", "draw")
class TorchInDraw(Healthy):
    def draw(self, n, size, generator):
        return {"seen": torch.rand((n, 1, 2, 2)) > 0.2}


@caught_by("draws_follow_from_the_generator", "'seen' differs", "draw")
class NumpyInDraw(Healthy):
    def draw(self, n, size, generator):
        return {"seen": torch.from_numpy(np.random.rand(n, 1, 2, 2)) > 0.2}


@caught_by("draws_follow_from_the_generator", "'seen' differs", "draw")
class PythonInDraw(Healthy):
    def draw(self, n, size, generator):
        return {"seen": torch.full((n, 1, 2, 2), random.random()) > 0.5, "unused": torch.tensor(random.random())}


@caught_by("draws_follow_from_the_generator", "'seen' came out the same for 31 seeds", "draw")
class SameDraws(Healthy):
    def draw(self, n, size, generator):
        return super().draw(n, size, torch.Generator().manual_seed(0))


@caught_by("draws_follow_from_the_generator", "'seen' is of type list", "draw")
class DrawsALists(Healthy):
    def draw(self, n, size, generator):
        return {"seen": [random.random()] * n}


@caught_by("initial_weights_follow_from_the_seed", "'gate' differs", "__init__")
class NumpyInInit(Healthy):
    def __init__(self, network, config):
        super().__init__(network, config)
        self.gate = nn.Parameter(torch.tensor(np.random.rand(), dtype=torch.float32))


# --- device -----------------------------------------------------------------------------------------------------------


@caught_by("step_stays_on_the_device", "gives a tensor on the CPU at line", "losses")
class ZeroOnCpu(Healthy):
    def losses(self, images, labels, draws):
        return plus(super().losses(images, labels, draws), zero=torch.zeros(()) + self.gate)


@caught_by("step_stays_on_the_device", "gives a tensor on the CPU", "losses")
class NumberToTensor(Healthy):
    def losses(self, images, labels, draws):
        return plus(super().losses(images, labels, draws), one=torch.tensor([1.0], device=images.device).sum())


@caught_by("step_stays_on_the_device", "_to_copy gives a tensor on the CPU", "losses")
class CopiesBack(Healthy):
    def losses(self, images, labels, draws):
        return plus(super().losses(images, labels, draws), back=self.gate.cpu())


@caught_by("step_stays_on_the_device", "gives a tensor on the CPU", "losses")
class MixesDevices(Healthy):
    def losses(self, images, labels, draws):
        return super().losses(images * torch.ones(images.shape[2:]), labels, draws)


@caught_by("step_stays_on_the_device", "a value is read from the device", "losses")
class ReadsAValue(Healthy):
    def losses(self, images, labels, draws):
        weight = images.mean().item()
        return plus(super().losses(images, labels, draws), weighted=weight * self.gate)


@caught_by("step_stays_on_the_device", "the shape of a tensor depends on values", "losses")
class PicksByMask(Healthy):
    def losses(self, images, labels, draws):
        return plus(super().losses(images, labels, draws), bright=images[images > 0].mean() * self.gate)


@caught_by("step_stays_on_the_device", "no argument, parameter or buffer", "losses")
class PlainTensor(Healthy):
    def __init__(self, network, config):
        super().__init__(network, config)
        self.kernel = torch.ones(1, 1, 32, 32)

    def losses(self, images, labels, draws):
        return super().losses(images * self.kernel, labels, draws)


@caught_by("step_stays_on_the_device", "rand gives a tensor on the CPU", "draw")
class DrawsOnCpu(Healthy):
    def draw(self, n, size, generator):
        return {"seen": torch.rand((n, 1, 2, 2)) >= self.config.drop_rate}


@caught_by("step_compiles_without_graph_break", "Unsupported", "losses")
class BranchesOnAValue(Healthy):
    def losses(self, images, labels, draws):
        if draws["seen"].all():
            images = images * 2
        return super().losses(images, labels, draws)


# --- images -----------------------------------------------------------------------------------------------------------

MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]


@caught_by("images_are_normalised_once", "losses lets the trunk see 4.367 * pixel -2.118 for 100%", "losses")
class NormalisesAgain(Healthy):
    def losses(self, images, labels, draws):
        return super().losses((images - MEAN) / STD, labels, draws)


@caught_by("images_are_normalised_once", "predict lets the trunk see 4.367 * pixel -2.118 for 100%", "predict")
class NormalisesAgainInPredict(Healthy):
    def predict(self, images, labels=None):
        return super().predict((images - MEAN) / STD, labels)


@caught_by("images_are_normalised_once", "losses lets the trunk see 0.003922 * pixel +0 for 8", "losses")
class DividesAndHides(Healthy):
    def losses(self, images, labels, draws):
        seen = functional.interpolate(draws["seen"].to(images.dtype), size=images.shape[2:])
        return super().losses(images / 255 * seen, labels, draws)


# --- predictions ------------------------------------------------------------------------------------------------------


@caught_by("maps_and_logits_have_their_shape", "maps of shape (3, 1, 8, 8)", "predict")
class MapsWithAChannel(Healthy):
    def predict(self, images, labels=None):
        plain = super().predict(images, labels)
        return Prediction(logits=plain.logits, maps=plain.maps[:, None])


@caught_by("maps_and_logits_have_their_shape", "maps of shape (3, 10, 6) (2 classes, 3 images of 24x40", "predict")
class TransposedMaps(Healthy):
    def predict(self, images, labels=None):
        plain = super().predict(images, labels)
        return Prediction(logits=plain.logits, maps=plain.maps.transpose(1, 2))


@caught_by("maps_and_logits_have_their_shape", "logits of shape (3, 1)", "predict")
class OneLogit(Healthy):
    def predict(self, images, labels=None):
        plain = super().predict(images, labels)
        return Prediction(logits=plain.logits[:, :1], maps=plain.maps)


@caught_by("maps_and_logits_have_their_shape", "NaN or infinity in maps", "predict")
class DividesByZero(Healthy):
    def predict(self, images, labels=None):
        plain = super().predict(images, labels)
        return Prediction(logits=plain.logits, maps=plain.maps / 0)


@caught_by("maps_and_logits_have_their_shape", "maps in float64", "predict")
class DoubleMaps(Healthy):
    def predict(self, images, labels=None):
        plain = super().predict(images, labels)
        return Prediction(logits=plain.logits, maps=plain.maps.double())


@caught_by("prediction_does_not_depend_on_the_batch", "'maps' differs", "predict")
class SubtractsTheBatchsMean(Healthy):
    def predict(self, images, labels=None):
        plain = super().predict(images, labels)
        return Prediction(logits=plain.logits, maps=plain.maps - plain.maps.mean(dim=0))


@caught_by("prediction_does_not_depend_on_the_batch", "'logits' differs", "predict")
class TrainsInPredict(Healthy):
    def predict(self, images, labels=None):
        self.network.train()
        return super().predict(images, labels)


@caught_by("prediction_is_repeatable", "'maps' differs", "predict")
class NoisyMaps(Healthy):
    def predict(self, images, labels=None):
        plain = super().predict(images, labels)
        return Prediction(logits=plain.logits, maps=plain.maps + torch.rand_like(plain.maps))


@caught_by("prediction_is_repeatable", "after predict in evaluation mode, 'steps' differs", "predict")
class CountsPredictions(Healthy):
    def predict(self, images, labels=None):
        self.steps += 1
        return super().predict(images, labels)


@caught_by("no_label_means_the_top_class", "'maps' differs", "predict")
class FirstClassByDefault(Healthy):
    def predict(self, images, labels=None):
        return super().predict(images, torch.zeros(len(images), dtype=torch.int64) if labels is None else labels)


@caught_by("views_are_pictures_or_maps", "'one' has shape (3, 32, 32)", "views")
class ViewsOfOneImage(Healthy):
    def views(self, images, labels, draws):
        return {"one": images[0]}


@caught_by("map_is_high_on_the_object", "is the map's sign turned?", "predict")
class WrongSign(Healthy):
    def predict(self, images, labels=None):
        plain = super().predict(images, labels)
        return Prediction(logits=plain.logits, maps=-plain.maps)


@caught_by("map_is_high_on_the_object", "where 0.3 is the least", "predict")
class ConstantMap(Healthy):
    def predict(self, images, labels=None):
        plain = super().predict(images, labels)
        return Prediction(logits=plain.logits, maps=torch.zeros_like(plain.maps))


# --- parameters and state ---------------------------------------------------------------------------------------------


@caught_by("every_parameter_gets_a_gradient", "'idle.bias', 'idle.weight' got none", "losses")
class UnusedLayer(Healthy):
    def __init__(self, network, config):
        super().__init__(network, config)
        self.idle = nn.Linear(2, 2)


@caught_by("every_parameter_gets_a_gradient", "'silent' was zero at each of 20 steps", "losses")
class SilentParameter(Healthy):
    def __init__(self, network, config):
        super().__init__(network, config)
        self.silent = nn.Parameter(torch.ones(()))

    def losses(self, images, labels, draws):
        return plus(super().losses(images, labels, draws), nothing=0 * self.silent)


@caught_by("state_survives_a_file", "'loss term shifted' differs", "__init__")
class ForgetsAWeight(Healthy):
    def __init__(self, network, config):
        super().__init__(network, config)
        self.shift = torch.rand(())

    def losses(self, images, labels, draws):
        return plus(super().losses(images, labels, draws), shifted=self.gate.exp() * self.shift)


@caught_by("resuming_changes_nothing", "the loss of step 3 is", "losses")
class CountsInAnAttribute(Healthy):
    def __init__(self, network, config):
        super().__init__(network, config)
        self.count = 0

    def losses(self, images, labels, draws):
        self.count += 1
        return plus(super().losses(images, labels, draws), ramp=self.gate.exp() * (1 - 1 / self.count))


@caught_by("trunk_keys_are_the_backbones", "such as 'layer4.1.0.bn1.bias'", "__init__")
class WrapsABlock(Healthy):
    def __init__(self, network, config):
        super().__init__(network, config)
        network.backbone.layer4[1] = nn.Sequential(network.backbone.layer4[1])


@caught_by("works_on_resnet18", "RuntimeError", "fixed_width")
class OnlyOneWidth(Healthy):
    def losses(self, images, labels, draws):
        return plus(super().losses(images, labels, draws), fixed=self.fixed_width(images))

    def fixed_width(self, images):
        return (self.network(images).last * torch.ones(1, 64, 1, 1)).mean()


# --- settings ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Unplain(HealthyConfig):
    kind: torch.dtype = hyper(torch.float32, "no JSON value")


@dataclass(frozen=True, kw_only=True)
class Unspoken(HealthyConfig):
    extra: float = 1.0


@dataclass(kw_only=True)
class Mutable:
    drop_rate: float = hyper(0.2, "probability that a position is hidden")


@dataclass(frozen=True, kw_only=True)
class TooWide:
    drop_rate: float = hyper(0.2, "checked nowhere in the class", low=0, high=1, search=Uniform(0, 2))


@dataclass(frozen=True, kw_only=True)
class Overflowing(HealthyConfig):
    power: float = hyper(1.0, "of ten", search=Choice((1.0, 1e9)))


@caught_by("settings_survive_json", "JSON cannot hold it: Object of type dtype", "Config")
class UnplainSetting(Healthy):
    Config = Unplain


@caught_by("paper_and_settings_are_documented", "the setting 'extra' has no doc", "Config")
class UnspokenSetting(Healthy):
    Config = Unspoken


@caught_by("paper_and_settings_are_documented", "Mutable is mutable", "Config")
class MutableSettings(Healthy):
    Config = Mutable


@caught_by("paper_and_settings_are_documented", "NoPaper has none", "paper")
class NoPaper(Healthy):
    paper = ""


@caught_by("search_space_gives_valid_settings", "drop_rate=", "Config")
class SearchTooWide(Healthy):
    Config = TooWide


@caught_by("search_space_gives_valid_settings", "a loss that is not finite with", "Config")
class SearchTooFar(Healthy):
    Config = Overflowing

    def losses(self, images, labels, draws):
        return plus(super().losses(images, labels, draws), far=(self.gate + 10) ** self.config.power)


class Listed(Healthy):
    presets = {"table/row": Preset(backbone="vgg16", config=HealthyConfig(), recipe={"lr": 0.1}, source="Table 1")}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"backbone": "vgg"}, "there is no backbone 'vgg'"),
        ({"config": TooWide()}, "a configuration of type TooWide"),
        ({"recipe": {"rate": 1}}, "'rate'"),
        ({"source": ""}, "no source"),
    ],
)
def test_a_preset_that_cannot_run_is_caught(fields, words):
    named(Listed, "presets_are_complete")()
    preset = {"backbone": "vgg16", "config": HealthyConfig(), "source": "Table 1", **fields}
    broken = type("Broken", (Listed,), {"presets": {"table/row": Preset(**preset)}})
    with pytest.raises(CheckFailure, match="preset 'table/row'") as caught:
        named(broken, "presets_are_complete")()
    assert words in caught.value.seen


# --- what is allowed --------------------------------------------------------------------------------------------------


class Rests(UnusedLayer):
    resting = {"idle.": "used by predict alone"}


class Freezes(UnusedLayer):
    def __init__(self, network, config):
        super().__init__(network, config)
        self.idle.requires_grad_(False)


@pytest.mark.parametrize("kind", [Rests, Freezes])
def test_a_declared_or_frozen_parameter_needs_no_gradient(kind):
    named(kind, "every_parameter_gets_a_gradient")()


def test_resting_needs_a_reason():
    lazy = type("Lazy", (Rests,), {"resting": {"idle.": ""}})
    with pytest.raises(CheckFailure, match="the reason for each entry of 'resting'"):
        named(lazy, "every_parameter_gets_a_gradient")()


class JittersBrightness(Healthy):
    """Another line for each image: an augmentation, not a normalisation."""

    def draw(self, n, size, generator):
        factor = 0.5 + torch.rand((n, 1, 1, 1), generator=generator, device=generator.device)
        return {**super().draw(n, size, generator), "factor": factor}

    def losses(self, images, labels, draws):
        return super().losses(images * draws["factor"] + 0.1, labels, draws)


def test_an_augmentation_is_not_taken_for_a_normalisation():
    named(JittersBrightness, "images_are_normalised_once")()


class Masked(Healthy):
    """Trains with masks and does not classify."""

    supervision = "masks"
    resting = {"network.head.fc.bias": "no part of the map"}

    def losses(self, images, labels, draws):
        assert images.shape[1] == 4
        score = self.network.class_maps(self.network(images[:, :3]).last, labels * 0) * (1 + self.gate)
        target = functional.interpolate(images[:, 3:], size=score.shape[1:], mode="area")[:, 0]
        return Losses(terms={"mask": functional.binary_cross_entropy_with_logits(score, target)})

    def predict(self, images, labels=None):
        assert images.shape[1] == 3
        features = self.network(images).last
        labels = torch.zeros(len(images), dtype=torch.int64)
        return Prediction(logits=None, maps=self.network.class_maps(features, labels) * (1 + self.gate))

    def views(self, images, labels, draws):
        return {"mask": images[:, 3]}


def test_a_method_that_trains_with_masks_is_given_some():
    found = checks(Masked, "resnet-tiny")
    masks = found[0].subject.batch()[0][:, 3]
    assert set(masks.unique().tolist()) == {0, 1}
    for check in found:
        outcome = run_check(check)
        skipped = check.name in ("presets_are_complete", "no_label_means_the_top_class")
        assert outcome.status == ("skipped" if skipped else "passed"), outcome.detail
