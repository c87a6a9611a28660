import pytest
import sklearn.metrics

from mindeye2.metrics.text import content_word_overlap

TIGER = "A tiger in front of a temple."


def test_overlap_ignores_where_things_are():
    scores = content_word_overlap(["a temple behind a tiger", "a tiger on a lake"], [TIGER] * 2)
    assert scores.tolist() == pytest.approx([1, 0.5])


def test_overlap_agrees_with_sklearn_over_the_vocabulary():
    pred, target = "red boats beside boat house", "a blue boat and two red boats"
    words = ["red", "boats", "boat", "house", "blue"]
    member = [[word in text.split() for word in words] for text in (target, pred)]
    expected = sklearn.metrics.f1_score(*member)
    assert float(content_word_overlap([pred], [target])) == pytest.approx(expected)


def test_case_and_punctuation_do_not_matter():
    assert float(content_word_overlap(["a TIGER, in: a temple-"], [TIGER])) == 1


def test_captions_without_words_score_nothing():
    assert content_word_overlap(["", "..."], [TIGER, ""]).tolist() == [0, 0]


def test_numbers_of_captions_that_differ_are_named():
    with pytest.raises(ValueError, match="got 1 decoded and 2 true captions"):
        content_word_overlap([TIGER], [TIGER, TIGER])
