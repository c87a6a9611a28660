"""The published linear maps from bigG tokens to the CLIP-L tokens that the captioner reads."""

from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["ClipConverter"]


class ClipConverter(nn.Module):
    """One linear map over tokens, then one over features; named as in the published file.

    Parameters
    ----------
    linear1
        From the number of tokens to the captioner's: 256 to 257 as published.
    linear2
        From the tokens' width to the captioner's: 1664 to 1024 as published.
    """

    def __init__(self, linear1: nn.Linear, linear2: nn.Linear) -> None:
        super().__init__()
        self.linear1 = linear1
        self.linear2 = linear2

    def forward(
        self, tokens: Float[Tensor, "batch tokens features"]
    ) -> Float[Tensor, "batch tokens2 features2"]:
        """Convert tokens.

        Parameters
        ----------
        tokens
            As the prior gives them.

        Returns
        -------
        Tensor
            What the captioner reads instead of a picture.
        """
        mixed = self.linear1(tokens.transpose(1, 2)).transpose(1, 2)
        converted: Tensor = self.linear2(mixed)
        return converted
