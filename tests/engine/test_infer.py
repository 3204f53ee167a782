"""One forward over a split: what it calls, in which order, and what it makes of bad maps."""

import numpy as np
import pytest
import torch

from wsolbench.data.augment import normalize
from wsolbench.engine.infer import infer
from wsolbench.errors import RunError
from wsolbench.method import Prediction
from wsolbench.methods.cam import CAM
from wsolbench.protocols import prepare

COUNT = 21


class Watched(CAM):
    """CAM that notes how it is asked."""

    def __init__(self, network, config):
        super().__init__(network, config)
        self.asked = []

    def predict(self, images, labels=None):
        self.asked.append(
            (
                tuple(images.shape),
                labels.tolist(),
                self.training,
                torch.is_inference_mode_enabled(),
                torch.is_autocast_enabled("cpu"),
                torch.get_float32_matmul_precision(),
            )
        )
        return super().predict(images, labels)


class Broken(CAM):
    """CAM with one constant map, one with a NaN and, if asked, one with infinity."""

    infinite = False

    def predict(self, images, labels=None):
        prediction = super().predict(images, labels)
        maps = prediction.maps.clone()
        maps[1] = 3.3
        maps[2, 0, 0] = torch.nan
        if self.infinite:
            maps[0, 1, 1] = torch.inf
        return Prediction(logits=prediction.logits, maps=maps)


def collect(into):
    return lambda start, maps: into.append((start, maps))


def test_one_forward_a_batch_in_the_order_of_the_split(make):
    method, bank, labels = make.method(Watched), make.bank(COUNT, make.side), make.labels(COUNT)
    found = []
    torch.set_float32_matmul_precision("medium")  # as a user's script may have left it
    try:
        result = infer(method, bank, labels, collect(found), batch_size=8)
    finally:
        torch.set_float32_matmul_precision("highest")
    assert [asked[0] for asked in method.asked] == [(8, 3, 32, 32), (8, 3, 32, 32), (5, 3, 32, 32)]
    assert sum((asked[1] for asked in method.asked), []) == labels.tolist()
    # Evaluation mode, no gradients, no autocast, float32 products in float32.
    assert {asked[2:] for asked in method.asked} == {(False, True, False, "highest")}
    assert [start for start, _ in found] == [0, 8, 16]
    assert (result.logits.shape, result.logits.dtype) == ((COUNT, make.classes), np.float32)
    assert (result.raw_maps.shape, result.raw_maps.dtype) == ((COUNT, 8, 8), np.float32)
    maps = np.concatenate([maps for _, maps in found])
    np.testing.assert_array_equal(maps, prepare(result.raw_maps, (make.side, make.side)).maps)
    assert not result.constant.any()
    assert not result.invalid.any()


def test_logits_and_maps_are_those_of_each_image(make):
    method, bank, labels = make.method(), make.bank(COUNT, make.side), make.labels(COUNT)
    method.eval()
    result = infer(method, bank, labels, collect([]), batch_size=8)
    pixels = bank.batch(torch.arange(COUNT)).double() / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    images = ((pixels - mean) / std).float().permute(0, 3, 1, 2)
    with torch.no_grad():
        for i in range(COUNT):
            features = method.network(images[i : i + 1]).last
            weight = method.network.head.fc.weight[labels[i]]
            np.testing.assert_allclose(result.raw_maps[i], torch.tensordot(weight, features[0], 1), atol=1e-4)
            np.testing.assert_allclose(result.logits[i], method.network.logits(features)[0], atol=1e-4)


def test_the_batch_size_is_none_of_the_networks_business(make):
    method, bank, labels = make.method(), make.bank(COUNT, make.side), make.labels(COUNT)
    a, b = (infer(method, bank, labels, collect([]), batch_size=size) for size in (4, 64))
    np.testing.assert_allclose(a.raw_maps, b.raw_maps, atol=1e-4)
    np.testing.assert_allclose(a.logits, b.logits, atol=1e-4)


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_restored_and_no_state_changes(make, training):
    method, bank = make.method().train(training), make.bank(9, make.side)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    precision = torch.get_float32_matmul_precision()
    infer(method, bank, make.labels(9), collect([]))
    assert all(module.training is training for module in method.modules())
    assert torch.get_float32_matmul_precision() == precision
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())


def test_bad_maps_are_zeros_and_counted(make):
    found = []
    result = infer(make.method(Broken), make.bank(4, make.side), make.labels(4), collect(found))
    assert result.constant.tolist() == [False, True, False, False]
    assert result.invalid.tolist() == [False, False, True, False]
    assert found[0][1].max(axis=(1, 2)).tolist() == [255, 0, 0, 255]
    assert np.isnan(result.raw_maps[2, 0, 0])  # kept as it came, for whoever looks into it


def test_a_method_without_logits(make):
    method = make.method("fsl").eval()
    bank, found = make.bank(9, make.side), []
    result = infer(method, bank, make.labels(9), collect(found), batch_size=4)
    assert result.logits is None
    assert (result.raw_maps.shape, result.constant.shape, result.invalid.shape) == ((9, 8, 8), (9,), (9,))
    with torch.no_grad():
        expected = method.predict(normalize(bank.batch(torch.arange(9)))).maps
    np.testing.assert_allclose(result.raw_maps, expected, atol=1e-5)
    np.testing.assert_array_equal(np.concatenate([maps for _, maps in found]), prepare(result.raw_maps, (32, 32)).maps)


def test_another_function_may_predict(make):
    method, asked = make.method(Watched), []

    def predict(images, labels):
        asked.append((method.training, labels.tolist()))
        return Prediction(logits=torch.ones(len(images), 2), maps=images[:, 0])

    bank = make.bank(5, make.side)
    result = infer(method, bank, make.labels(5), collect([]), predict=predict, batch_size=3)
    assert method.asked == []
    assert asked == [(False, [0, 1, 2]), (False, [3, 0])]
    np.testing.assert_array_equal(result.raw_maps, normalize(bank.batch(torch.arange(5)))[:, 0])
    assert (result.logits == 1).all()


def test_an_infinite_map_stops_before_it_is_scored(make):
    method, found = make.method(Broken), []
    method.infinite = True
    with pytest.raises(RunError, match="infinity"):
        infer(method, make.bank(4, make.side), make.labels(4), collect(found))
    assert found == []
