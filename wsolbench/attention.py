"""Non-local blocks (Wang et al., CVPR 2018): every position is a sum over all positions, weighted by similarity."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from wsolbench.arithmetic import at_least_float32

POSITIONS = 56 * 56
"""Most positions whose similarity is kept from forward to backward: 39 MB an image in float32."""

Product = Callable[[Tensor, Tensor, Tensor], Tensor]


class NonLocalAttention(nn.Module):
    """The non-local attention block of InCA (Ki et al., ACCV 2020, Eq. 5), averaged over channels.

    The channel mean is linear and every row of the similarity P sums to 1, so the values are averaged over channels
    before the product with P; the C x HW product is never built.

    Args:
        channels: channels C of the features.
        residual: add the features and project the values by a matrix that starts at zero.

    >>> block, features = NonLocalAttention(16, residual=True), torch.rand(2, 16, 5, 7)
    >>> attention = block(features)
    >>> attention.shape, torch.equal(attention, features.mean(dim=1, keepdim=True))  # where it starts
    (torch.Size([2, 1, 5, 7]), True)
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
        """Return the attention A, (N, 1, h, w), of features (N, C, h, w), in float32 at least."""
        with torch.autocast(features.device.type, enabled=False):
            x = at_least_float32(features)
            query, key, value = (
                y.flatten(2).transpose(1, 2) for y in (self.query(x), self.key(x), self._mean_value(x))
            )
            attended = attend(query, key, value).view(x.shape[0], 1, *x.shape[2:])
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


def attend(query: Tensor, key: Tensor, value: Tensor, positions: int = POSITIONS) -> Tensor:
    """Return P v with P = softmax over keys of q k^T, not divided by sqrt(D), for values of one channel.

    For up to ``positions`` queries P is kept for the gradient. Beyond, queries go in chunks whose P is as large, an
    image, and is computed again for the gradient: the similarity of all queries is never there at once.

    Args:
        query: (N, L, D).
        key: (N, L, D).
        value: (N, L, 1).
        positions: most queries that are not chunked.

    Returns:
        (N, L, 1).
    """
    whole: Tensor = in_query_chunks(Attend.apply, query, key, value, positions)
    return whole


def in_query_chunks(product: Product, query: Tensor, key: Tensor, value: Tensor, positions: int = POSITIONS) -> Tensor:
    """Return product(query, key, value), for many queries chunk by chunk, each recomputed for the gradient.

    Args:
        product: treats every query by itself, and draws nothing.
        query: (..., L, D).
        key: (..., L, D).
        value: (..., L, E).
        positions: most queries that are not chunked; the chunks' similarities are as large as theirs.

    Returns:
        (..., L, E).
    """
    length = query.shape[-2]
    if length <= positions:
        return product(query, key, value)
    chunks = torch.split(query, max(positions**2 // length, 1), dim=-2)
    # Nothing in there is random, and keeping the generator's state would make the GPU wait.
    parts = [checkpoint(product, chunk, key, value, use_reentrant=False, preserve_rng_state=False) for chunk in chunks]
    return torch.cat(parts, dim=-2)


class Attend(torch.autograd.Function):
    """P v with P = softmax over keys of q k^T, for values of one channel.

    With S = q k^T and out = P v, dL/dS_ij = P_ij g_i (v_j - out_i) for a gradient g. So the gradients of q, k and v
    are two products with P itself, and neither dL/dP nor dL/dS, both as large as P, is built.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:  # noqa: ANN401
        """Return out (N, M, 1) of query (N, M, D), key (N, L, D) and value (N, L, 1)."""
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


class ResidualNonLocal(nn.Module):
    """The embedded-Gaussian non-local block of Wang et al. (their Eq. 4 and 6), without subsampling.

    x + BN(W y), where y is the sum over positions of the values, weighted by softmax over keys of q k^T, which is not
    divided by sqrt(D). The scale of BN starts at zero, so the block starts as the identity.

    Args:
        channels: channels C; queries, keys and values have half as many.

    >>> block, features = ResidualNonLocal(16), torch.rand(2, 16, 5, 7)
    >>> torch.equal(block(features), features)  # where it starts
    True
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(channels // 2, 1)
        self.query = nn.Conv2d(channels, inner, 1)
        # What a bias would add is the same for all keys of a query, or for all positions: softmax and BN take it away.
        self.key = nn.Conv2d(channels, inner, 1, bias=False)
        self.value = nn.Conv2d(channels, inner, 1, bias=False)
        self.out = nn.Conv2d(inner, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        for layer in (self.query, self.key, self.value, self.out):
            nn.init.normal_(layer.weight, std=0.01)
        assert self.query.bias is not None
        nn.init.zeros_(self.query.bias)
        nn.init.zeros_(self.norm.weight)

    def forward(self, features: Tensor) -> Tensor:
        """Return features (N, C, h, w) with the block's part added."""
        query, key, value = (
            layer(features).flatten(2).transpose(1, 2)[:, None] for layer in (self.query, self.key, self.value)
        )
        attended = in_query_chunks(_unscaled_attention, query, key, value)[:, 0].transpose(1, 2)
        added: Tensor = self.norm(self.out(attended.reshape(*attended.shape[:2], *features.shape[2:])))
        return features + added


def _unscaled_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return softmax over keys of q k^T times the values, (N, 1, M, D); fused kernels do not store the softmax."""
    return functional.scaled_dot_product_attention(query, key, value, scale=1.0)
