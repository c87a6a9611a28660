import itertools

import pytest
import torch

from mindeye2.metrics.text import (
    content_word_overlap,
    content_words,
    object_recall,
    rouge_l,
    sentence_similarity,
)

TIGER = "A tiger in front of a temple."


def longest_common(left, right):
    """Every subsequence of the shorter, longest first."""
    for length in range(len(left), 0, -1):
        for chosen in itertools.combinations(left, length):
            rest = iter(right)
            if all(word in rest for word in chosen):
                return length
    return 0


def test_rouge_l_agrees_with_trying_every_subsequence(rng):
    for _ in range(20):
        left, right = torch.randint(4, (2, 7), generator=rng).tolist()
        score = float(rouge_l([" ".join(map(str, left))], [" ".join(map(str, right))]))
        assert score == pytest.approx(longest_common(left, right) / 7)


def test_rouge_l_weighs_both_lengths():
    assert float(rouge_l(["a tiger"], [TIGER])) == pytest.approx(2 * 2 / (2 + 7))


def test_case_and_punctuation_do_not_matter():
    assert float(rouge_l(["a TIGER, in front of: a temple"], [TIGER])) == 1


def test_captions_without_words_score_nothing():
    assert rouge_l(["", "..."], [TIGER, ""]).tolist() == [0, 0]


def test_content_words_name_things():
    assert content_words("Two red boats beside a boat-house on the left") == {
        "red", "boats", "boat", "house",
    }  # fmt: skip


def test_content_word_overlap_ignores_where_things_are():
    scores = content_word_overlap(["a temple behind a tiger", "a tiger on a lake"], [TIGER] * 2)
    assert scores.tolist() == pytest.approx([1, 0.5])


def test_objects_are_counted_once_and_read_whole():
    objects = ["tiger", "temple", "fire engine", "engine"]
    scores = object_recall(
        ["tigers near tigers", "an engine", "Fire engines and a tiger"],
        [TIGER, "a fire engine", "a fire engine and a tiger"],
        objects=objects,
    )
    assert scores.tolist() == [0.5, 0, 1]


def test_objects_are_words_not_parts_of_words():
    assert object_recall(["a caterpillar"], ["a cat"], objects=["cat"]).tolist() == [0]


def test_sentence_similarity_is_the_cosine(rng):
    pred, target = torch.randn(2, 4, 9, generator=rng)
    expected = (pred * target).sum(1) / (pred.norm(dim=1) * target.norm(dim=1))
    torch.testing.assert_close(sentence_similarity(pred, target), expected)


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match="got 1 candidates and 2 references"):
        rouge_l([TIGER], [TIGER, TIGER])
    with pytest.raises(ValueError, match=r"'a cat' names none of the objects"):
        object_recall([TIGER], ["a cat"], objects=["tiger"])
    with pytest.raises(ValueError, match=r"'a cat' names none of the objects"):
        object_recall([TIGER], ["a cat"], objects=[])
