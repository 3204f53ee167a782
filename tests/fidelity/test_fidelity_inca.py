"""InCA, Eq. 1 to 6, on every backbone of the paper: residual attention, triplet loss, consistency as a sum."""

import torch
from torch.nn import functional

from wsolbench.methods.inca import InCA

PARITY = ("inca", ("loss", "gradient", "map"))
POINTS = {
    "vgg16": ("pool3", "pool4", "conv5_3"),
    "inception_v3": ("Mixed_5d", "Mixed_6e", "A3_2b"),
    "resnet50": ("layer3.0", "layer4.0", "layer4.2"),
}
DROP = (True, True, False)  # the mask twice, then the importance map
# Open hinges and masks that are not empty, so that every term has something to say.
SETTINGS = {"margin": 50.0, "gamma_fg": 0.97, "gamma_bg": 1.02, "fc_reduction": "sum"}


def literal_attention(block, image):
    """Eq. 5 for one image (C, h, w): all of P and of P z, projected, added to the image, then the channel mean."""
    channels, height, width = image.shape
    flat = image.reshape(channels, -1)

    def project(layer, values):
        out = layer.weight[:, :, 0, 0] @ values
        return out if layer.bias is None else out + layer.bias[:, None]

    f, g, z = project(block.query, flat), project(block.key, flat), project(block.value, flat)
    weighted = []
    for position in range(flat.shape[1]):
        similarity = torch.exp(f[:, position] @ g - (f[:, position] @ g).max())
        weighted.append((z * (similarity / similarity.sum())).sum(dim=1))
    added = project(block.out, torch.stack(weighted, dim=1))
    return (added + flat).sum(dim=0).reshape(height, width) / channels


def literal_distance(a, b):
    return (sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) + 1e-12).sqrt()


def literal_point(method, index, x):
    """Return what follows a point, the attentions there, and each image's term of Eq. 3 (0 with an empty mask)."""
    outputs, attentions, hinges = [], [], []
    for image in x:
        attention = literal_attention(method.attentions[index], image)
        fixed = attention.detach()
        high, low = SETTINGS["gamma_fg"] * fixed.max(), SETTINGS["gamma_bg"] * fixed.sum() / fixed.numel()
        masks = [(fixed > low) & (fixed < high), fixed > low, fixed < low]
        if all(mask.any() for mask in masks):
            means = [image[:, mask].sum(dim=1) / mask.sum() for mask in masks]
            z = [method.embeddings[index].weight @ mean for mean in means]
            hinges.append((literal_distance(z[0], z[1]) - literal_distance(z[0], z[2]) + SETTINGS["margin"]).relu())
        else:
            hinges.append(image.new_zeros(()))
        factor = 1 / (1 + torch.exp(-attention))
        if DROP[index] and masks[0].any():
            factor = masks[0].to(image.dtype)
        outputs.append(torch.stack([channel * factor for channel in image]))
        attentions.append(attention)
    return torch.stack(outputs), torch.stack(attentions), hinges


def literal_terms(method, images, labels, points, literal_head, literal_cross_entropy):
    attentions, hinges = [], []
    head = method.network.head

    def pass_point(x):
        x, attention, found = literal_point(method, len(attentions), x)
        attentions.append(attention)
        hinges.extend(found)
        return x

    x = images
    for point, step in method.network.backbone.steps():
        x = step(x)
        x = pass_point(x) if point in points else x
    if "A3_2b" in points:  # the third block acts inside the head, which has no dropout here
        x = pass_point(functional.relu(head.A3_2b(functional.relu(head.A3_1b(x)))))
        logits = head.A4(x).mean(dim=(2, 3))
    else:
        logits = literal_head(head, x)[2]
    assert sum(bool(hinge > 0) for hinge in hinges) > len(hinges) // 2, "most triplets are active"
    reference = attentions[-1].detach()
    consistency = 0
    for attention in attentions[:-1]:
        target = functional.interpolate(reference[:, None], size=attention.shape[1:], mode="bilinear")[:, 0]
        for one, other in zip(attention, target, strict=True):
            consistency = consistency + ((one - other) ** 2).sum() / len(images)
    return {
        "cls": literal_cross_entropy(logits, labels),
        "ca": sum(hinges) / len(images),
        "fc": consistency,
    }


def test_training(double, batch, literal_head, literal_cross_entropy, same_training, backbone):
    method, (images, labels) = double(InCA, backbone, **SETTINGS), batch(2)
    torch.manual_seed(3)
    for block in method.attentions:  # at its zero start the block would be the channel mean
        torch.nn.init.normal_(block.out.weight, std=0.05)

    def literal():
        return literal_terms(method, images, labels, POINTS[backbone], literal_head, literal_cross_entropy)

    same_training(method, images, labels, {"drop": torch.tensor(DROP)}, literal)


def test_prediction(double, batch, literal_head, close, backbone):
    method, (images, labels) = double(InCA, backbone).eval(), batch(2)
    with torch.no_grad():
        ours = method.predict(images, labels)
        x = images
        for _, step in method.network.backbone.steps():
            x = step(x)
        _, maps, logits = literal_head(method.network.head, x)
    close(ours.logits, logits, "logits")
    close(ours.maps, torch.stack([maps[n, labels[n]] for n in range(2)]), "maps")
