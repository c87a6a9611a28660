"""Embeddings of captions, to compare them by meaning instead of by words."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from mindeye2.core.errors import ArtifactError, require

__all__ = ["ClipTexts", "SentenceEncoder", "load_clip_texts", "load_sentences"]

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
"""The model of the published caption scores, on the hub (Wang et al. 2020, arXiv:2002.10957;
91 MB, Apache-2.0 licence)."""

MAX_WORD_PIECES = 256
"""Truncation of MiniLM's authors; captions are far shorter."""


class SentenceEncoder:
    """Mean-pooled, normalised sentence embeddings (Reimers & Gurevych 2019, arXiv:1908.10084).

    Model and tokenizer are of transformers.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:  # noqa: ANN401 - of transformers
        self._model = model
        self._tokenizer = tokenizer

    @torch.inference_mode()
    def __call__(self, sentences: Sequence[str]) -> Float[Tensor, "images features"]:
        """Embed at least one sentence, each to one row of unit length."""
        parts = []
        for start in range(0, len(sentences), 64):
            inputs = self._tokenizer(
                list(sentences[start : start + 64]),
                padding=True,
                truncation=True,
                max_length=MAX_WORD_PIECES,
                return_tensors="pt",
            )
            states = self._model(**inputs).last_hidden_state
            # Padding depends on the longest sentence of the batch, and must not count.
            mask = inputs["attention_mask"][:, :, None].to(states.dtype)
            parts.append((states * mask).sum(dim=1) / mask.sum(dim=1))
        return F.normalize(torch.cat(parts).float(), dim=1).clone()


class ClipTexts:
    """Projected text embeddings of CLIP.

    Parameters
    ----------
    model
        transformers' ``CLIPTextModelWithProjection``, in evaluation mode.
    tokenizer
        Its tokenizer.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:  # noqa: ANN401 - of transformers
        self._model = model
        self._tokenizer = tokenizer

    @torch.inference_mode()
    def __call__(self, sentences: Sequence[str]) -> Float[Tensor, "images features"]:
        """Embed at least one sentence, each to one row of unit length."""
        parts = []
        for start in range(0, len(sentences), 64):
            inputs = self._tokenizer(
                list(sentences[start : start + 64]),
                padding=True,
                truncation=True,
                max_length=self._model.config.max_position_embeddings,
                return_tensors="pt",
            )
            inputs = {k: inputs[k] for k in ("input_ids", "attention_mask")}
            parts.append(self._model(**inputs).text_embeds)
        return F.normalize(torch.cat(parts).float(), dim=1).clone()


def load_clip_texts(name: str) -> ClipTexts:
    """Load CLIP's text encoder from a folder or by its name on the hub.

    Parameters
    ----------
    name
        Folder, or name on the hub: then it is downloaded once, unless it was before.

    Returns
    -------
    ClipTexts
        Frozen, on the CPU.

    Raises
    ------
    ArtifactError
        If there is no such folder, and no hub to get it from.
    """
    transformers = require("transformers", extra="evaluation", purpose="CLIP's text encoder")
    try:
        model = transformers.CLIPTextModelWithProjection.from_pretrained(name)
        tokenizer = transformers.AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"the text encoder {name!r} cannot be loaded: it is no folder of transformers' files, "
            "and the hub cannot be reached or has no such model."
        ) from error
    return ClipTexts(model.eval().requires_grad_(requires_grad=False), tokenizer)


def load_sentences(name: str = MINILM) -> SentenceEncoder:
    """Load a sentence encoder.

    Parameters
    ----------
    name
        Folder, or name on the hub: then it is downloaded once, unless it was before.

    Returns
    -------
    SentenceEncoder
        Frozen, on the CPU.

    Raises
    ------
    ArtifactError
        If there is no such folder, and no hub to get it from.
    """
    transformers = require("transformers", extra="sdxl", purpose="Comparing captions by meaning")
    try:
        model = transformers.AutoModel.from_pretrained(name)
        tokenizer = transformers.AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"the sentence encoder {name!r} cannot be loaded: it is no folder of transformers' "
            f"files, and the hub cannot be reached or has no such model. Download {MINILM} "
            "(91 MB, Apache-2.0) where there is a network, and give its folder."
        ) from error
    return SentenceEncoder(model.eval().requires_grad_(requires_grad=False), tokenizer)
