"""Attention of the diffusion prior: cosine similarity, rotary positions, one key head."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["N_BUCKETS", "MultiQueryAttention", "make_norm", "relative_buckets", "rotary_angles"]

N_BUCKETS = 32
"""Learned relative biases per head."""

_MAX_DISTANCE = 128
_MAX_ROTARY = 32
_COSINE_SCALE = 16.0


def relative_buckets(n: int, *, device: torch.device) -> Int[Tensor, "query keys"]:
    """Return the index of the learned relative bias of each pair of query and key position.

    Distances back are exact up to half of the buckets and logarithmic beyond; all keys ahead share
    bucket 0 (Raffel et al. 2020, "T5", arXiv:1910.10683, in its one-directional form). Of the
    ``n + 1`` keys, key 0 is the learned null key: key ``j`` belongs to position ``j - 1`` but its
    distance is counted from ``j``, as released.
    """
    back = torch.arange(n, device=device)[:, None] - torch.arange(n + 1, device=device)
    back = back.clamp(min=0)
    exact = N_BUCKETS // 2
    ratio = (back.clamp(min=1).float() / exact).log() / math.log(_MAX_DISTANCE / exact)
    far = (exact + (ratio * (N_BUCKETS - exact)).long()).clamp(max=N_BUCKETS - 1)
    return torch.where(back < exact, back, far)


def rotary_angles(
    n: int, head_width: int, *, device: torch.device
) -> Float[Tensor, "tokens features"]:
    """Return rotation angles in radians: one row per position, one column per pair of features.

    At most the first 32 features of a head are rotated.
    """
    width = min(_MAX_ROTARY, head_width)
    feature = torch.arange(0, width, 2, device=device, dtype=torch.float32)
    return torch.arange(n, device=device)[:, None] * (1 / 10_000 ** (feature / width))


def rotate(
    x: Float[Tensor, "*batch tokens features"], angles: Float[Tensor, "tokens features2"]
) -> Float[Tensor, "*batch tokens features"]:
    """Rotate neighbouring pairs of features, so that products depend on relative positions only.

    Features beyond twice the width of `angles` stay as they are. See Su et al. 2021, "RoFormer",
    arXiv:2104.09864.
    """
    width = 2 * angles.shape[-1]
    pairs = x[..., :width].unflatten(-1, (-1, 2))
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = pairs[..., 0], pairs[..., 1]
    rotated = torch.stack([first * cos - second * sin, second * cos + first * sin], dim=-1)
    return torch.cat([rotated.flatten(-2), x[..., width:]], dim=-1)


class ReleasedNorm(nn.Module):
    """LayerNorm without bias, in the order of operations of the released code."""

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n_features))

    def forward(
        self, x: Float[Tensor, "batch tokens features"]
    ) -> Float[Tensor, "batch tokens features"]:
        """Normalise each token to mean 0 and variance 1, and scale it by the weights."""
        variance = x.var(dim=-1, unbiased=False, keepdim=True)
        return (x - x.mean(dim=-1, keepdim=True)) * (variance + 1e-5).rsqrt() * self.weight


def make_norm(n_features: int, *, fused_kernels: bool) -> nn.Module:
    """Make a LayerNorm without bias: PyTorch's kernel, or the released order of operations."""
    return nn.LayerNorm(n_features, bias=False) if fused_kernels else ReleasedNorm(n_features)


class MultiQueryAttention(nn.Module):
    """Cosine-similarity attention: many query heads, one shared head of keys and values."""

    def __init__(
        self, n_features: int, *, n_heads: int, head_width: int, fused_kernels: bool
    ) -> None:
        super().__init__()
        self.head_width = head_width
        self.fused_kernels = fused_kernels
        self.norm = make_norm(n_features, fused_kernels=fused_kernels)
        self.null = nn.Parameter(torch.randn(2, head_width))
        self.query = nn.Linear(n_features, n_heads * head_width, bias=False)
        self.key_value = nn.Linear(n_features, 2 * head_width, bias=False)
        self.output = nn.Sequential(
            nn.Linear(n_heads * head_width, n_features, bias=False),
            make_norm(n_features, fused_kernels=fused_kernels),
        )

    def forward(
        self,
        x: Float[Tensor, "batch tokens features"],
        *,
        bias: Float[Tensor, "heads query keys"],
        angles: Float[Tensor, "tokens features2"],
    ) -> Float[Tensor, "batch query features"]:
        """Attend from the last ``bias.shape[1]`` tokens to all tokens and the null key.

        `bias` is added to the similarities; the caller adds the skip connection.
        """
        x = self.norm(x)
        n_queries = bias.shape[1]
        queries = self.query(x[:, -n_queries:]).unflatten(-1, (-1, self.head_width))
        queries = F.normalize(rotate(queries.transpose(1, 2), angles[-n_queries:]), dim=-1)
        keys, values = self.key_value(x).chunk(2, dim=-1)
        null = self.null.to(x.dtype).expand(len(x), 1, -1, -1)
        keys = F.normalize(torch.cat([null[:, :, 0], rotate(keys, angles)], dim=1), dim=-1)
        values = torch.cat([null[:, :, 1], values], dim=1)
        out = (_attend_fused if self.fused_kernels else _attend)(queries, keys, values, bias=bias)
        projected: Tensor = self.output(out.transpose(1, 2).flatten(2))
        return projected


def _attend(
    queries: Float[Tensor, "batch heads query features"],
    keys: Float[Tensor, "batch keys features"],
    values: Float[Tensor, "batch keys features"],
    *,
    bias: Float[Tensor, "heads query keys"],
) -> Float[Tensor, "batch heads query features"]:
    similarity = torch.einsum("bhid,bjd->bhij", queries * _COSINE_SCALE, keys) + bias
    weights = similarity.softmax(dim=-1, dtype=torch.float32).to(values.dtype)
    return torch.einsum("bhij,bjd->bhid", weights, values)


def _attend_fused(
    queries: Float[Tensor, "batch heads query features"],
    keys: Float[Tensor, "batch keys features"],
    values: Float[Tensor, "batch keys features"],
    *,
    bias: Float[Tensor, "heads query keys"],
) -> Float[Tensor, "batch heads query features"]:
    # All heads share the keys, so heads become rows of one long query and no key is repeated.
    out = F.scaled_dot_product_attention(
        queries.flatten(1, 2)[:, None],
        keys[:, None],
        values[:, None],
        attn_mask=bias.flatten(0, 1).to(queries.dtype),
        scale=_COSINE_SCALE,
    )
    return out.view_as(queries)
