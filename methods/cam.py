"""CAM: class activation maps.

Zhou, Khosla, Lapedriza, Oliva, Torralba, "Learning Deep Features for Discriminative Localization", CVPR 2016. The map
of class k is the sum over channels of w_k * features (Eq. 2).
"""

from torch import Tensor
from torch.nn import functional

from wsolbench.method import Draws, Losses, Method, NoConfig


class CAM(Method[NoConfig]):
    """Train with cross entropy; localise with the class activation map."""

    name = "cam"
    paper = "Zhou et al., Learning Deep Features for Discriminative Localization, CVPR 2016"

    def losses(self, images: Tensor, labels: Tensor, draws: Draws) -> Losses:
        """Return the cross entropy of the plain images."""
        logits = self.network.logits(self.network(images).last)
        return Losses(terms={"cls": functional.cross_entropy(logits, labels)})
