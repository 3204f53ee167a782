"""FSL: the foreground score and its cross entropy, by hand; what it sees in training and what it predicts."""

import math

import pytest
import torch

from wsolbench.backbones.registry import build_backbone
from wsolbench.methods.fsl import FSL, foreground_loss
from wsolbench.network import build_network


def cross_entropy(score, mask):
    """The binary cross entropy of one pixel, from its definition."""
    p = 1 / (1 + math.exp(-score))
    return -math.log(p) if mask else -math.log(1 - p)


def masked(images, seed=0):
    """Give a batch the fourth channel that training gives it."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(len(images), 1, *images.shape[2:], generator=generator) < 0.4
    return torch.cat([images, mask.to(images.dtype)], dim=1)


def test_the_loss_by_hand():
    # Two cells to four pixels: half-pixel centres give a, (3a + b) / 4, (a + 3b) / 4, b.
    a, b = -1.5, 2.5
    score = torch.tensor([[[a, b]]], dtype=torch.float64)
    mask = torch.tensor([[[0, 0, 1, 1]]], dtype=torch.float64)
    pixels = [(a, 0), ((3 * a + b) / 4, 0), ((a + 3 * b) / 4, 1), (b, 1)]
    expected = sum(cross_entropy(*pixel) for pixel in pixels) / 4
    assert foreground_loss(score, mask).item() == pytest.approx(expected, rel=1e-12)


def test_the_mean_is_over_all_pixels_of_the_batch():
    score = torch.tensor([[[0.0]], [[3.0]]], dtype=torch.float64)
    mask = torch.tensor([[[1.0]], [[0.0]]], dtype=torch.float64)
    expected = (math.log(2) + cross_entropy(3.0, 0)) / 2
    assert foreground_loss(score, mask).item() == pytest.approx(expected, rel=1e-12)


def test_gradients_of_the_loss():
    generator = torch.Generator().manual_seed(0)
    score = torch.randn(2, 3, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    mask = (torch.rand(2, 7, 7, generator=generator) < 0.5).double()
    assert torch.autograd.gradcheck(lambda s: foreground_loss(s, mask), (score,))


def test_the_score_is_a_1x1_convolution_with_a_bias(probe):
    method = probe(FSL, channels=3).double()
    images = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    layer = method.network.head.fc
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.5, -1.0, 2.0]]))
        layer.bias.fill_(0.25)
        expected = 0.5 * images[:, 0] - images[:, 1] + 2 * images[:, 2] + 0.25
        torch.testing.assert_close(method.predict(images).maps, expected.sigmoid(), rtol=1e-12, atol=0)
        losses = method(masked(images), torch.zeros(2, dtype=torch.long), {})
    torch.testing.assert_close(losses.terms["foreground"], foreground_loss(expected, masked(images)[:, 3]))


@pytest.mark.parametrize(
    ("backbone", "weights"), [("resnet-tiny", 64), ("resnet50", 2048), ("vgg16", 1024), ("inception_v3", 1024)]
)
def test_the_last_layer_has_one_channel_and_nothing_else_changes(backbone, weights):
    with torch.device("meta"):
        stride = 4 if backbone == "resnet-tiny" else 16
        plain = build_network(build_backbone(backbone, stride), 200)
        method = FSL(build_network(build_backbone(backbone, stride), 200), FSL.defaults(backbone))
    expected = {f"network.{name}": value.shape for name, value in plain.state_dict().items()}
    found = {name: value.shape for name, value in method.state_dict().items()}
    last = [name for name in expected if expected[name] != found[name]]
    assert [found[name][0] for name in last] == [1, 1]
    assert found[last[0]].numel() == weights
    assert found.keys() == expected.keys()


def test_it_does_not_classify_and_asks_no_label(make, batch):
    method, (images, labels) = make(FSL).eval(), batch(n=3)
    with torch.no_grad():
        prediction, other = method.predict(images, labels), method.predict(images, (labels + 1) % 3)
    assert prediction.logits is None
    assert prediction.maps.shape == (3, 8, 8)
    assert torch.equal(prediction.maps, other.maps)
    assert prediction.maps.min() > 0
    assert prediction.maps.max() < 1
    views = method.views(masked(images), labels, {})
    assert torch.equal(views["mask"], masked(images)[:, 3])
    assert torch.equal(views["foreground"], prediction.maps)


def test_the_network_sees_the_picture_but_not_the_mask(make, batch):
    method, (images, labels) = make(FSL), batch()
    method.eval()  # no batch statistics between the two
    first, second = masked(images, 0), masked(images, 1)
    scores = [method._score(each[:, :3]) for each in (first, second)]
    assert torch.equal(*scores)
    losses = [method(each, labels, {}).terms["foreground"] for each in (first, second)]
    assert losses[0] != losses[1]
    with pytest.raises(RuntimeError, match="channels"):
        method.network(first)


def test_loss_in_float32_under_bf16_and_a_gradient_for_every_parameter(make, batch, gradients):
    method, (images, labels) = make(FSL), batch(n=8)
    with torch.autocast("cpu", torch.bfloat16):
        losses = method(masked(images), labels, {})
    assert losses.terms["foreground"].dtype == torch.float32
    found = gradients(method, losses)
    assert all(value is not None and value.isfinite().all() and value.abs().max() > 0 for value in found.values())


def test_a_step_compiles_without_a_graph_break(make, batch):
    method, (images, labels) = make(FSL), batch()
    plain = method(masked(images), labels, {})
    compiled = torch.compile(method, backend="eager", fullgraph=True)(masked(images), labels, {})
    torch.compiler.reset()
    assert torch.equal(compiled.terms["foreground"], plain.terms["foreground"])


def test_it_learns_where_a_bright_square_is(make):
    generator = torch.Generator().manual_seed(0)
    method = make(FSL)
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1, momentum=0.9)

    def squares(n):
        images = torch.randn(n, 4, 32, 32, generator=generator)
        images[:, 3] = 0
        for image in images:
            y, x = torch.randint(0, 20, (2,), generator=generator).tolist()
            image[:3, y : y + 12, x : x + 12] += 2
            image[3, y : y + 12, x : x + 12] = 1
        return images

    for _ in range(25):
        optimizer.zero_grad()
        method(squares(16), torch.zeros(16, dtype=torch.long), {}).terms["foreground"].backward()
        optimizer.step()
    images = squares(8)
    with torch.no_grad():
        maps = method.eval().predict(images[:, :3]).maps
    inside = torch.nn.functional.avg_pool2d(images[:, 3], 4) == 1
    outside = torch.nn.functional.max_pool2d(images[:, 3], 4) == 0
    assert maps[inside].mean() > 0.8
    assert maps[outside].mean() < 0.2
