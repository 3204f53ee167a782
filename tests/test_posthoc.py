"""Grad-CAM and LayerCAM: formulas by hand, against CAM where they must agree, and with every method's network."""

import pytest
import torch

from wsolbench.backbones.registry import build_backbone
from wsolbench.errors import UserError
from wsolbench.method import Method, NoConfig, Prediction
from wsolbench.methods.cam import CAM
from wsolbench.network import build_network
from wsolbench.plugins import find_methods, load_method
from wsolbench.posthoc import EXTRACTORS, class_gradients, extractor, gradcam, layercam

CLASSES = 3


def build(kind=CAM, backbone="resnet-tiny", stride=4, seed=0):
    torch.manual_seed(seed)
    network = build_network(build_backbone(backbone, stride), CLASSES)
    return kind(network, kind.defaults(backbone)).eval()


def make_batch(n=4, size=32):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, 3, size, size, generator=generator), torch.arange(n) % CLASSES


def test_formulas_by_hand():
    # Two channels of 1x3. Grad-CAM's weights: (2 - 4 + 5) / 3 = 1 and (0 + 0 - 6) / 3 = -2.
    features = torch.tensor([[[[1, 2, 3]], [[0, 1, 4]]]], dtype=torch.float64)
    gradients = torch.tensor([[[[2, -4, 5]], [[0, 0, -6]]]], dtype=torch.float64)
    assert gradcam(features, gradients).tolist() == [[[1, 0, 0]]]  # 1 - 0, 2 - 2, 3 - 8 cut
    assert layercam(features, gradients).tolist() == [[[2, 0, 15]]]  # 1*2, nothing positive, 3*5
    assert layercam(-features, gradients).tolist() == [[[0, 0, 0]]]


@pytest.mark.parametrize("formula", [gradcam, layercam])
def test_formulas_as_loops(formula):
    generator = torch.Generator().manual_seed(0)
    features, gradients = torch.randn(2, 2, 3, 4, 5, generator=generator, dtype=torch.float64)
    expected = torch.zeros(2, 4, 5, dtype=torch.float64)
    for n in range(2):
        for k in range(3):
            for y in range(4):
                for x in range(5):
                    own = max(float(gradients[n, k, y, x]), 0)
                    weight = float(gradients[n, k].sum()) / 20 if formula is gradcam else own
                    expected[n, y, x] += weight * features[n, k, y, x]
    torch.testing.assert_close(formula(features, gradients), expected.clamp(min=0), rtol=1e-12, atol=1e-12)


# --- where they must agree with CAM -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("backbone", "stride"), [("resnet-tiny", 4), ("resnet18", 16), ("vgg16", 16)])
def test_gradcam_at_the_last_features_is_cam_cut_at_zero(backbone, stride):
    method, (images, labels) = build(backbone=backbone, stride=stride).double(), make_batch(size=64)
    images = images.double()
    last = list(method.network.points)[-1]
    found = extractor(method, last, gradcam)(images, labels)
    with torch.no_grad():
        plain = method.predict(images, labels)
    positions = plain.maps[0].numel()
    torch.testing.assert_close(found.maps * positions, plain.maps.relu(), rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(found.logits, plain.logits, rtol=1e-12, atol=1e-12)
    assert found.maps.max() > 0


def test_layercam_with_one_channel_is_cam_cut_at_zero():
    method, (images, labels) = build().double(), make_batch()
    with torch.no_grad():
        method.network.head.fc.weight[:, 1:] = 0  # one channel is classified
        plain = method.predict(images.double(), labels)
    found = extractor(method, "layer4.1", layercam)(images.double(), labels)
    torch.testing.assert_close(found.maps * 64, plain.maps.relu(), rtol=1e-8, atol=1e-10)


# --- gradients --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", ["layer1.0", "layer3.0"])
def test_gradients_are_the_change_of_the_labels_own_logit(point):
    method, (images, labels) = build().double(), make_batch(n=2, size=16)
    features, gradients, logits = class_gradients(method, point, images.double(), labels)
    generator = torch.Generator().manual_seed(2)
    change = 1e-6 * torch.randn(features.shape, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        assert torch.equal(features, method.network(images.double(), keep=[point]).kept[point])
        up, down = (
            method.network.logits(method.network(features + sign * change, start=point).last) for sign in (1, -1)
        )
    moved = (up - down)[torch.arange(2), labels] / 2
    torch.testing.assert_close(moved, (gradients * change).sum(dim=(1, 2, 3)), rtol=1e-4, atol=1e-12)
    assert not any(tensor.requires_grad for tensor in (features, gradients, logits))


def test_an_image_does_not_depend_on_its_batch():
    method, (images, labels) = build(), make_batch()
    for formula in EXTRACTORS.values():
        predict = extractor(method, "layer2.0", formula)
        whole = predict(images, labels).maps
        alone = torch.cat([predict(images[i : i + 1], labels[i : i + 1]).maps for i in range(4)])
        torch.testing.assert_close(alone, whole, rtol=1e-4, atol=1e-6)


def test_it_works_in_inference_mode_and_leaves_nothing_behind():
    method, (images, labels) = build(), make_batch()
    before, image = {name: value.clone() for name, value in method.state_dict().items()}, images.clone()
    predict = extractor(method, "layer3.0", gradcam)
    expected = predict(images, labels)
    with torch.inference_mode():
        found = predict(images.clone(), labels.clone())
        assert torch.is_inference_mode_enabled()
        assert torch.equal(found.maps, expected.maps)
        assert not found.maps.requires_grad
    assert all(parameter.grad is None for parameter in method.parameters())
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())
    assert torch.equal(images, image)


# --- every method -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in sorted(find_methods()) if load_method(name).supervision == "labels"])
def test_every_methods_network_has_maps_at_its_last_and_at_an_early_point(name):
    method, (images, labels) = build(load_method(name)), make_batch()
    with torch.no_grad():
        plain = method.predict(images, labels)
    for point in (list(method.network.points)[-1], "layer2.0"):
        for formula in EXTRACTORS.values():
            found = extractor(method, point, formula)(images, labels)
            assert found.maps.shape == (4, 8, 8)
            assert found.maps.isfinite().all()
            assert found.maps.min() >= 0
            assert found.maps.amax(dim=(1, 2)).max() > 0
            assert torch.equal(found.logits, plain.logits)


def test_a_method_that_does_not_classify_is_refused():
    method, (images, labels) = build(load_method("fsl")), make_batch()
    with pytest.raises(UserError, match="fsl does not classify, so there is no class score"):
        extractor(method, "layer3.0", gradcam)(images, labels)


@pytest.mark.parametrize("frozen", [False, True])
def test_logits_that_do_not_depend_on_the_point_are_refused(frozen):
    class Elsewhere(Method[NoConfig]):
        """A method that classifies something else than its network's features."""

        name = "elsewhere"
        paper = "none"

        def losses(self, images, labels, draws):
            raise AssertionError

        def predict(self, images, labels=None):
            features = self.network(images).last
            return Prediction(logits=self.network.logits(torch.ones_like(features)), maps=features[:, 0])

    method, (images, labels) = build(Elsewhere), make_batch()
    method.requires_grad_(not frozen)
    with pytest.raises(UserError, match=r"logits of elsewhere do not depend on the point 'layer3\.0'; choose another"):
        extractor(method, "layer3.0", gradcam)(images, labels)
