"""The transformer of the diffusion prior.

One sequence holds the condition's tokens, one token for the noise level, and the noised tokens;
what comes out at the last places is the prediction of the clean tokens. The parts are those of the
DALL-E 2 prior (Ramesh et al. 2022, arXiv:2204.06125) as the released model configures them.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["PriorNetwork", "relative_buckets", "rotate", "rotary_angles", "sinusoidal_embedding"]

_N_BUCKETS = 32
_MAX_DISTANCE = 128
_MAX_ROTARY = 32
_COSINE_SCALE = 16.0


def sinusoidal_embedding(
    times: Int[Tensor, " batch"], n_features: int
) -> Float[Tensor, "batch features"]:
    """Return sines and cosines of noise levels at geometrically falling frequencies.

    Parameters
    ----------
    times
        Noise levels.
    n_features
        Even width of the result: first all sines, then all cosines.

    Returns
    -------
    Tensor
        In [-1, 1], float32.
    """
    half = n_features // 2
    rank = torch.arange(half, device=times.device, dtype=torch.float32)
    angles = times.float()[:, None] * torch.exp(rank * (-math.log(10_000) / (half - 1)))
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def relative_buckets(n: int, *, device: torch.device) -> Int[Tensor, "query gallery"]:
    """Return which learned bias each place of a sequence uses for each key.

    Distances back are exact up to half of the buckets and logarithmic beyond; all keys ahead share
    bucket 0 (Raffel et al. 2020, "T5", arXiv:1910.10683, in its one-directional form).

    Parameters
    ----------
    n
        Length of the sequence. There are ``n + 1`` keys: key 0 is the learned null key, so that
        key ``j`` belongs to place ``j - 1`` but is counted at ``j``, as released.
    device
        Where to make the table.

    Returns
    -------
    Tensor
        Bucket of each pair, in [0, 31].
    """
    back = torch.arange(n, device=device)[:, None] - torch.arange(n + 1, device=device)
    back = back.clamp(min=0)
    exact = _N_BUCKETS // 2
    ratio = (back.clamp(min=1).float() / exact).log() / math.log(_MAX_DISTANCE / exact)
    far = (exact + (ratio * (_N_BUCKETS - exact)).long()).clamp(max=_N_BUCKETS - 1)
    return torch.where(back < exact, back, far)


def rotary_angles(
    n: int, head_width: int, *, device: torch.device
) -> Float[Tensor, "tokens features"]:
    """Return the angle by which each pair of features is rotated at each place.

    Parameters
    ----------
    n
        Length of the sequence.
    head_width
        Width of a head; at most its first 32 features are rotated.
    device
        Where to make the table.

    Returns
    -------
    Tensor
        Radians, one column per pair of features.
    """
    width = min(_MAX_ROTARY, head_width)
    rank = torch.arange(0, width, 2, device=device, dtype=torch.float32)
    return torch.arange(n, device=device)[:, None] / 10_000 ** (rank / width)


def rotate(
    x: Float[Tensor, "*batch tokens features"], angles: Float[Tensor, "tokens features"]
) -> Float[Tensor, "*batch tokens features"]:
    """Rotate neighbouring pairs of features, so that products depend on distances only.

    Parameters
    ----------
    x
        Queries or keys.
    angles
        See `rotary_angles`; features beyond twice its width stay as they are.

    Returns
    -------
    Tensor
        Rotated queries or keys.

    References
    ----------
    Su et al. 2021, "RoFormer", arXiv:2104.09864.
    """
    width = 2 * angles.shape[-1]
    pairs = x[..., :width].unflatten(-1, (-1, 2))
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = pairs[..., 0], pairs[..., 1]
    turned = torch.stack([first * cos - second * sin, second * cos + first * sin], dim=-1)
    return torch.cat([turned.flatten(-2), x[..., width:]], dim=-1)


class MultiQueryAttention(nn.Module):
    """Cosine-similarity attention: many heads of queries, one shared head of keys and values.

    Parameters
    ----------
    n_features
        Width of a token.
    n_heads
        Heads of queries.
    head_width
        Width of a head.
    """

    def __init__(self, n_features: int, *, n_heads: int, head_width: int) -> None:
        super().__init__()
        self.head_width = head_width
        self.norm = nn.LayerNorm(n_features, bias=False)
        self.null = nn.Parameter(torch.randn(2, head_width))
        self.query = nn.Linear(n_features, n_heads * head_width, bias=False)
        self.key_value = nn.Linear(n_features, 2 * head_width, bias=False)
        self.output = nn.Sequential(
            nn.Linear(n_heads * head_width, n_features, bias=False),
            nn.LayerNorm(n_features, bias=False),
        )

    def forward(
        self,
        x: Float[Tensor, "batch tokens features"],
        *,
        bias: Float[Tensor, "query gallery"],
        angles: Float[Tensor, "tokens features"],
    ) -> Float[Tensor, "batch tokens features"]:
        """Let all places read each other and the null key.

        Parameters
        ----------
        x
            The sequence.
        bias
            Added to the similarities; one row per head and place, head by head.
        angles
            Rotation of each place.

        Returns
        -------
        Tensor
            What was read.
        """
        x = self.norm(x)
        queries = self.query(x).unflatten(-1, (-1, self.head_width)).transpose(1, 2)
        queries = F.normalize(rotate(queries, angles), dim=-1)
        keys, values = self.key_value(x).chunk(2, dim=-1)
        null = self.null.to(x.dtype).expand(len(x), 1, -1, -1)
        keys = torch.cat([null[:, :, 0], rotate(keys, angles)], dim=1)
        values = torch.cat([null[:, :, 1], values], dim=1)
        # All heads share the keys: they are rows of one wide query, so nothing is repeated.
        read = F.scaled_dot_product_attention(
            queries.flatten(1, 2)[:, None],
            F.normalize(keys, dim=-1)[:, None],
            values[:, None],
            attn_mask=bias.to(queries.dtype),
            scale=_COSINE_SCALE,
        )
        heads = read[:, 0].unflatten(1, (queries.shape[1], -1)).transpose(1, 2)
        out: Tensor = self.output(heads.flatten(2))
        return out


class SwiGLU(nn.Module):
    """LayerNorm, a gated hidden layer, and a linear layer, without biases.

    Parameters
    ----------
    n_features
        Width of a token.
    multiple
        Width of the hidden layer in widths of a token.

    References
    ----------
    Shazeer 2020, "GLU Variants Improve Transformer", arXiv:2002.05202.
    """

    def __init__(self, n_features: int, *, multiple: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(n_features, bias=False)
        self.input = nn.Linear(n_features, 2 * multiple * n_features, bias=False)
        self.output = nn.Linear(multiple * n_features, n_features, bias=False)

    def forward(
        self, x: Float[Tensor, "batch tokens features"]
    ) -> Float[Tensor, "batch tokens features"]:
        """Transform each token by itself.

        Parameters
        ----------
        x
            The sequence.

        Returns
        -------
        Tensor
            What to add to it.
        """
        value, gate = self.input(self.norm(x)).chunk(2, dim=-1)
        out: Tensor = self.output(value * F.silu(gate))
        return out


class PriorNetwork(nn.Module):
    """Predict clean tokens from noised ones, a noise level and a condition.

    Parameters
    ----------
    n_tokens
        Tokens of the target, and of the condition.
    n_features
        Width of a token.
    depth
        Layers of attention and feed-forward.
    n_heads
        Heads of queries.
    head_width
        Width of a head.
    multiple
        Width of the feed-forward's hidden layer in widths of a token.
    """

    def __init__(
        self,
        *,
        n_tokens: int,
        n_features: int,
        depth: int,
        n_heads: int,
        head_width: int,
        multiple: int = 4,
    ) -> None:
        super().__init__()
        self.n_tokens = n_tokens
        self.n_features = n_features
        self.head_width = head_width
        self.learned_query = nn.Parameter(torch.randn(n_tokens, n_features) * n_features**-0.5)
        self.time_mlp = nn.Sequential(
            nn.Linear(n_features, 2 * n_features),
            nn.SiLU(),
            nn.Linear(2 * n_features, 2 * n_features),
            nn.SiLU(),
            nn.Linear(2 * n_features, n_features),
        )
        self.relative_bias = nn.Embedding(_N_BUCKETS, n_heads)
        self.layers = nn.ModuleList(
            nn.ModuleList(
                [
                    MultiQueryAttention(n_features, n_heads=n_heads, head_width=head_width),
                    SwiGLU(n_features, multiple=multiple),
                ]
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(n_features, bias=False)
        self.output = nn.Linear(n_features, n_features, bias=False)

    def forward(
        self,
        noised: Float[Tensor, "batch tokens features"],
        times: Int[Tensor, " batch"],
        condition: Float[Tensor, "batch tokens features"],
    ) -> Float[Tensor, "batch tokens features"]:
        """Predict clean tokens.

        Parameters
        ----------
        noised
            Noised tokens, or what stands for dropped ones.
        times
            Noise level of each item.
        condition
            Brain tokens, or what stands for dropped ones.

        Returns
        -------
        Tensor
            The prediction, before any skip connection.
        """
        time = self.time_mlp(sinusoidal_embedding(times, self.n_features).to(noised.dtype))
        x = torch.cat([condition, time[:, None], noised + self.learned_query], dim=1)
        buckets = relative_buckets(x.shape[1], device=x.device)
        bias = self.relative_bias(buckets).movedim(-1, 0).flatten(0, 1)
        angles = rotary_angles(x.shape[1], self.head_width, device=x.device)
        for attention, feed_forward in self.layers:
            x = x + attention(x, bias=bias, angles=angles)
            x = x + feed_forward(x)
        x = x[:, -self.n_tokens :]
        # The released code scales by the largest entry first, which its half precision needs.
        x = self.norm(x / x.amax(dim=-1, keepdim=True).detach())
        out: Tensor = self.output(x)
        return out
