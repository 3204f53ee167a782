import torch
from torch.nn import functional

from wsolbench.methods.acol import ACoL

PARITY = ("acol", ("loss", "gradient", "map"))


def literal_branch(branch, features):
    """All class maps (N, K, h, w) and logits (N, K) of a branch."""
    hidden = functional.relu(branch.conv2(functional.relu(branch.conv1(features))))
    maps = branch.classes(hidden)
    return maps, maps.mean(dim=(2, 3))


def literal_min_max(image):
    return (image - image.min()) / (image.max() - image.min())


def literal_erased(features, maps, wanted, threshold):
    """The features with every cell zeroed where the normalised map of the class is at least the threshold."""
    images = []
    for n in range(len(features)):
        scores = literal_min_max(maps[n, wanted[n]].detach())
        seen = torch.ones_like(scores)
        for i in range(scores.shape[0]):
            for j in range(scores.shape[1]):
                if scores[i, j] >= threshold:
                    seen[i, j] = 0
        assert 0 < seen.sum() < seen.numel()
        images.append(features[n] * seen)
    return torch.stack(images)


def trunk(method, images, backbone):
    """What both branches read: on VGG16 all four pools are wide ones, and two more follow."""
    if backbone != "vgg16":
        return method.network.backbone(images).last
    x = images
    for layer in method.network.backbone.features:
        x = functional.max_pool2d(x, 3, 2, 1) if isinstance(layer, torch.nn.MaxPool2d) else layer(x)
    return functional.avg_pool2d(functional.max_pool2d(x, 3, 1, 1), 3, 1, 1)


def test_training(double, batch, literal_cross_entropy, same_training, backbone):
    method, (images, labels) = double(ACoL, backbone, width=48), batch()
    head = method.network.head

    def literal():
        features = trunk(method, images, backbone)
        maps_a, logits_a = literal_branch(head.a, features)
        _, logits_b = literal_branch(head.b, literal_erased(features, maps_a, labels, 0.7))
        return {"cls": literal_cross_entropy(logits_a, labels), "cls_b": literal_cross_entropy(logits_b, labels)}

    same_training(method, images, labels, {}, literal)


def test_prediction(double, batch, close, backbone):
    method, (images, labels) = double(ACoL, backbone, width=48).eval(), batch()
    head = method.network.head
    with torch.no_grad():
        features = trunk(method, images, backbone)
        maps_a, logits_a = literal_branch(head.a, features)
        for given in (labels, None):
            wanted = logits_a.argmax(dim=1) if given is None else given
            maps_b, _ = literal_branch(head.b, literal_erased(features, maps_a, wanted, 0.7))
            expected = []
            for n in range(len(labels)):
                a, b = literal_min_max(maps_a[n, wanted[n]]), literal_min_max(maps_b[n, wanted[n]])
                expected.append([[max(a[i, j], b[i, j]) for j in range(a.shape[1])] for i in range(a.shape[0])])
            ours = method.predict(images, given)
            close(ours.maps, torch.tensor(expected, dtype=torch.float64), "maps")
            close(ours.logits, logits_a, "logits")
