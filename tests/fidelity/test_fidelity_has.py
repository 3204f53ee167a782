import torch

from wsolbench.methods.has import HaS

PARITY = ("has", ("loss", "gradient", "map"))


def literal_hidden(images, seen, cell):
    """Every cell that is not seen, set to 0 by itself."""
    hidden = images.clone()
    for n in range(len(images)):
        for top in range(0, images.shape[2], cell):
            for left in range(0, images.shape[3], cell):
                if not seen[n, 0, top // cell, left // cell]:
                    hidden[n, :, top : top + cell, left : left + cell] = 0
    return hidden


def test_training(double, batch, literal_head, literal_cross_entropy, same_training, backbone):
    method, (images, labels) = double(HaS, backbone, cell=12), batch()  # 12 divides neither side
    draws = method.draw(len(labels), (80, 64), torch.Generator().manual_seed(0))

    def literal():
        hidden = literal_hidden(images, draws["seen"], 12)
        _, _, logits = literal_head(method.network.head, method.network.backbone(hidden).last)
        return {"cls": literal_cross_entropy(logits, labels)}

    assert draws["seen"].any()
    assert not draws["seen"].all()
    same_training(method, images, labels, draws, literal)


def test_prediction(double, batch, literal_head, close, backbone):
    method, (images, labels) = double(HaS, backbone).eval(), batch()
    with torch.no_grad():
        ours = method.predict(images, labels)
        _, maps, logits = literal_head(method.network.head, method.network.backbone(images).last)  # nothing is hidden
    close(ours.logits, logits, "logits")
    close(ours.maps, torch.stack([maps[n, labels[n]] for n in range(len(labels))]), "maps")
