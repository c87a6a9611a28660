"""The transformer of the diffusion prior.

The sequence holds the condition's tokens, one token for the noise level, and the noised tokens;
the output at the noised tokens' positions predicts the clean tokens. The layers are those of the
DALL-E 2 prior (Ramesh et al. 2022, arXiv:2204.06125) as the released model configures them.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from mindeye2.models.attention import (
    N_BUCKETS,
    MultiQueryAttention,
    make_norm,
    relative_buckets,
    rotary_angles,
)

__all__ = ["PriorNetwork"]


def sinusoidal_embedding(
    times: Int[Tensor, " batch"], n_features: int
) -> Float[Tensor, "batch features"]:
    """Return sines, then cosines, of noise levels at geometrically falling frequencies."""
    half = n_features // 2
    feature = torch.arange(half, device=times.device, dtype=torch.float32)
    angles = times.float()[:, None] * torch.exp(feature * (-math.log(10_000) / (half - 1)))
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


class SwiGLU(nn.Module):
    """LayerNorm and a SwiGLU feed-forward layer, no biases (Shazeer 2020, arXiv:2002.05202)."""

    def __init__(self, n_features: int, *, feedforward_multiple: int, fused_kernels: bool) -> None:
        super().__init__()
        self.norm = make_norm(n_features, fused_kernels=fused_kernels)
        self.input = nn.Linear(n_features, 2 * feedforward_multiple * n_features, bias=False)
        self.output = nn.Linear(feedforward_multiple * n_features, n_features, bias=False)

    def forward(
        self, x: Float[Tensor, "batch tokens features"]
    ) -> Float[Tensor, "batch tokens features"]:
        """Transform each token; the caller adds the skip connection."""
        value, gate = self.input(self.norm(x)).chunk(2, dim=-1)
        out: Tensor = self.output(value * F.silu(gate))
        return out


class PriorNetwork(nn.Module):
    """Predict clean tokens from noised ones, a noise level and a condition.

    `feedforward_multiple` is the hidden width of the feed-forward layers in widths of a token.

    With `condition_in_sequence` the condition's tokens are concatenated with the noised ones, as
    released. Otherwise they are added, through a linear layer, to the noised tokens: half the
    sequence length, half the time.

    With `fused_kernels` unused outputs of the last layer are skipped too: about twice as fast.
    Otherwise every operation is that of the released code, to the last bit.
    """

    def __init__(
        self,
        *,
        n_tokens: int,
        n_features: int,
        depth: int,
        n_heads: int,
        head_width: int,
        feedforward_multiple: int = 4,
        condition_in_sequence: bool = True,
        fused_kernels: bool = True,
    ) -> None:
        super().__init__()
        self.n_tokens = n_tokens
        self.n_features = n_features
        self.head_width = head_width
        self.fused_kernels = fused_kernels
        self.condition = (
            None if condition_in_sequence else nn.Linear(n_features, n_features, bias=False)
        )
        self.learned_query = nn.Parameter(torch.empty(n_tokens, n_features))
        nn.init.normal_(self.learned_query, std=n_features**-0.5)
        self.time_mlp = nn.Sequential(
            nn.Linear(n_features, 2 * n_features),
            nn.SiLU(),
            nn.Linear(2 * n_features, 2 * n_features),
            nn.SiLU(),
            nn.Linear(2 * n_features, n_features),
        )
        self.relative_bias = nn.Embedding(N_BUCKETS, n_heads)
        self.attentions = nn.ModuleList(
            MultiQueryAttention(
                n_features, n_heads=n_heads, head_width=head_width, fused_kernels=fused_kernels
            )
            for _ in range(depth)
        )
        self.feed_forwards = nn.ModuleList(
            SwiGLU(
                n_features, feedforward_multiple=feedforward_multiple, fused_kernels=fused_kernels
            )
            for _ in range(depth)
        )
        self.norm = make_norm(n_features, fused_kernels=fused_kernels)
        self.output = nn.Linear(n_features, n_features, bias=False)

    def forward(
        self,
        noised: Float[Tensor, "batch tokens features"],
        times: Int[Tensor, " batch"],
        condition: Float[Tensor, "batch tokens features"],
    ) -> Float[Tensor, "batch tokens features"]:
        """Predict clean tokens, before any skip connection from the condition."""
        time = self.time_mlp(sinusoidal_embedding(times, self.n_features).to(noised.dtype))
        queries = noised + self.learned_query
        if self.condition is None:
            x = torch.cat([condition, time[:, None], queries], dim=1)
        else:
            x = torch.cat([time[:, None], queries + self.condition(condition)], dim=1)
        buckets = relative_buckets(x.shape[1], device=x.device)
        bias = self.relative_bias(buckets).movedim(-1, 0)
        angles = rotary_angles(x.shape[1], self.head_width, device=x.device)
        for attention, feed_forward in zip(self.attentions, self.feed_forwards, strict=True):
            if self.fused_kernels and attention is self.attentions[-1]:
                # Outputs at the other positions are not used after the last layer.
                bias = bias[:, -self.n_tokens :]
            attended = attention(x, bias=bias, angles=angles)
            x = x[:, -attended.shape[1] :] + attended
            x = x + feed_forward(x)
        # The released code first divides by the largest entry, for half precision.
        x = self.norm(x / x.amax(dim=-1, keepdim=True).detach())
        out: Tensor = self.output(x)[:, -self.n_tokens :]
        return out
