"""InCA: in-sample contrastive learning and consistent attention.

Ki, Uh, Lee, Byun, "In-sample Contrastive Learning and Consistent Attention for Weakly Supervised Object Localization",
ACCV 2020. At each insertion point a non-local block gives an attention A (Eq. 5). Thresholds cut it into a
foreground, a background and a dropped foreground (Eq. 1, 2). The features are multiplied by the dropped-foreground
mask or by sigmoid(A); two losses act on the masked features (Eq. 3) and between the attentions (Eq. 4). Identity at
evaluation.

Deviations and guesses, each switchable where it is a setting:

- ``attention="residual"`` (default, in the presets too) adds the block's input and starts its output projection at
  zero, so that training begins at ADL's channel mean. ``--set attention=literal`` is Eq. 5 as written, whose nearly
  constant attention leaves most masks empty.
- The "circled dot" of Eq. 5 is read as the weighted sum over positions, as the text says.
- Eq. 3 is divided by the number of images, valid or not; an image with an empty mask adds nothing. The same holds for
  ``contrastive="nt-xent"``, the supplement's Eq. 1.
- Eq. 4 is averaged over pixels by default; ``fc_reduction="sum"`` is the formula as written and what every preset has.
- An image whose dropped-foreground mask is empty uses sigmoid(A).
- With a single insertion point there is no Eq. 4 (Table 3, first row).
- No dropout in the head, as in the reference's ADL.
- Presets: the baseline is ADL with ADL's own defaults, Table 1 gives every other row; "w/o M_dfg" changes the applied
  mask only, Eq. 3 keeps M_dfg. What the paper does not say is the backbone's, the dataset's or the recipe's default:
  the map stride (16 at 224 pixels, finer on small images), epochs, decay, Nesterov momentum, the faster new layers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from wsolbench.arithmetic import at_least_float32
from wsolbench.attention import NonLocalAttention
from wsolbench.config import Uniform, check, hyper
from wsolbench.contrastive import masked_means, nt_xent, triplet
from wsolbench.method import Draws, Losses, Method, Preset
from wsolbench.methods.adl import ADLConfig, drop_mask
from wsolbench.network import Network


@dataclass(frozen=True, kw_only=True)
class InCAConfig:
    """Hyperparameters of InCA; see Table 1 of the paper for those that depend on the backbone."""

    drop_rate: float = hyper(0.85, "probability of the mask", low=0, high=1, search=Uniform(0, 1))
    gamma_fg: float = hyper(0.95, "theta_fg, as a share of A's maximum", low=0, high=1, search=Uniform(0, 1))
    gamma_bg: float = hyper(1.2, "theta_bg, in means of A", low=0, search=Uniform(0.5, 2))
    points: tuple[str, ...] = hyper((), "insertion points by name, the last is Eq. 4's reference; none: the backbone's")
    attention: str = hyper("residual", "the attention", choices=("residual", "literal", "channel-mean"))
    mask: str = hyper("dropped-foreground", "the mask to multiply by", choices=("dropped-foreground", "drop"))
    contrastive: str = hyper("triplet", "contrastive attention loss", choices=("triplet", "nt-xent", "none"))
    margin: float = hyper(1.0, "margin m of the triplet (Eq. 3), in embedding distance", low=0)
    temperature: float = hyper(0.07, "temperature of nt-xent, in cosines", low=1e-3)
    embedding: str = hyper("raw", "embeddings of the triplet as they are, or of unit length", choices=("raw", "l2"))
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


def paper_presets() -> dict[str, Preset]:
    """Return one preset for each row of the ablations: Table 2 and its text, Table 3, the supplement's Table 1."""
    full, vgg16 = (replace(TABLE_1[backbone], fc_reduction="sum") for backbone in ("resnet50", "vgg16"))
    adl = replace(full, drop_rate=ADLConfig().drop_rate, gamma_fg=ADLConfig().gamma)
    adl = replace(adl, attention="channel-mean", mask="drop", contrastive="none", fc=False)
    rows = {
        "table2/baseline": ("Table 2, Baseline", adl),
        "table2/baseline-with-m-dfg": ("Section 4.2, Baseline with M_dfg", replace(adl, mask="dropped-foreground")),
        "table2/without-contrastive": ("Table 2, Ours w/o contrastive", replace(full, contrastive="none")),
        "table2/without-fc": ("Table 2, Ours w/o L_fc", replace(full, fc=False)),
        "table2/without-non-local": ("Table 2, Ours w/o non-local", replace(full, attention="channel-mean")),
        "table2/without-m-dfg": ("Table 2, Ours w/o M_dfg", replace(full, mask="drop")),
        "table2/full": ("Table 2, Ours (full)", full),
    }
    points: tuple[str, ...] = ()
    for point in ("conv5_3", "pool4", "pool3", "pool2", "pool1"):  # cumulative, from late to early
        rows[f"table3/{point}"] = (f"Table 3, {'+ ' if points else ''}{point}", replace(vgg16, points=(point, *points)))
        points = (point, *points)
    rows |= {
        "supplement1/baseline": ("supplement, Table 1, Baseline", adl),
        "supplement1/nt-xent": ("supplement, Table 1, Ours w NT-Xent", replace(full, contrastive="nt-xent")),
        "supplement1/triplet": ("supplement, Table 1, Ours w triplet", full),
    }
    recipe = {"lr": 0.001, "batch_size": 32, "weight_decay": 1e-4}
    presets = {}
    for name, (row, config) in rows.items():
        backbone = "vgg16" if config.points else "resnet50"
        presets[name] = Preset(backbone=backbone, config=config, recipe=recipe, source=f"Ki et al. 2020, {row}")
    return presets


class InCA(Method[InCAConfig]):
    """Dropped-foreground masks from non-local attention, with contrastive and consistency losses."""

    name = "inca"
    paper = "Ki et al., In-sample Contrastive Learning and Consistent Attention for WSOL, ACCV 2020"
    Config = InCAConfig
    presets = paper_presets()
    resting = {"embeddings.": "raw distances far exceed the paper's margin, which shuts the hinge"}

    def __init__(self, network: Network, config: InCAConfig) -> None:
        super().__init__(network, config)
        network.head.dropout = 0.0
        self.points = network.choose(config.points, "insertion")
        channels = [network.points[point] for point in self.points]
        if config.attention != "channel-mean":
            residual = config.attention == "residual"
            self.attentions = nn.ModuleList(NonLocalAttention(c, residual) for c in channels)
        if config.contrastive != "none":
            self.unit = config.contrastive == "nt-xent" or config.embedding == "l2"
            # Without unit length a bias cancels in every distance: its gradient is zero.
            self.embeddings = nn.ModuleList(nn.Linear(c, config.embedding_size, bias=self.unit) for c in channels)

    @classmethod
    def defaults(cls, backbone: str) -> InCAConfig:
        """Return the paper's Table 1; its ResNet50 row for every ResNet."""
        return TABLE_1.get(backbone, TABLE_1["resnet50"])

    def draw(self, n: int, size: tuple[int, int], generator: torch.Generator) -> Draws:
        """Draw ``drop``, bool (points,): mask or importance map, once per forward and point."""
        uniform = torch.rand(len(self.points), generator=generator, device=generator.device)
        return {"drop": uniform < self.config.drop_rate}

    def losses(self, images: Tensor, labels: Tensor, draws: Draws) -> Losses:
        """Return cross entropy, contrastive attention loss and foreground consistency loss (Eq. 6)."""
        logits, seen = self._masked_forward(images, draws)
        terms = {"cls": functional.cross_entropy(logits, labels)}
        diagnostics = {f"{name}_{at}": value for at in seen for name, value in self._watch(seen[at]).items()}
        if self.config.contrastive != "none":
            found = [self._contrast(at, embed) for at, embed in zip(seen.values(), self.embeddings, strict=True)]
            terms["ca"] = self.config.weight_ca * torch.stack([per_image.mean() for per_image in found]).sum()
            if self.config.contrastive == "triplet":
                active = [(per_image.detach() > 0).float().mean() for per_image in found]
                diagnostics |= {f"active_triplets_{point}": share for point, share in zip(seen, active, strict=True)}
        if self.config.fc and len(seen) > 1:
            attentions = [at.attention for at in seen.values()]
            terms["fc"] = self.config.weight_fc * foreground_consistency_loss(attentions, self.config.fc_reduction)
        return Losses(terms=terms, diagnostics=diagnostics)

    def views(self, images: Tensor, labels: Tensor, draws: Draws) -> Mapping[str, Tensor]:
        """Show the attention, M_dfg, M_fg and the factor of the features at each point, and the class maps."""
        _, seen = self._masked_forward(images, draws)
        shown: dict[str, Tensor] = {}
        for point, at in seen.items():
            pictures = {"attention": at.attention, "dropped foreground": at.masks[0], "foreground": at.masks[1]}
            pictures |= {"factor": at.factor}
            shown |= {f"{name} {point}": picture.squeeze(1).float() for name, picture in pictures.items()}
        return shown | dict(super().views(images, labels, draws))

    def _masked_forward(self, images: Tensor, draws: Draws) -> "tuple[Tensor, dict[str, Seen]]":
        """Return the logits of the masked features, and what passed each point, early to late."""
        seen: dict[str, Seen] = {}
        effects = {
            point: self._effect(index, draws["drop"][index], point, seen) for index, point in enumerate(self.points)
        }
        return self.network.logits(self.network(images, after=effects).last), seen

    def _effect(self, index: int, drop: Tensor, point: str, seen: "dict[str, Seen]") -> Callable[[Tensor], Tensor]:
        """Return what happens after one point; it leaves what the losses need in ``seen``."""

        def effect(features: Tensor) -> Tensor:
            plain = self.config.attention == "channel-mean"
            attention = features.mean(dim=1, keepdim=True) if plain else self.attentions[index](features)
            masks = in_sample_masks(attention, self.config.gamma_fg, self.config.gamma_bg)
            importance = attention.sigmoid().to(features.dtype)
            if self.config.mask == "drop":
                chosen = drop_mask(attention, self.config.gamma_fg).to(features.dtype)
            else:
                filled = masks[0].flatten(1).any(dim=1)[:, None, None, None]
                chosen = torch.where(filled, masks[0].to(features.dtype), importance)
            factor = torch.where(drop, chosen, importance)
            seen[point] = Seen(features, attention, masks, factor)
            return features * factor

        return effect

    def _contrast(self, at: "Seen", embed: nn.Module) -> Tensor:
        """Return each image's contrastive attention loss at one point, (N,); 0 where a mask is empty."""
        z = in_sample_embeddings(at.features, at.masks, embed, self.unit)
        if self.config.contrastive == "triplet":
            per_image = triplet(*z, margin=self.config.margin)
        else:
            per_image = nt_xent(*z, temperature=self.config.temperature)
        return per_image * torch.stack([mask.flatten(1).any(dim=1) for mask in at.masks]).all(dim=0)

    def _watch(self, at: "Seen") -> dict[str, Tensor]:
        """Return what tells whether a point's masks and block do anything."""
        found = {
            "empty_masks": 1 - at.masks[0].flatten(1).any(dim=1).float().mean(),
            "foreground": at.masks[1].float().mean(),
            "peak": _peak(at.attention),
        }
        return found | ({"nonlocal_share": _nonlocal_share(at)} if self.config.attention == "residual" else {})


class Seen(NamedTuple):
    """What passed one point.

    Attributes:
        features: the block's input, (N, C, h, w).
        attention: A, (N, 1, h, w).
        masks: dropped foreground, foreground and background; see :func:`in_sample_masks`.
        factor: what multiplied the features, (N, 1, h, w).
    """

    features: Tensor
    attention: Tensor
    masks: tuple[Tensor, Tensor, Tensor]
    factor: Tensor


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


def in_sample_embeddings(
    features: Tensor, masks: tuple[Tensor, Tensor, Tensor], embed: nn.Module, unit: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Embed the average features of three masks, in float32 at least.

    Args:
        features: the block's input, (N, C, h, w).
        masks: dropped foreground, foreground, background; bool (N, 1, h, w). They pass no gradient.
        embed: maps (N, C) to (N, E).
        unit: scale the embeddings to length 1.

    Returns:
        For each mask (N, E).
    """
    with torch.autocast(features.device.type, enabled=False):
        dropped, foreground, background = (embed(mean) for mean in masked_means(at_least_float32(features), masks))
        if unit:
            dropped, foreground, background = (functional.normalize(z) for z in (dropped, foreground, background))
    return dropped, foreground, background


def foreground_consistency_loss(attentions: list[Tensor], reduction: str) -> Tensor:
    """Draw earlier attentions to the last one, which is a constant here (Eq. 4).

    Args:
        attentions: (N, 1, h_i, w_i), early to late; the last is resized bilinearly where sizes differ.
        reduction: over pixels: ``sum`` (the formula) or ``mean``. Images are averaged, points are summed.

    Returns:
        A scalar; needs two points.
    """
    reference = at_least_float32(attentions[-1].detach())
    total = reference.new_zeros(())
    for attention in attentions[:-1]:
        target = reference
        if attention.shape[2:] != reference.shape[2:]:
            target = functional.interpolate(reference, size=attention.shape[2:], mode="bilinear", align_corners=False)
        squared = (at_least_float32(attention) - target).square().flatten(1)
        total = total + (squared.sum(dim=1) if reduction == "sum" else squared.mean(dim=1)).mean()
    return total


def _peak(attention: Tensor) -> Tensor:
    """Return the mean of max(A) / mean(A) over the images with a positive mean.

    Below gamma_bg / gamma_fg an image's dropped-foreground mask is empty.
    """
    flat = attention.detach().float().flatten(1)
    mean = flat.mean(dim=1)
    ratio = torch.where(mean > 0, flat.amax(dim=1) / mean, 0)
    return ratio.sum() / (mean > 0).sum().clamp_min(1)


def _nonlocal_share(at: Seen) -> Tensor:
    """Return how much of A's spread over positions the non-local part makes, 0 to 1, the mean over images."""
    plain = at.features.detach().float().mean(dim=1).flatten(1)
    added = (at.attention.detach().flatten(1) - plain).std(dim=1, correction=0)
    return (added / (added + plain.std(dim=1, correction=0)).clamp_min(1e-12)).mean()
