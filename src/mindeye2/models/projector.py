"""The CLIP projector: backbone tokens to retrieval tokens, token by token."""

from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["Projector"]


class Projector(nn.Module):
    """LayerNorm, GELU, Linear, three times, on every token.

    Its output is trained by contrastive losses and compared by cosine only.

    Parameters
    ----------
    n_features
        Width of a token.
    residual
        Add the output to the input, and start with a last layer of zeros, so that retrieval tokens
        start as the backbone tokens. Differs from the released code, which has no skip connection.
    """

    def __init__(self, n_features: int, *, residual: bool = True) -> None:
        super().__init__()
        self.residual = residual
        linears = [nn.Linear(n_features, n_features) for _ in range(3)]
        if residual:
            nn.init.zeros_(linears[-1].weight)
            nn.init.zeros_(linears[-1].bias)
        self.layers = nn.Sequential(
            *(
                layer
                for linear in linears
                for layer in (nn.LayerNorm(n_features), nn.GELU(), linear)
            )
        )

    def forward(
        self, tokens: Float[Tensor, "batch tokens features"]
    ) -> Float[Tensor, "batch tokens features"]:
        """Project backbone tokens to retrieval tokens, not normalised."""
        projected: Tensor = self.layers(tokens)
        return tokens + projected if self.residual else projected
