"""Backbone tokens to retrieval tokens, each token by itself."""

from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["Projector"]


class Projector(nn.Module):
    """LayerNorm, GELU, Linear, three times over, on every token.

    Its output is trained by contrastive losses and compared by cosine only.

    Parameters
    ----------
    n_features
        Width of a token.
    residual
        Add the output to the input, and start with a last layer of zeros, so that retrieval tokens
        start as the backbone tokens. Differs from the released code, which has no skip.
    """

    def __init__(self, n_features: int, *, residual: bool = True) -> None:
        super().__init__()
        self.residual = residual
        self.layers = nn.Sequential(
            *(
                layer
                for _ in range(3)
                for layer in (
                    nn.LayerNorm(n_features),
                    nn.GELU(),
                    nn.Linear(n_features, n_features),
                )
            )
        )
        if residual:
            last = self.layers[-1]
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(
        self, tokens: Float[Tensor, "batch tokens features"]
    ) -> Float[Tensor, "batch tokens features"]:
        """Project backbone tokens.

        Parameters
        ----------
        tokens
            Backbone tokens.

        Returns
        -------
        Tensor
            Retrieval tokens, not normalised.
        """
        projected: Tensor = self.layers(tokens)
        return tokens + projected if self.residual else projected
