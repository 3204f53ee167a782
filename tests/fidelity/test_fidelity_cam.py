import torch

from wsolbench.methods.cam import CAM

PARITY = ("cam", ("loss", "gradient", "map"))


def test_training(double, batch, literal_head, literal_cross_entropy, same_training, backbone):
    method, (images, labels) = double(CAM, backbone), batch()

    def literal():
        _, _, logits = literal_head(method.network.head, method.network.backbone(images).last)
        return {"cls": literal_cross_entropy(logits, labels)}

    same_training(method, images, labels, {}, literal)


def test_prediction(double, batch, literal_head, close, backbone):
    method, (images, labels) = double(CAM, backbone).eval(), batch()
    with torch.no_grad():
        ours = method.predict(images, labels)
        top = method.predict(images)
        _, maps, logits = literal_head(method.network.head, method.network.backbone(images).last)
    close(ours.logits, logits, "logits")
    close(ours.maps, torch.stack([maps[n, labels[n]] for n in range(len(labels))]), "maps")
    close(top.maps, torch.stack([maps[n, logits[n].argmax()] for n in range(len(labels))]), "maps of the top class")
