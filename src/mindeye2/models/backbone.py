"""From the shared space to image tokens: residual blocks, then one wide linear layer."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["Backbone", "ReleasedMixer", "ResidualTrunk", "mlp_block"]


def mlp_block(width: int, *, dropout: float, zero_init: bool = False) -> nn.Sequential:
    """Make LayerNorm, Linear, GELU, Dropout, Linear, all of one width.

    Parameters
    ----------
    width
        Width of input, hidden layer and output.
    dropout
        Drop probability between the linear layers, in [0, 1).
    zero_init
        Start with a last layer of zeros, so that a residual block begins as the identity.

    Returns
    -------
    nn.Sequential
        The block, without its skip connection.
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
    """A stack of residual blocks in the shared space.

    With blocks whose last layer starts at zero the trunk starts as the identity, so that a
    closed-form start of the layers around it holds; training then makes it non-linear.

    Parameters
    ----------
    blocks
        Modules that keep the width of their input; each is added to it. None makes the trunk the
        identity for good.
    """

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, latents: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch latent"]:
        """Refine shared latents.

        Parameters
        ----------
        latents
            Output of the ridge.

        Returns
        -------
        Tensor
            Refined latents.
        """
        for block in self.blocks:
            latents = latents + block(latents)
        return latents


class ReleasedMixer(nn.Module):
    """The released model's mixer blocks at sequence length 1, where they only add a constant.

    Blocks over the latent axis alternate with blocks over the sequence axis. The latter normalise
    an axis of size 1, which leaves the LayerNorm's bias whatever comes in, and their skip
    connection carries the input past the blocks over the latent axis, which so do nothing. Kept
    for the published weights and for reproducing how they were trained; `ResidualTrunk` is what
    the paper describes.

    Parameters
    ----------
    latent_blocks
        Blocks over the latent axis.
    sequence_blocks
        As many blocks over the sequence axis, of width 1.
    """

    def __init__(
        self, *, latent_blocks: Sequence[nn.Module], sequence_blocks: Sequence[nn.Module]
    ) -> None:
        super().__init__()
        self.latent_blocks = nn.ModuleList(latent_blocks)
        self.sequence_blocks = nn.ModuleList(sequence_blocks)

    def forward(self, latents: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch latent"]:
        """Pass latents through all blocks, as released.

        Parameters
        ----------
        latents
            Output of the ridge.

        Returns
        -------
        Tensor
            `latents` plus a constant (and random constants under dropout).
        """
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
    """A trunk in the shared space and the linear layer that writes all tokens at once.

    Parameters
    ----------
    trunk
        Refines latents and keeps their width.
    output
        Linear map from the latent to the features of all tokens, token by token.
    n_tokens
        Number of tokens.
    """

    def __init__(self, *, trunk: nn.Module, output: nn.Linear, n_tokens: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.output = output
        self.n_tokens = n_tokens

    def forward(
        self, latents: Float[Tensor, "batch latent"]
    ) -> tuple[Float[Tensor, "batch latent"], Float[Tensor, "batch tokens features"]]:
        """Refine latents and predict tokens from them.

        Parameters
        ----------
        latents
            Output of the ridge; rows may come from several subjects.

        Returns
        -------
        tuple of Tensor
            Refined latents, which the low-level head reads too, and backbone tokens.
        """
        refined = self.trunk(latents)
        return refined, self.output(refined).unflatten(1, (self.n_tokens, -1))
