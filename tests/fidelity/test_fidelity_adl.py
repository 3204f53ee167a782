import torch
from torch.nn import functional

from wsolbench.methods.adl import ADL

PARITY = ("adl", ("loss", "gradient", "map"))
POINTS = {
    "vgg16": ("pool3", "conv4_3", "conv5_3"),
    "inception_v3": ("Mixed_5d", "Mixed_6e", "A3_2b"),
    "resnet50": ("layer3.0", "layer4.0", "layer4.2"),
}
GAMMA = 0.8
DROP = (True, False, True)  # the drop mask, the importance map, the drop mask


def literal_layer(x, dropped):
    """Multiply each image by its drop mask or its importance map, made pixel by pixel."""
    images = []
    for image in x:
        attention = image.sum(dim=0) / image.shape[0]
        peak = max(value for row in attention.tolist() for value in row)
        mask = [[float(value < GAMMA * peak) for value in row] for row in attention.tolist()]
        factor = torch.tensor(mask, dtype=torch.float64) if dropped else 1 / (1 + torch.exp(-attention))
        images.append(torch.stack([channel * factor for channel in image]))
    return torch.stack(images)


def literal_trunk(trunk, x, decisions):
    for point, step in trunk.steps():
        x = step(x)
        if point in decisions:
            x = literal_layer(x, decisions[point])
    return x


def test_training(double, batch, literal_head, literal_cross_entropy, same_training, backbone):
    method, (images, labels) = double(ADL, backbone, gamma=GAMMA), batch(2)
    decisions = dict(zip(POINTS[backbone], DROP, strict=True))
    head = method.network.head

    def literal():
        x = literal_trunk(method.network.backbone, images, decisions)
        if "A3_2b" in decisions:  # the third layer acts inside the head, which has no dropout here
            x = functional.relu(head.A3_2b(functional.relu(head.A3_1b(x))))
            logits = head.A4(literal_layer(x, decisions["A3_2b"])).mean(dim=(2, 3))
        else:
            logits = literal_head(head, x)[2]
        return {"cls": literal_cross_entropy(logits, labels)}

    same_training(method, images, labels, {"drop": torch.tensor(DROP)}, literal)


def test_prediction(double, batch, literal_head, close, backbone):
    method, (images, labels) = double(ADL, backbone).eval(), batch(2)
    with torch.no_grad():
        ours = method.predict(images, labels)
        _, maps, logits = literal_head(method.network.head, literal_trunk(method.network.backbone, images, {}))
    close(ours.logits, logits, "logits")
    close(ours.maps, torch.stack([maps[n, labels[n]] for n in range(2)]), "maps")
