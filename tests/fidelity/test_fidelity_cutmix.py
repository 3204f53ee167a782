import math

import torch

from wsolbench.methods.cutmix import CutMix

PARITY = ("cutmix", ("loss", "gradient", "map"))
SHARE, CENTRE = 0.6, (10, 50)
OTHER = torch.tensor([2, 0, 1])  # a cycle: its inverse is another permutation


def literal_mix(images, share, centre, other):
    """The box pasted by slices, image by image, and lambda from its true area."""
    height, width = images.shape[2:]
    box = []
    for side, middle in zip((height, width), centre, strict=True):
        length = int(side * math.sqrt(1 - share))
        box.append((max(middle - length // 2, 0), min(middle + length // 2, side)))
    (top, bottom), (left, right) = box
    mixed = images.clone()
    for n in range(len(images)):
        mixed[n, :, top:bottom, left:right] = images[other[n], :, top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)


def test_training(double, batch, literal_head, literal_cross_entropy, same_training, backbone):
    method, (images, labels) = double(CutMix, backbone), batch(3)
    draws = {"share": torch.tensor(SHARE).double(), "centre": torch.tensor(CENTRE), "other": OTHER}

    def literal():
        mixed, weight = literal_mix(images, SHARE, CENTRE, OTHER)
        assert SHARE < weight < 1  # the border cuts the box
        _, _, logits = literal_head(method.network.head, method.network.backbone(mixed).last)
        own, pasted = literal_cross_entropy(logits, labels), literal_cross_entropy(logits, labels[OTHER])
        return {"cls": weight * own + (1 - weight) * pasted}

    assert method.draw(len(labels), (80, 64), torch.Generator().manual_seed(0)).keys() == draws.keys()
    same_training(method, images, labels, draws, literal)


def test_prediction(double, batch, literal_head, close, backbone):
    method, (images, labels) = double(CutMix, backbone).eval(), batch()
    with torch.no_grad():
        ours = method.predict(images, labels)
        _, maps, logits = literal_head(method.network.head, method.network.backbone(images).last)
    close(ours.logits, logits, "logits")
    close(ours.maps, torch.stack([maps[n, labels[n]] for n in range(len(labels))]), "maps")
