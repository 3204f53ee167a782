"""FSL: the few-shot, fully supervised baseline (not weakly supervised: it trains on boxes).

Choe, Oh, Lee, Chun, Akata, Shim, "Evaluating Weakly Supervised Object Localization Methods Right", CVPR 2020: what the
boxes of train-fullsup are worth if a network is trained on them instead of being tuned with them. The last layer of the
backbone's CAM head becomes a 1x1 convolution to one channel, the score of the foreground, which is trained with
binary cross entropy at every pixel against the mask of the boxes. It does not classify.

Named guesses: the score is upsampled bilinearly to the input's size before the cross entropy, which is averaged over
all pixels; the raw map is the score's sigmoid; the head keeps the backbone's dropout. How train-fullsup is divided and
how long it trains is the experiment's business: docs/decisions/0006.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from wsolbench.method import Draws, Losses, Method, NoConfig, Prediction
from wsolbench.network import Network


class FSL(Method[NoConfig]):
    """Train the foreground score against masks of boxes; localise with it, whatever the class."""

    name = "fsl"
    paper = "Choe et al., Evaluating Weakly Supervised Object Localization Methods Right, CVPR 2020"
    supervision = "masks"

    def __init__(self, network: Network, config: NoConfig) -> None:
        super().__init__(network.with_head(network.backbone.make_head(1)), config)

    def losses(self, images: Tensor, labels: Tensor, draws: Draws) -> Losses:
        """Return the cross entropy of the foreground; the fourth channel of the images is its mask."""
        pictures = images[:, :3].contiguous(memory_format=torch.channels_last)
        return Losses(terms={"foreground": foreground_loss(self._score(pictures), images[:, 3])})

    def predict(self, images: Tensor, labels: Tensor | None = None) -> Prediction:
        """Return the probability of the foreground, whatever the labels are, and no logits."""
        return Prediction(logits=None, maps=self._score(images).sigmoid())

    def views(self, images: Tensor, labels: Tensor, draws: Draws) -> Mapping[str, Tensor]:
        """Show the masks and what is predicted for them."""
        return {"mask": images[:, 3], "foreground": self.predict(images[:, :3]).maps}

    def _score(self, images: Tensor) -> Tensor:
        """Return the foreground score, float32 (N, h, w): the head's linear map at every position."""
        features = self.network(images).last
        weight, bias, _ = self.network.head.classifier()
        with torch.autocast(features.device.type, enabled=False):
            return functional.conv2d(features.to(weight.dtype), weight[:, :, None, None], bias)[:, 0]


def foreground_loss(score: Tensor, mask: Tensor) -> Tensor:
    """Return the binary cross entropy of a score map against a mask, averaged over all pixels.

    Args:
        score: float (N, h, w), before the sigmoid.
        mask: (N, H, W), 1 in the foreground, 0 elsewhere; the score is upsampled to this size.

    >>> foreground_loss(torch.zeros(1, 2, 2), torch.ones(1, 4, 4)).item()
    0.6931471824645996
    """
    wide = functional.interpolate(score[:, None], size=mask.shape[1:], mode="bilinear", align_corners=False)[:, 0]
    return functional.binary_cross_entropy_with_logits(wide, mask.to(wide.dtype))
