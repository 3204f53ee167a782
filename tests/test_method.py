"""What every method must do, and the checks of the plugin base."""

import copy
import json
from dataclasses import dataclass

import pytest
import torch
from torch.nn import functional

from wsolbench.backbones.registry import build_backbone
from wsolbench.config import as_dict, hyper
from wsolbench.engine.fit import make_optimizer
from wsolbench.errors import UserError
from wsolbench.method import Losses, Method, check_fields
from wsolbench.network import build_network
from wsolbench.plugins import find_methods, load_method
from wsolbench.recipe import Recipe

NAMES = sorted(find_methods())
# Parameters that the defaults may leave without a gradient for 20 steps, and why.
SILENT = {"inca": "embeddings."}  # raw distances far exceed the paper's margin: the hinge is shut (test_inca opens it)
every_method = pytest.mark.parametrize("name", NAMES)


def build(name, classes=3, seed=0):
    kind = load_method(name)
    torch.manual_seed(seed)
    network = build_network(build_backbone("resnet-tiny", 4), classes)
    return kind(network, kind.defaults("resnet-tiny"))


def make_batch(n=4, size=(32, 32), classes=3, seed=1):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(n, 3, *size, generator=generator)
    return images, torch.randint(classes, (n,), generator=generator)


def draw(method, images, seed=0):
    return method.draw(len(images), tuple(images.shape[2:]), torch.Generator().manual_seed(seed))


def test_the_spines_methods_are_among_those_tested():
    assert {"cam", "has", "adl", "inca"} <= set(NAMES)


@every_method
def test_inputs_are_not_mutated(name):
    method, (images, labels) = build(name), make_batch()
    draws = draw(method, images)
    before = images.clone(), labels.clone(), {key: value.clone() for key, value in draws.items()}
    losses = method(images, labels, draws)
    sum(losses.terms.values()).backward()
    method.eval().predict(images, labels)
    assert torch.equal(images, before[0])
    assert torch.equal(labels, before[1])
    assert all(torch.equal(draws[key], value) for key, value in before[2].items())


@every_method
def test_draws_follow_from_the_generator_and_losses_from_the_draws(name):
    method, (images, labels) = build(name), make_batch(n=16)
    first, again = draw(method, images), draw(method, images)
    assert first.keys() == again.keys()
    assert all(torch.equal(first[key], again[key]) for key in first)
    drawn = [draw(method, images, seed) for seed in range(30)]
    assert all(any(not torch.equal(other[key], first[key]) for other in drawn) for key in first)
    torch.manual_seed(1)
    losses = method(images, labels, first)
    torch.manual_seed(2)  # nothing in losses draws from torch's own stream
    repeated = method(images, labels, first)
    assert all(torch.equal(losses.terms[key], repeated.terms[key]) for key in losses.terms)


@every_method
def test_every_parameter_gets_a_gradient(name):
    method, (images, labels) = build(name), make_batch(n=8)
    optimizer = make_optimizer(method, Recipe(backbone="resnet-tiny", lr=0.02))
    generator = torch.Generator().manual_seed(0)
    silent = {key for key, parameter in method.named_parameters() if parameter.requires_grad}
    for _ in range(20):
        losses = method(images, labels, method.draw(8, (32, 32), generator))
        optimizer.zero_grad(set_to_none=True)
        sum(losses.terms.values()).backward()
        for key, parameter in method.named_parameters():
            assert parameter.grad is not None, key
            assert parameter.grad.isfinite().all(), key
            if parameter.grad.abs().max() > 0:
                silent.discard(key)
        optimizer.step()
    assert {key for key in silent if not key.startswith(SILENT.get(name, " "))} == set()


@every_method
def test_the_loss_terms_are_finite_float32_scalars_also_under_bf16(name):
    method, (images, labels) = build(name), make_batch()
    for enabled in (False, True):
        for seed in range(4):
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                losses = method(images, labels, draw(method, images, seed))
            assert "cls" in losses.terms
            for term in losses.terms.values():
                assert term.dtype == torch.float32
                assert term.shape == ()
                assert term.isfinite()
            for value in losses.diagnostics.values():
                assert value.shape == ()
                assert value.isfinite()
                assert not value.requires_grad
            sum(losses.terms.values()).backward()
            assert all(p.grad is None or p.grad.dtype == torch.float32 for p in method.parameters())


@every_method
@pytest.mark.parametrize("classes", [2, 200])
@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
def test_shapes_hold_at_two_sizes_and_with_2_and_200_classes(name, classes, size):
    method, (images, labels) = build(name, classes), make_batch(3, size, classes)
    losses = method(images, labels, draw(method, images))
    assert torch.stack(list(losses.terms.values())).isfinite().all()
    with torch.no_grad():
        prediction = method.eval().predict(images, labels)
    assert prediction.logits.shape == (3, classes)
    assert prediction.maps.shape == (3, size[0] // 4, size[1] // 4)
    assert prediction.logits.dtype == prediction.maps.dtype == torch.float32
    assert prediction.maps.isfinite().all()


@every_method
def test_an_images_prediction_does_not_depend_on_the_batch(name):
    method, (images, labels) = build(name).eval(), make_batch(n=5)
    with torch.no_grad():
        whole = method.predict(images, labels)
        again = method.predict(images, labels)
        order = torch.tensor([3, 0, 4, 1, 2])
        shuffled = method.predict(images[order], labels[order])
        alone = [method.predict(images[i : i + 1], labels[i : i + 1]) for i in range(5)]
    assert torch.equal(whole.logits, again.logits)
    assert torch.equal(whole.maps, again.maps)
    torch.testing.assert_close(shuffled.maps, whole.maps[order], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(torch.cat([one.maps for one in alone]), whole.maps, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(torch.cat([one.logits for one in alone]), whole.logits, rtol=1e-5, atol=1e-5)


@every_method
def test_a_training_step_compiles_without_a_graph_break(name):
    method, (images, labels) = build(name), make_batch()
    draws = draw(method, images)
    plain = method(images, labels, draws)
    compiled = torch.compile(method, backend="eager", fullgraph=True)(images, labels, draws)
    torch.compiler.reset()
    assert all(torch.equal(compiled.terms[key], plain.terms[key]) for key in plain.terms)


@every_method
def test_a_state_dict_brings_everything_back(name):
    method, (images, labels) = build(name, seed=0), make_batch()
    draws = draw(method, images)
    method(images, labels, draws)  # moves the BatchNorm statistics
    other = build(name, seed=1)
    assert not torch.equal(other.network.head.fc.weight, method.network.head.fc.weight)
    other.load_state_dict(copy.deepcopy(method.state_dict()))
    with torch.no_grad():
        ours, theirs = method.eval().predict(images, labels), other.eval().predict(images, labels)
    assert torch.equal(ours.maps, theirs.maps)
    assert torch.equal(ours.logits, theirs.logits)
    losses, copied = method.train()(images, labels, draws), other.train()(images, labels, draws)
    assert all(torch.equal(losses.terms[key], copied.terms[key]) for key in losses.terms)


@every_method
def test_the_trunks_keys_are_those_of_the_plain_backbone(name):
    keys = {key.removeprefix("network.backbone.") for key in build(name).state_dict() if ".backbone." in key}
    assert keys == set(build_backbone("resnet-tiny", 4).state_dict())


@every_method
@pytest.mark.parametrize("backbone", ["resnet50", "vgg16", "inception_v3", "resnet-tiny"])
def test_configurations_survive_json(name, backbone):
    kind = load_method(name)
    config = kind.defaults(backbone)
    assert kind.Config(**json.loads(json.dumps(as_dict(config)))) == config


@every_method
def test_a_method_names_its_paper_and_documents_its_settings(name):
    kind = load_method(name)
    assert kind.name == name
    assert kind.paper
    for field in kind.Config.__dataclass_fields__.values():
        assert field.metadata["doc"]
    with pytest.raises(AttributeError, match="cannot assign"):
        kind.Config().anything = 1


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
