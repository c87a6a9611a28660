import pytest
import sklearn.metrics

from mindeye2.metrics.text import content_word_overlap, meteor, rouge

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


class Wordnet:
    """Synonyms of one word."""

    def synsets(self, word):
        lemma = type("Lemma", (), {"name": lambda _: "pet"})()
        return [type("Synset", (), {"lemmas": lambda _: [lemma]})()] if word == "cat" else []


def test_meteor_is_that_of_its_paper():
    """By hand: precision 1, recall 1, mean 1, one chunk of n words: penalty .5 / n^3."""
    same, empty = meteor(["a cat sat", "dogs"], ["a cat sat", "a cat"], wordnet=Wordnet()).tolist()
    assert same == pytest.approx(1 - 0.5 / 3**3)
    assert empty == 0
    # Two of three words in one chunk: P = R = 2/3, the mean 2/3, less .5 * (1 / 2)^3 of it.
    partial = meteor(["a cat ran"], ["a cat sat"], wordnet=Wordnet())
    assert float(partial) == pytest.approx(2 / 3 * (1 - 0.5 / 2**3))


def test_meteor_matches_synonyms_stems_and_case():
    synonym, stem = meteor(
        ["a cat", "A dog runs"], ["a pet", "a dog running"], wordnet=Wordnet()
    ).tolist()
    assert synonym == pytest.approx(1 - 0.5 / 2**3)
    assert stem == pytest.approx(1 - 0.5 / 3**3)


def test_rouge_counts_words_and_subsequences():
    """By hand: three of four words are shared, of which two stand in the same order."""
    pred, target = "a mat the cat", "the mat a dog"
    assert float(rouge([pred], [target], kind="rouge1")) == pytest.approx(3 / 4)
    pred, target = "a red cat sat", "a cat red sat"
    assert float(rouge([pred], [target], kind="rougeL")) == pytest.approx(3 / 4)


@pytest.mark.parametrize(
    "score", [lambda p, t: rouge(p, t, kind="rouge1"), lambda p, t: meteor(p, t, wordnet=None)]
)
def test_captions_must_come_in_pairs(score):
    with pytest.raises(ValueError, match="got 1 decoded and 2 true captions"):
        score([TIGER], [TIGER, TIGER])
