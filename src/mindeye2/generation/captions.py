"""Captions of decoded tokens: lent by the nearest training image, or written by GIT."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mindeye2.core.errors import ArtifactError, require

__all__ = ["GIT", "GitCaptioner", "caption_ids", "load_captioner", "nearest_captions"]

GIT = "microsoft/git-large-coco"
"""The published captioner (Wang et al. 2022, arXiv:2205.14100; MIT licence) on the hub."""


def nearest_captions(
    similarity: Float[Tensor, "query bank"], captions: Sequence[str]
) -> list[str]:
    """Give each query the caption of the most similar training image.

    This says what the nearest known picture shows; it can describe nothing that no training
    caption describes. A captioner that writes is `GitCaptioner`.

    Parameters
    ----------
    similarity
        Similarity of each query to each training image.
    captions
        Captions of the training images.

    Returns
    -------
    list of str
        One caption per query.

    Raises
    ------
    ValueError
        If there is not one caption per training image.
    """
    if similarity.shape[1] != len(captions):
        raise ValueError(
            f"{similarity.shape[1]} training images need as many captions, got {len(captions)}."
        )
    return [captions[i] for i in similarity.argmax(dim=1).tolist()]


class _Passed(nn.Module):
    """Stands for an image encoder where its output is given instead of pixels."""

    def forward(
        self,
        pixel_values: Tensor,
        interpolate_pos_encoding: bool = False,  # noqa: FBT001, FBT002, ARG002 - as GIT calls it
    ) -> SimpleNamespace:
        return SimpleNamespace(last_hidden_state=pixel_values[:, 0])


@contextmanager
def _without_encoder(git: Any) -> Iterator[None]:  # noqa: ANN401 - a class of an optional library
    encoder = git.git.image_encoder
    git.git.image_encoder = _Passed()
    try:
        yield
    finally:
        git.git.image_encoder = encoder


@torch.no_grad()
def caption_ids(
    git: nn.Module,
    visual_tokens: Float[Tensor, "batch tokens features"],
    *,
    max_length: int = 20,
) -> Int[Tensor, "batch words"]:
    """Let GIT write, given what its image encoder would have seen; greedily, as released.

    Parameters
    ----------
    git
        transformers' ``GitForCausalLM``.
    visual_tokens
        Output of CLIP ViT-L/14: the class token, then one token a patch.
    max_length
        Most word pieces of a caption, the first of which only starts it.

    Returns
    -------
    Tensor
        Word pieces, padded behind the end of a caption.

    Raises
    ------
    ValueError
        If this captioner takes another number or width of tokens.
    """
    captioner: Any = git
    vision = captioner.config.vision_config
    wanted = ((vision.image_size // vision.patch_size) ** 2 + 1, vision.hidden_size)
    if tuple(visual_tokens.shape[1:]) != wanted:
        raise ValueError(
            f"this captioner takes {wanted[0]} tokens of width {wanted[1]}, got "
            f"{tuple(visual_tokens.shape[1:])}. Convert the image tokens first."
        )
    # Five axes are frames of a film to GIT: with one frame, the encoder's output passes as it is.
    given = visual_tokens.to(next(git.parameters()))[:, None, :, :]
    with _without_encoder(captioner):
        ids: Tensor = captioner.generate(
            pixel_values=given, max_length=max_length, do_sample=False, num_beams=1
        )
    return ids


class GitCaptioner:
    """Write captions of image tokens: a linear converter to CLIP ViT-L/14, then GIT.

    Parameters
    ----------
    converter
        Maps image tokens to the tokens of GIT's own image encoder.
    git
        transformers' ``GitForCausalLM``.
    tokenizer
        Its tokenizer.
    """

    def __init__(
        self,
        *,
        converter: nn.Module,
        git: nn.Module,
        tokenizer: Any,  # noqa: ANN401 - a class of an optional library
    ) -> None:
        self.converter = converter.eval()
        self.git = git.eval()
        self.tokenizer = tokenizer

    def to(self, device: torch.device) -> "GitCaptioner":
        """Move the networks.

        Parameters
        ----------
        device
            Where to compute.

        Returns
        -------
        GitCaptioner
            This object.
        """
        self.converter.to(device)
        self.git.to(device)
        return self

    @torch.no_grad()
    def __call__(
        self, tokens: Float[Tensor, "batch tokens features"], *, max_length: int = 20
    ) -> list[str]:
        """Write one caption per row of tokens.

        Parameters
        ----------
        tokens
            Image tokens, as the prior gives them.
        max_length
            Most word pieces of a caption.

        Returns
        -------
        list of str
            Captions.
        """
        weight = next(self.converter.parameters())
        converted = self.converter(tokens.to(weight))
        ids = caption_ids(self.git, converted, max_length=max_length)
        texts = self.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [str(text).strip() for text in texts]


def load_captioner(converter: nn.Module, *, name: str = GIT) -> GitCaptioner:
    """Load GIT from the hub's cache or a folder.

    Parameters
    ----------
    converter
        Maps image tokens to the tokens of GIT's own image encoder.
    name
        Name on the hub, or a folder that holds the model and its tokenizer.

    Returns
    -------
    GitCaptioner
        Ready to write.

    Raises
    ------
    ArtifactError
        If it is neither a folder nor can be had from the hub.
    """
    transformers = require("transformers", extra="sdxl", purpose="Captions by GIT")
    try:
        git = transformers.GitForCausalLM.from_pretrained(name)
        tokenizer = transformers.AutoTokenizer.from_pretrained(name)
    except OSError as error:
        raise ArtifactError(
            f"the captioner {name!r} is not here: {error} Give the folder of a downloaded copy of "
            f"{GIT} with --set captioner=FOLDER, or go on without written captions with "
            "--set captions=false."
        ) from error
    return GitCaptioner(converter=converter, git=git, tokenizer=tokenizer)
