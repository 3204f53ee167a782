"""What every method must do, by the conformance kit, and the checks of the plugin base."""

from dataclasses import dataclass

import pytest
import torch
from torch.nn import functional

from wsolbench.backbones.registry import build_backbone
from wsolbench.config import hyper
from wsolbench.conformance import checks
from wsolbench.errors import UserError
from wsolbench.method import Losses, Method, check_fields
from wsolbench.network import build_network
from wsolbench.plugins import find_methods, load_method

NAMES = sorted(find_methods())


def build(name):
    kind = load_method(name)
    torch.manual_seed(0)
    return kind(build_network(build_backbone("resnet-tiny", 4), 3), kind.defaults("resnet-tiny"))


def make_batch():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, 3, 32, 32, generator=generator), torch.randint(3, (4,), generator=generator)


def test_the_papers_methods_are_among_those_tested():
    assert {"cam", "has", "acol", "spg", "adl", "cutmix", "meil", "ccam", "inca"} <= set(NAMES)


@pytest.mark.parametrize(
    "check", [pytest.param(check, id=f"{name}-{check.name}") for name in NAMES for check in checks(name)]
)
def test_conforms(check):
    check()


@pytest.mark.parametrize("name", NAMES)
def test_a_method_that_classifies_names_its_classification_loss(name):
    method, (images, labels) = build(name), make_batch()
    if method.eval().predict(images).logits is None:
        pytest.skip("it does not classify")
    draws = method.draw(4, (32, 32), torch.Generator().manual_seed(0))
    assert "cls" in method.train()(images, labels, draws).terms  # what the demo judges convergence by


@dataclass(frozen=True, kw_only=True)
class Clash:
    lr: float = hyper(0.1, "also a field of the recipe")
    own: float = hyper(0.1, "its own")
    seed: int = hyper(0, "also a field of the recipe")


class Clashing(Method[Clash]):
    """A method whose settings collide with the recipe's."""

    name = "clashing"
    paper = "none"
    Config = Clash

    def losses(self, images, labels, draws):
        return Losses(terms={"cls": functional.cross_entropy(self.network.logits(self.network(images).last), labels)})


def test_a_setting_that_the_recipe_has_too_is_refused():
    with pytest.raises(UserError, match="'clashing' has settings that the recipe has too: lr, seed; rename them"):
        check_fields(Clashing)
    check_fields(load_method("inca"))


def test_a_method_must_state_its_losses():
    class Incomplete(Method[Clash]):
        name = "incomplete"
        paper = "none"

    network = build_network(build_backbone("resnet-tiny", 4), 2)
    with pytest.raises(TypeError, match="losses"):
        Incomplete(network, Clash())


def test_calling_a_method_is_calling_its_losses():
    method, (images, labels) = build("cam"), make_batch()
    assert torch.equal(method(images, labels, {}).terms["cls"], method.losses(images, labels, {}).terms["cls"])
