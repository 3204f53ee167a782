import torch
from torch.nn import functional

from wsolbench.methods.spg import SPG

PARITY = ("spg", ("loss", "gradient", "map"))
# Near what untrained branches say, so that each target has foreground, background and ignored pixels. On resnet50 C's
# foreground is relative to the maximum, which lies below high_3.
THRESHOLDS = {
    "vgg16": {"low_2": 0.5, "high_2": 0.515, "low_3": 0.512, "high_3": 0.52},
    "inception_v3": {"low_2": 0.52, "high_2": 0.62, "low_3": 0.52, "high_3": 0.6},
    "resnet50": {"low_2": 0.15, "high_2": 0.3, "low_3": 0.2, "high_3": 0.9},
}


def literal_taps(trunk, images, backbone):
    """What B1, B2 and the head read."""
    if backbone == "vgg16":  # the fourth pool is 3x3, of stride 2
        features = trunk(images, keep=("conv4_3",))
        return functional.max_pool2d(features.kept["conv4_3"], 3, stride=2, padding=1), features.last, features.last
    if backbone == "inception_v3":
        features = trunk(images, keep=("Mixed_5d",))
        pooled = functional.max_pool2d(features.kept["Mixed_5d"], 3, stride=2, ceil_mode=True)
        return pooled, features.last, features.last
    features = trunk(images, keep=("layer3.0", "layer3.5"))
    return features.kept["layer3.0"], features.kept["layer3.5"], features.last


def literal_wide(maps, size):
    return functional.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def literal_class_maps(maps, labels, size):
    """Upsample the maps of all classes, then pick one and scale it."""
    picked = []
    for image, label in zip(literal_wide(maps.detach(), size), labels.tolist(), strict=True):
        values = image[label]
        picked.append((values - values.min()) / (values.max() - values.min()))
    return picked


def literal_target(attention, low, high):
    """One image's guidance, pixel by pixel: foreground first, then background over it."""
    rows = attention.detach().tolist()
    count = sum(value > high for row in rows for value in row)
    threshold = high if count >= 30 else 0.7 * max(value for row in rows for value in row)
    target = [[1 if value > threshold else None for value in row] for row in rows]
    for i, row in enumerate(rows):
        for j, value in enumerate(row):
            if value < low:
                target[i][j] = 0
    return target


def literal_loss(probabilities, targets):
    """The mean of -log p over foreground pixels and of -log(1 - p) over background pixels."""
    losses = []
    for image, target in zip(probabilities, targets, strict=True):
        for wanted, said in ((1, image), (0, 1 - image)):
            pixels = [(i, j) for i, row in enumerate(target) for j, value in enumerate(row) if value == wanted]
            if pixels:
                rows, columns = zip(*pixels, strict=True)
                losses.append(-torch.log(said[list(rows), list(columns)]))
    return torch.cat(losses).sum() / len(torch.cat(losses))


def assert_every_kind(targets, name):
    kinds = {value for target in targets for row in target for value in row}
    assert kinds == {0, 1, None}, name


def test_training(double, batch, literal_head, literal_cross_entropy, same_training, backbone):
    thresholds = {"low_1": 0.2, "high_1": 0.7, **THRESHOLDS[backbone]}
    method, (images, labels) = double(SPG, backbone, **thresholds), batch(2)
    trunk, head, size = method.network.backbone, method.network.head, tuple(images.shape[2:])

    def literal():
        early, late, last = literal_taps(trunk, images, backbone)
        features, maps, logits = literal_head(head, last)
        b1 = torch.sigmoid(literal_wide(method.b_shared(method.b1(early)), size))[:, 0]
        b2 = torch.sigmoid(literal_wide(method.b_shared(method.b2(late)), size))[:, 0]
        c = torch.sigmoid(literal_wide(method.c(features), size))[:, 0]
        guides = {"b2": literal_class_maps(maps, labels, size), "b1": b2, "c": (b1 + b2) / 2}
        terms = {"cls": literal_cross_entropy(logits, labels)}
        for number, (name, said) in enumerate((("b2", b2), ("b1", b1), ("c", c)), start=1):
            low, high = thresholds[f"low_{number}"], thresholds[f"high_{number}"]
            targets = [literal_target(attention, low, high) for attention in guides[name]]
            assert_every_kind(targets, name)
            terms[name] = literal_loss(said, targets)
        return terms

    same_training(method, images, labels, {}, literal)


def test_prediction(double, batch, literal_head, close, backbone):
    method, (images, labels) = double(SPG, backbone).eval(), batch(2)
    with torch.no_grad():
        ours = method.predict(images, labels)
        _, maps, logits = literal_head(method.network.head, method.network.backbone(images).last)
    close(ours.logits, logits, "logits")
    close(ours.maps, torch.stack([maps[n, labels[n]] for n in range(2)]), "maps")
