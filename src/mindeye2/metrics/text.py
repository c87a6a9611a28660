"""Caption metrics: shared words, METEOR, ROUGE and the cosine of embeddings.

The score of a caption that was retrieved from training captions measures which training caption
fits, not how well a captioner writes.
"""

import re
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from mindeye2.core.errors import require
from mindeye2.metrics.checks import check_pair

__all__ = ["content_word_overlap", "meteor", "rouge", "sentence_similarity"]

_FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a an the and or of in on at by with to from for into over under behind beside between "
        "near next front top left right side is are was were be being it its this that there "
        "these those some two three as",
    )
)
"""Words of position and grammar; the rest names objects and their attributes."""


def content_word_overlap(preds: Sequence[str], targets: Sequence[str]) -> Float[Tensor, " images"]:
    """Compute the F1 of the sets of content words: exact words only, no synonyms or word forms.

    Parameters
    ----------
    preds
        Decoded captions.
    targets
        True captions, one for each, in the same order.

    Returns
    -------
    Tensor
        One score in [0, 1] per caption.

    Raises
    ------
    ValueError
        If the numbers of captions differ.
    """
    _check_counts(preds, targets)
    pairs = zip(map(_content_words, preds), map(_content_words, targets), strict=True)
    return torch.tensor([2 * len(p & t) / (len(p) + len(t)) if p & t else 0.0 for p, t in pairs])


def meteor(
    preds: Sequence[str],
    targets: Sequence[str],
    *,
    wordnet: Any,  # noqa: ANN401 - a reader of nltk, which is optional
) -> Float[Tensor, " images"]:
    """Compute METEOR of each caption by nltk, with the parameters of the published scores.

    Banerjee and Lavie 2005. Words match exactly, by their stem, or as synonyms of WordNet; alpha
    .9, beta 3, gamma .5. Captions are split into words as one sentence each.

    Parameters
    ----------
    preds
        Decoded captions.
    targets
        True captions, one for each, in the same order.
    wordnet
        nltk's WordNet reader, or anything with its ``synsets``.

    Returns
    -------
    Tensor
        One score in [0, 1] per caption.

    Raises
    ------
    ValueError
        If the numbers of captions differ.
    MissingExtraError
        If nltk is not installed.
    """
    _check_counts(preds, targets)
    score = require("nltk.translate.meteor_score", extra="evaluation", purpose="METEOR")
    split = require("nltk.tokenize", extra="evaluation", purpose="METEOR").NLTKWordTokenizer()
    return torch.tensor(
        [
            score.single_meteor_score(split.tokenize(t), split.tokenize(p), wordnet=wordnet)
            for p, t in zip(preds, targets, strict=True)
        ]
    )


def rouge(
    preds: Sequence[str], targets: Sequence[str], *, kind: Literal["rouge1", "rougeL"]
) -> Float[Tensor, " images"]:
    """Compute the F1 of ROUGE-1 or ROUGE-L of each caption, by ``rouge_score``, without stemming.

    Parameters
    ----------
    preds
        Decoded captions.
    targets
        True captions, one for each, in the same order.
    kind
        ``"rouge1"`` counts shared words, ``"rougeL"`` the longest common subsequence.

    Returns
    -------
    Tensor
        One score in [0, 1] per caption.

    Raises
    ------
    ValueError
        If the numbers of captions differ.
    MissingExtraError
        If rouge_score is not installed.
    """
    _check_counts(preds, targets)
    module = require("rouge_score.rouge_scorer", extra="evaluation", purpose="ROUGE")
    scorer = module.RougeScorer([kind])
    pairs = zip(preds, targets, strict=True)
    return torch.tensor([scorer.score(target, pred)[kind].fmeasure for pred, target in pairs])


def sentence_similarity(
    preds: Float[Tensor, "images features"], targets: Float[Tensor, "images features"]
) -> Float[Tensor, " images"]:
    """Compute the cosine of sentence embeddings, caption by caption.

    Parameters
    ----------
    preds
        Embeddings of the decoded captions.
    targets
        Embeddings of the true captions by the same model, in the same order.

    Returns
    -------
    Tensor
        One cosine per caption.

    Raises
    ------
    ValueError
        If shapes differ, or a value is NaN or infinite.
    """
    return F.cosine_similarity(*check_pair(preds, targets), dim=1)


def _check_counts(preds: Sequence[str], targets: Sequence[str]) -> None:
    if len(preds) != len(targets):
        raise ValueError(
            f"there must be one true caption for each decoded one, got {len(preds)} decoded and "
            f"{len(targets)} true captions."
        )


def _content_words(caption: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", caption.lower())) - _FUNCTION_WORDS
