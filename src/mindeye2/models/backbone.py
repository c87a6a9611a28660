"""The backbone: residual MLP blocks on shared latents, then a linear layer to image tokens."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["Backbone", "ReleasedMixer", "ResidualTrunk", "mlp_block"]


def mlp_block(width: int, *, dropout: float, zero_init: bool = False) -> nn.Sequential:
    """Make LayerNorm, Linear, GELU, Dropout, Linear, all of one width, without skip connection.

    With `zero_init` the last layer starts at zero: a residual block starts as the identity.
    """
    last = nn.Linear(width, width)
    if zero_init:
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
    return nn.Sequential(
        nn.LayerNorm(width),
        nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Dropout(dropout), last),
    )


class ResidualTrunk(nn.Module):
    """A stack of residual blocks in the shared latent space; without blocks it is the identity.

    Blocks whose last layer starts at zero keep a closed-form start of the layers around the trunk.
    """

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, latents: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch latent"]:
        """Add the output of each block to the latents."""
        for block in self.blocks:
            latents = latents + block(latents)
        return latents


class ReleasedMixer(nn.Module):
    """The released mixer blocks at sequence length 1, where they only add a constant.

    Blocks over the latent axis alternate with blocks over the sequence axis. The latter normalise
    an axis of size 1, which gives the LayerNorm's bias for any input, and their skip connection
    bypasses the blocks over the latent axis, whose output is therefore lost. Kept for the
    published weights and for reproducing their training; `ResidualTrunk` is what the paper
    describes.
    """

    def __init__(
        self, *, latent_blocks: Sequence[nn.Module], sequence_blocks: Sequence[nn.Module]
    ) -> None:
        super().__init__()
        self.latent_blocks = nn.ModuleList(latent_blocks)
        self.sequence_blocks = nn.ModuleList(sequence_blocks)

    def forward(self, latents: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch latent"]:
        """Return the latents plus a constant (a random one under dropout), as released."""
        latent_skip, sequence_skip = latents[:, None], latents[:, :, None]
        x = latent_skip
        for over_latent, over_sequence in zip(
            self.latent_blocks, self.sequence_blocks, strict=True
        ):
            latent_skip = over_latent(x) + latent_skip
            sequence_skip = over_sequence(latent_skip.mT) + sequence_skip
            x = sequence_skip.mT
        return x.flatten(1)


class Backbone(nn.Module):
    """A trunk on shared latents, then one linear layer to all features of all image tokens."""

    def __init__(self, *, trunk: nn.Module, output: nn.Linear, n_tokens: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.output = output
        self.n_tokens = n_tokens

    def forward(
        self, latents: Float[Tensor, "batch latent"]
    ) -> tuple[Float[Tensor, "batch latent"], Float[Tensor, "batch tokens features"]]:
        """Predict refined latents, which the low-level head also uses, and backbone tokens."""
        refined = self.trunk(latents)
        return refined, self.output(refined).unflatten(1, (self.n_tokens, -1))
