"""Caption metrics that need no model and no download.

The published METEOR needs Java or WordNet and is not here. Scores of a caption that was
retrieved from training captions say which known caption fits, not how well a captioner writes.
"""

import re
from collections.abc import Collection, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from mindeye2.metrics.checks import check_pair

__all__ = [
    "content_word_overlap",
    "content_words",
    "object_recall",
    "rouge_l",
    "sentence_similarity",
]

_FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a an the and or of in on at by with to from for into over under behind beside between "
        "near next front top left right side is are was were be being it its this that there "
        "these those some two three as",
    )
)
"""Words that place things or join them; what is left names things and their looks."""


def rouge_l(candidates: Sequence[str], references: Sequence[str]) -> Float[Tensor, " images"]:
    """ROUGE-L: F1 of the longest common subsequence of words.

    Lin 2004. Words are lower-case runs of letters and digits, without stemming, as in the
    ``rouge_score`` package's defaults.

    Parameters
    ----------
    candidates
        Decoded captions.
    references
        True captions, one for each, in the same order.

    Returns
    -------
    Tensor
        One score in [0, 1] per caption; 0 where a caption has no word.

    Raises
    ------
    ValueError
        If the numbers of captions differ.

    Examples
    --------
    >>> rouge_l(["a tiger near a lake"], ["a tiger in front of a lake"]).round(decimals=3)
    tensor([0.6670])
    """
    _check_lengths(candidates, references)
    scores = []
    for candidate, reference in zip(candidates, references, strict=True):
        left, right = _words(candidate), _words(reference)
        common = _common_subsequence(left, right)
        scores.append(_f1(common, len(left), len(right)))
    return torch.tensor(scores)


def content_words(caption: str) -> set[str]:
    """Words of a caption that name things or describe them.

    Parameters
    ----------
    caption
        Any text.

    Returns
    -------
    set of str
        Lower-case words without articles, prepositions and words of place.
    """
    return set(_words(caption)) - _FUNCTION_WORDS


def content_word_overlap(
    candidates: Sequence[str], references: Sequence[str]
) -> Float[Tensor, " images"]:
    """F1 of the sets of content words: exact words only, no synonyms, no word forms.

    Parameters
    ----------
    candidates
        Decoded captions.
    references
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
    _check_lengths(candidates, references)
    pairs = zip(map(content_words, candidates), map(content_words, references), strict=True)
    return torch.tensor([_f1(len(c & r), len(c), len(r)) for c, r in pairs])


def object_recall(
    candidates: Sequence[str], references: Sequence[str], *, objects: Collection[str]
) -> Float[Tensor, " images"]:
    """Share of the objects in the true caption that the decoded caption names.

    Parameters
    ----------
    candidates
        Decoded captions.
    references
        True captions, one for each, in the same order.
    objects
        The names that count, of one word or more, e.g. those that the captions were made from.
        Where one contains another ("fire engine", "engine"), the longer is read.

    Returns
    -------
    Tensor
        One score in [0, 1] per caption.

    Raises
    ------
    ValueError
        If the numbers of captions differ, or a true caption names none of the objects.
    """
    _check_lengths(candidates, references)
    names = sorted({" ".join(_words(name)) for name in objects} - {""}, key=len, reverse=True)
    # A final "(?:es|s)?" reads plurals, which captions of several objects contain.
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, names)) or '(?!)'})(?:es|s)?\b")
    scores = []
    for candidate, reference in zip(candidates, references, strict=True):
        wanted = set(pattern.findall(" ".join(_words(reference))))
        if not wanted:
            raise ValueError(f"the true caption {reference!r} names none of the objects given.")
        scores.append(
            len(wanted & set(pattern.findall(" ".join(_words(candidate))))) / len(wanted)
        )
    return torch.tensor(scores)


def sentence_similarity(
    pred: Float[Tensor, "images features"], target: Float[Tensor, "images features"]
) -> Float[Tensor, " images"]:
    """Cosine of sentence embeddings, caption by caption.

    Parameters
    ----------
    pred
        Embeddings of the decoded captions.
    target
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
    return F.cosine_similarity(*check_pair(pred, target), dim=1)


def _check_lengths(candidates: Sequence[str], references: Sequence[str]) -> None:
    if len(candidates) != len(references):
        raise ValueError(
            f"there must be one reference for each candidate, got {len(candidates)} candidates "
            f"and {len(references)} references."
        )


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def _f1(common: int, n_left: int, n_right: int) -> float:
    return 2 * common / (n_left + n_right) if common else 0.0


def _common_subsequence(left: Sequence[str], right: Sequence[str]) -> int:
    # One row of the usual table: lengths[j] is for the words of `left` read so far, right[:j].
    lengths = [0] * (len(right) + 1)
    for word in left:
        previous = 0
        for j, other in enumerate(right, start=1):
            above = lengths[j]
            lengths[j] = previous + 1 if word == other else max(above, lengths[j - 1])
            previous = above
    return lengths[-1]
