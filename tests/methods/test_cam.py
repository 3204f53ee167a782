import torch

from wsolbench.method import NoConfig
from wsolbench.methods.cam import CAM


def test_the_map_is_the_weighted_sum_of_the_features(make, batch):
    method, (images, labels) = make(CAM).eval(), batch(n=2)
    with torch.no_grad():
        features = method.network(images).last.double()
        maps = method.predict(images, labels).maps
    weight = method.network.head.fc.weight.detach().double()
    expected = torch.zeros(2, 8, 8, dtype=torch.float64)
    for image in range(2):
        for channel in range(features.shape[1]):
            expected[image] += weight[labels[image], channel] * features[image, channel]
    assert maps.dtype == torch.float32
    torch.testing.assert_close(maps.double(), expected, rtol=1e-5, atol=1e-6)


def test_the_logit_is_the_mean_of_its_map_plus_the_bias(make, batch):
    method, (images, _) = make(CAM).eval(), batch()
    with torch.no_grad():
        for k in range(3):
            prediction = method.predict(images, torch.full((4,), k))
            expected = prediction.maps.mean(dim=(1, 2)) + method.network.head.fc.bias[k]
            torch.testing.assert_close(prediction.logits[:, k], expected, rtol=1e-5, atol=1e-6)


def test_without_labels_the_map_is_that_of_the_top_class(make, batch):
    method, (images, _) = make(CAM, classes=7).eval(), batch(n=6)
    with torch.no_grad():
        free = method.predict(images)
        top = method.predict(images, free.logits.argmax(dim=1))
        other = method.predict(images, (free.logits.argmax(dim=1) + 1) % 7)
    assert torch.equal(free.maps, top.maps)
    assert not torch.equal(free.maps, other.maps)


def test_the_loss_is_the_cross_entropy_of_pooled_features(make, batch):
    method, (images, labels) = make(CAM), batch()
    features = method.network(images).last.detach().double()
    head = method.network.head.fc
    pooled = features.sum(dim=(2, 3)) / 64
    logits = pooled @ head.weight.detach().double().T + head.bias.detach().double()
    expected = sum(logits[i].exp().sum().log() - logits[i, labels[i]] for i in range(4)) / 4
    losses = method.losses(images, labels, {})
    assert set(losses.terms) == {"cls"}
    torch.testing.assert_close(losses.terms["cls"].double(), expected, rtol=1e-5, atol=0)


def test_there_is_nothing_to_draw_and_nothing_to_set(make):
    method = make(CAM)
    assert method.draw(4, (32, 32), torch.Generator()) == {}
    assert method.config == NoConfig()
