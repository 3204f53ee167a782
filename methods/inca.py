"""InCA: in-sample contrastive learning and consistent attention.

Ki, Uh, Lee, Byun, "In-sample Contrastive Learning and Consistent Attention for Weakly Supervised Object Localization",
ACCV 2020. At each insertion point a non-local block gives an attention A (Eq. 5). Thresholds cut it into a
foreground, a background and a dropped foreground (Eq. 1, 2). The features are multiplied by the dropped-foreground
mask or by sigmoid(A); two losses act on the masked features (Eq. 3) and between the attentions (Eq. 4). Identity at
evaluation.

Deviations and guesses, each switchable where it is a setting:

- ``attention="residual"`` (default) adds the block's input and starts its output projection at zero, so that training
  begins at ADL's channel mean. ``"literal"`` is Eq. 5, whose nearly constant attention leaves most masks empty.
- The "circled dot" of Eq. 5 is read as the weighted sum over positions, as the text says.
- Eq. 3 is divided by the number of images, valid or not; an image with an empty mask adds nothing.
- Eq. 4 is averaged over pixels by default; ``fc_reduction="sum"`` is the formula as written.
- An image whose dropped-foreground mask is empty uses sigmoid(A).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from wsolbench.config import Uniform, check, hyper
from wsolbench.method import Draws, Losses, Method
from wsolbench.methods.adl import drop_mask
from wsolbench.network import Network


@dataclass(frozen=True, kw_only=True)
class InCAConfig:
    """Hyperparameters of InCA; see Table 1 of the paper for those that depend on the backbone."""

    drop_rate: float = hyper(0.85, "probability of the mask", low=0, high=1, search=Uniform(0, 1))
    gamma_fg: float = hyper(0.95, "theta_fg, as a share of A's maximum", low=0, high=1, search=Uniform(0, 1))
    gamma_bg: float = hyper(1.2, "theta_bg, in means of A", low=0, search=Uniform(0.5, 2))
    attention: str = hyper("residual", "the attention", choices=("residual", "literal", "channel-mean"))
    mask: str = hyper("dropped-foreground", "the mask to multiply by", choices=("dropped-foreground", "drop"))
    contrastive: str = hyper("triplet", "contrastive attention loss", choices=("triplet", "none"))
    margin: float = hyper(1.0, "margin m of Eq. 3, in embedding distance", low=0)
    embedding: str = hyper("raw", "embeddings of Eq. 3 as they are, or of unit length", choices=("raw", "l2"))
    embedding_size: int = hyper(128, "channels of the embedding", low=1)
    fc: bool = hyper(True, "foreground consistency loss on or off")
    fc_reduction: str = hyper("mean", "Eq. 4 over pixels: mean, or sum as written", choices=("mean", "sum"))
    weight_ca: float = hyper(1.0, "weight of the contrastive attention loss", low=0)
    weight_fc: float = hyper(1.0, "weight of the foreground consistency loss", low=0)

    def __post_init__(self) -> None:
        check(self)


TABLE_1 = {
    "vgg16": InCAConfig(drop_rate=0.33, gamma_fg=0.72, gamma_bg=1.2),
    "inception_v3": InCAConfig(drop_rate=0.69, gamma_fg=0.86, gamma_bg=1.2),
    "resnet50": InCAConfig(drop_rate=0.85, gamma_fg=0.95, gamma_bg=1.2),
}


class InCA(Method[InCAConfig]):
    """Dropped-foreground masks from non-local attention, with contrastive and consistency losses."""

    name = "inca"
    paper = "Ki et al., In-sample Contrastive Learning and Consistent Attention for WSOL, ACCV 2020"
    Config = InCAConfig

    def __init__(self, network: Network, config: InCAConfig) -> None:
        super().__init__(network, config)
        self.insertion = network.roles["insertion"]
        channels = [network.points[point] for point in self.insertion]
        if config.attention != "channel-mean":
            residual = config.attention == "residual"
            self.attentions = nn.ModuleList(NonLocalAttention(c, residual) for c in channels)
        if config.contrastive != "none":
            bias = config.embedding == "l2"  # raw: it cancels in every distance, its gradient is zero
            self.embeddings = nn.ModuleList(nn.Linear(c, config.embedding_size, bias) for c in channels)

    @classmethod
    def defaults(cls, backbone: str) -> InCAConfig:
        """Return the paper's Table 1; its ResNet50 row for every ResNet."""
        return TABLE_1.get(backbone, TABLE_1["resnet50"])

    def draw(self, n: int, size: tuple[int, int], generator: torch.Generator) -> Draws:
        """Draw ``drop``, bool (points,): mask or importance map, once per forward and point."""
        uniform = torch.rand(len(self.insertion), generator=generator, device=generator.device)
        return {"drop": uniform < self.config.drop_rate}

    def losses(self, images: Tensor, labels: Tensor, draws: Draws) -> Losses:
        """Return cross entropy, contrastive attention loss and foreground consistency loss (Eq. 6)."""
        seen: list[Seen] = []
        effects = {point: self._effect(index, draws["drop"][index], seen) for index, point in enumerate(self.insertion)}
        logits = self.network.logits(self.network(images, after=effects).last)
        terms = {"cls": functional.cross_entropy(logits, labels)}
        diagnostics = {
            f"{name}_{point}": value
            for point, at in zip(self.insertion, seen, strict=True)
            for name, value in self._diagnose(at).items()
        }
        if self.config.contrastive == "triplet":
            per_point = [
                contrastive_attention_loss(at.features, at.masks, embed, self.config.margin, self.config.embedding)
                for at, embed in zip(seen, self.embeddings, strict=True)
            ]
            terms["ca"] = self.config.weight_ca * torch.stack([loss for loss, _ in per_point]).sum()
            diagnostics["active_triplets"] = torch.stack([active for _, active in per_point]).mean()
        if self.config.fc:
            attentions = [at.attention for at in seen]
            terms["fc"] = self.config.weight_fc * foreground_consistency_loss(attentions, self.config.fc_reduction)
        return Losses(terms=terms, diagnostics=diagnostics)

    def _diagnose(self, at: "Seen") -> dict[str, Tensor]:
        """Return what tells whether a point's masks and block do anything."""
        found = {"empty_masks": _share_empty(at.masks[0]), "peak": _peak(at.attention)}
        return found | ({"nonlocal_share": _nonlocal_share(at)} if self.config.attention == "residual" else {})

    def _effect(self, index: int, drop: Tensor, seen: "list[Seen]") -> Callable[[Tensor], Tensor]:
        """Return what happens after one point; it leaves what the losses need in ``seen``."""

        def effect(features: Tensor) -> Tensor:
            plain = self.config.attention == "channel-mean"
            attention = features.mean(dim=1, keepdim=True) if plain else self.attentions[index](features)
            masks = in_sample_masks(attention, self.config.gamma_fg, self.config.gamma_bg)
            seen.append(Seen(features, attention, masks))
            importance = attention.sigmoid().to(features.dtype)
            if self.config.mask == "drop":
                chosen = drop_mask(attention, self.config.gamma_fg).to(features.dtype)
            else:
                filled = masks[0].flatten(1).any(dim=1)[:, None, None, None]
                chosen = torch.where(filled, masks[0].to(features.dtype), importance)
            return features * torch.where(drop, chosen, importance)

        return effect


class Seen(NamedTuple):
    """What passed one point.

    Attributes:
        features: the block's input, (N, C, h, w).
        attention: A, (N, 1, h, w).
        masks: dropped foreground, foreground and background; see :func:`in_sample_masks`.
    """

    features: Tensor
    attention: Tensor
    masks: tuple[Tensor, Tensor, Tensor]


class NonLocalAttention(nn.Module):
    """The non-local attention block (Eq. 5), averaged over channels.

    The channel mean is linear and every row of the similarity P sums to 1, so the values are averaged over channels
    before the product with P; the C x HW product is never built.

    Args:
        channels: channels C of the features.
        residual: add the features and project the values by a matrix that starts at zero.
    """

    def __init__(self, channels: int, residual: bool) -> None:
        super().__init__()
        inner = max(channels // 8, 1)
        self.query = nn.Conv2d(channels, inner, 1)
        self.key = nn.Conv2d(channels, inner, 1, bias=False)  # a key bias shifts whole rows: its gradient is zero
        self.value = nn.Conv2d(channels, channels, 1)
        self.out = nn.Conv2d(channels, channels, 1) if residual else None
        if self.out is not None:
            nn.init.zeros_(self.out.weight)
            nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> Tensor:
        """Return the attention A, (N, 1, h, w), of features (N, C, h, w), in float32."""
        with torch.autocast(features.device.type, enabled=False):
            x = features.float()
            query, key, value = (
                y.flatten(2).transpose(1, 2) for y in (self.query(x), self.key(x), self._mean_value(x))
            )
            attended: Tensor = Attend.apply(query, key, value).view(x.shape[0], 1, *x.shape[2:])
            return attended if self.out is None else attended + x.mean(dim=1, keepdim=True)

    def _mean_value(self, x: Tensor) -> Tensor:
        """Return the channel mean of the (projected) values, (N, 1, h, w): one linear map of x to one channel."""
        mean = x.new_full((1, x.shape[1]), 1 / x.shape[1])
        offset = x.new_zeros(1)
        for layer in (self.value,) if self.out is None else (self.out, self.value):
            assert layer.bias is not None
            offset = offset + mean @ layer.bias
            mean = mean @ layer.weight.flatten(1)
        return functional.conv2d(x, mean[:, :, None, None], offset)


class Attend(torch.autograd.Function):
    """P v with P = softmax over keys of q k^T, for values of one channel.

    With S = q k^T and out = P v, dL/dS_ij = P_ij g_i (v_j - out_i) for a gradient g. So the gradients of q, k and v
    are two products with P itself, and neither dL/dP nor dL/dS, both as large as P, is built.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:  # noqa: ANN401
        """Return out (N, L, 1) of query and key (N, L, D) and value (N, L, 1)."""
        similarity = (query @ key.transpose(1, 2)).softmax(dim=2)
        out = similarity @ value
        ctx.save_for_backward(query, key, value, similarity, out)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ANN401
        """Return the gradients of query, key and value."""
        query, key, value, similarity, out = ctx.saved_tensors
        (g,) = grads
        size = query.shape[2]
        to_query = similarity @ torch.cat([value * key, key], dim=2)
        to_key = similarity.transpose(1, 2) @ torch.cat([g * query, g * out * query, g], dim=2)
        grad_query = g * (to_query[:, :, :size] - out * to_query[:, :, size:])
        grad_key = value * to_key[:, :, :size] - to_key[:, :, size : 2 * size]
        return grad_query, grad_key, to_key[:, :, 2 * size :]


def in_sample_masks(attention: Tensor, gamma_fg: float, gamma_bg: float) -> tuple[Tensor, Tensor, Tensor]:
    """Cut an attention into dropped foreground, foreground and background (Eq. 1, 2).

    Args:
        attention: (N, 1, h, w).
        gamma_fg: theta_fg as a share of each image's maximum.
        gamma_bg: theta_bg in means of each image.

    Returns:
        Three bool masks (N, 1, h, w): theta_bg < A < theta_fg, A > theta_bg, A < theta_bg.
    """
    fixed = attention.detach()
    theta_fg = gamma_fg * fixed.amax(dim=(2, 3), keepdim=True)
    theta_bg = gamma_bg * fixed.mean(dim=(2, 3), keepdim=True)
    foreground = fixed > theta_bg
    return foreground & (fixed < theta_fg), foreground, fixed < theta_bg


def contrastive_attention_loss(
    features: Tensor, masks: tuple[Tensor, Tensor, Tensor], embed: nn.Module, margin: float, embedding: str
) -> tuple[Tensor, Tensor]:
    """Pull the dropped foreground to the foreground and push it from the background (Eq. 3).

    Args:
        features: the block's input, (N, C, h, w).
        masks: dropped foreground, foreground, background; bool (N, 1, h, w). They pass no gradient.
        embed: maps (N, C) to (N, E).
        margin: m of Eq. 3.
        embedding: ``raw``, or ``l2`` to scale the embeddings to length 1.

    Returns:
        The loss, [d(dfg, fg) - d(dfg, bg) + m]+ summed over the images with no empty mask and divided by N; and the
        share of images whose hinge is active, detached.
    """
    with torch.autocast(features.device.type, enabled=False):
        z = [embed(mean) for mean in masked_means(features.float(), masks)]
        if embedding == "l2":
            z = [functional.normalize(vector, dim=1) for vector in z]
        hinge = (distance(z[0], z[1]) - distance(z[0], z[2]) + margin).clamp_min(0)
        valid = torch.stack([mask.flatten(1).any(dim=1) for mask in masks]).all(dim=0)
        loss = (hinge * valid).mean()
    return loss, ((hinge > 0) & valid).float().mean().detach()


def masked_means(features: Tensor, masks: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Average features over masks, all in one product.

    Args:
        features: (N, C, h, w).
        masks: bool, each (N, 1, h, w).

    Returns:
        For each mask (N, C); zero where the mask is empty.
    """
    weight = torch.cat(list(masks), dim=1).flatten(2).to(features.dtype)
    sums = weight @ features.flatten(2).transpose(1, 2)
    return (sums / weight.sum(dim=2, keepdim=True).clamp_min(1)).unbind(dim=1)


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Return the L2 distance of the rows of two (N, E) matrices; 1e-12 keeps the gradient finite at zero."""
    return ((a - b).square().sum(dim=1) + 1e-12).sqrt()


def foreground_consistency_loss(attentions: list[Tensor], reduction: str) -> Tensor:
    """Draw earlier attentions to the last one, which is a constant here (Eq. 4).

    Args:
        attentions: (N, 1, h_i, w_i), early to late; the last is resized bilinearly where sizes differ.
        reduction: over pixels: ``sum`` (the formula) or ``mean``. Images are averaged, points are summed.

    Returns:
        A scalar; zero for a single point.
    """
    reference = attentions[-1].detach().float()
    total = reference.new_zeros(())
    for attention in attentions[:-1]:
        target = reference
        if attention.shape[2:] != reference.shape[2:]:
            target = functional.interpolate(reference, size=attention.shape[2:], mode="bilinear", align_corners=False)
        squared = (attention.float() - target).square().flatten(1)
        total = total + (squared.sum(dim=1) if reduction == "sum" else squared.mean(dim=1)).mean()
    return total


def _share_empty(mask: Tensor) -> Tensor:
    """Return the share of images whose mask (N, 1, h, w) is empty."""
    return 1 - mask.flatten(1).any(dim=1).float().mean()


def _peak(attention: Tensor) -> Tensor:
    """Return the mean of max(A) / mean(A) over the images with a positive mean.

    Below gamma_bg / gamma_fg an image's dropped-foreground mask is empty.
    """
    flat = attention.detach().float().flatten(1)
    mean = flat.mean(dim=1)
    ratio = torch.where(mean > 0, flat.amax(dim=1) / mean, 0)
    return ratio.sum() / (mean > 0).sum().clamp_min(1)


def _nonlocal_share(at: "Seen") -> Tensor:
    """Return how much of A's spread over positions the non-local part makes, 0 to 1, the mean over images."""
    plain = at.features.detach().float().mean(dim=1).flatten(1)
    added = (at.attention.detach().flatten(1) - plain).std(dim=1)
    return (added / (added + plain.std(dim=1)).clamp_min(1e-12)).mean()
