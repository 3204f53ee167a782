"""Post-hoc score maps of a trained classifier, from its features at a point and the gradient of a class's logit there.

They need no training of their own and no particular head: whatever a method does, its logits follow from the features.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from wsolbench.errors import UserError
from wsolbench.method import Method, Prediction

Formula = Callable[[Tensor, Tensor], Tensor]


def gradcam(features: Tensor, gradients: Tensor) -> Tensor:
    """Return Grad-CAM's map: channels weighted by the mean of their gradient, summed, cut at 0.

    Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV 2017,
    Eq. 1 and 2. At the features that a linear layer classifies after global average pooling it is the class activation
    map, cut at 0 and divided by the number of positions.

    Args:
        features: float (N, C, h, w), A.
        gradients: float (N, C, h, w), of the class's logit with respect to A.

    Returns:
        float (N, h, w), not negative.

    >>> features = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])
    >>> gradcam(features, torch.tensor([[[[4.0, 0.0]], [[0.0, -2.0]]]]))  # channel weights 2 and -1
    tensor([[[0., 4.]]])
    """
    weights = gradients.mean(dim=(2, 3), keepdim=True)
    return (weights * features).sum(dim=1).relu()


def layercam(features: Tensor, gradients: Tensor) -> Tensor:
    """Return LayerCAM's map: every feature weighted by the positive part of its own gradient, summed, cut at 0.

    Jiang et al., "LayerCAM: Exploring Hierarchical Class Activation Maps for Localization", IEEE TIP 2021: the weight
    of a channel at a position is the gradient there, cut at 0; the map is the sum over channels, cut at 0.

    Args:
        features: float (N, C, h, w), A.
        gradients: float (N, C, h, w), of the class's logit with respect to A.

    Returns:
        float (N, h, w), not negative.

    >>> features = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])
    >>> layercam(features, torch.tensor([[[[4.0, 0.0]], [[0.0, -2.0]]]]))
    tensor([[[4., 0.]]])
    """
    return (gradients.relu() * features).sum(dim=1).relu()


EXTRACTORS: Mapping[str, Formula] = {"gradcam": gradcam, "layercam": layercam}


def extractor(method: Method[Any], point: str, formula: Formula) -> Callable[[Tensor, Tensor], Prediction]:
    """Return what predicts in place of a method: its logits, and the maps that a formula makes of one point.

    Args:
        method: trained, in evaluation mode when it is called.
        point: a point of its network.
        formula: takes features and gradients, as :func:`gradcam`.

    Returns:
        A function of images, float (N, 3, H, W), normalised, and labels, int64 (N,), the classes of the maps. It may
        be called under ``torch.inference_mode``. It raises UserError if the method has no logits, or none that depend
        on the point.
    """

    def predict(images: Tensor, labels: Tensor) -> Prediction:
        with torch.inference_mode(False), torch.enable_grad():
            # Tensors that were made in inference mode cannot take part in a gradient; copies of them can.
            features, gradients, logits = class_gradients(method, point, images.clone(), labels.clone())
        return Prediction(logits=logits, maps=formula(features, gradients))

    return predict


def class_gradients(method: Method[Any], point: str, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Differentiate each image's logit of one class with respect to its features at a point.

    Args:
        method: in evaluation mode, so that images do not depend on each other.
        point: a point of its network.
        images: float (N, 3, H, W), normalised.
        labels: int64 (N,).

    Returns:
        Features and gradients, (N, C, h, w) both, and logits (N, K), all detached.

    Raises:
        UserError: there are no logits, or they do not depend on the point.
    """
    seen: list[Tensor] = []

    def begin_here(features: Tensor) -> Tensor:
        seen.append(features.detach().requires_grad_())
        return seen[-1]

    with method.network.tap(point, begin_here):
        logits = method.predict(images, labels).logits
    if logits is None:
        raise UserError(f"{method.name} does not classify, so there is no class score to extract maps from")
    assert len(seen) <= 1, "predict is one forward"
    gradients = None
    if seen and logits.requires_grad:
        # One sum for the batch: in evaluation mode an image's logits depend on its own features alone.
        (gradients,) = torch.autograd.grad(logits.gather(1, labels[:, None]).sum(), seen, allow_unused=True)
    if gradients is None:
        raise UserError(f"the logits of {method.name} do not depend on the point '{point}'; choose another --point")
    return seen[0].detach(), gradients, logits.detach()
