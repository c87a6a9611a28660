import pandas as pd
import pytest

from mindeye2.core.artifacts import write_manifest
from mindeye2.data.prepared import Prepared
from mindeye2.reporting import Arm, Comparison, Difference, ScoreRow
from mindeye2.reporting.first_screen import compare_arms, describe_training, headline_sentence

COMMON = {"subjects": None, "sessions": None, "n_trials": None, "train_on": ["train"]}


@pytest.mark.parametrize(
    ("name", "value", "chance", "n", "sentence"),
    [
        ("image_top1", 0.54, 0.01, 100, "among 100 in 54 of 100 cases; by chance 1."),
        ("image_given_brain_300", 0.986, 1 / 300, 1000, "among 300 in 986 of 1000 cases; by cha"),
        ("known_image_single", 0.85, 0.1, 10, "10 known images in 17 of 20 single trials; by cha"),
        ("two_way_tokens", 0.971, 0.5, 100, "Of two images, the seen one was chosen in 97 of 100"),
    ],
)
def test_the_first_score_is_put_into_words(name, value, chance, n, sentence):
    rows = {
        "two_way_tokens": ScoreRow(metric="-", value=0.5, chance=0.5, n=n),
        name: ScoreRow(metric="-", value=value, chance=chance, n=n),
    }
    assert sentence in headline_sentence(rows, n_trials=20)


def test_without_such_a_score_there_is_no_headline():
    assert headline_sentence({"pixcorr_blended": ScoreRow(metric="-", value=0.5)}) == ""


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """Return 4 subjects of 2 sessions of 30 trials, the last ten of each for the test."""
    rows = [
        {"subject": f"subj{s:02d}", "session": n, "split": "train" if i < 20 else "test"}
        for s in range(1, 5)
        for n in (1, 2)
        for i in range(30)
    ]
    monkeypatch.setattr(Prepared, "trials", pd.DataFrame(rows))
    names = [f"subj{s:02d}" for s in range(1, 5)]
    return Prepared(folder=tmp_path, manifest={"subjects": dict.fromkeys(names, 5)})


def run(folder, **config):
    folder.mkdir()
    write_manifest(folder, stage="train", config={**COMMON, **config})
    return folder


def test_adaptation_is_described_with_its_pretraining(prepared, tmp_path):
    run(tmp_path / "pretrained", task="shared", subjects=["subj01", "subj02", "subj03"])
    adapted = run(tmp_path / "adapted", task="adapt", init="../pretrained", sessions=[1])
    assert describe_training(adapted, prepared=prepared, subject="subj04") == (
        "trained on three other subjects, adapted to subj04 with one session of 20 trials"
    )


def test_a_pretrained_run_that_is_gone_is_no_error(prepared, tmp_path):
    adapted = run(tmp_path / "adapted", task="adapt", init="../gone", n_trials=25)
    assert describe_training(adapted, prepared=prepared, subject="subj04") == (
        "pretrained, adapted to subj04 with two sessions, 25 trials"
    )


def test_one_subject_and_several(prepared, tmp_path):
    one = {"task": "shared", "subjects": ["subj02"]}
    amount = "two sessions, 40 trials of subj02 alone"
    for name, config, method in (
        ("ridge", {"train_body": False, "model": {"n_blocks": 0}}, "fitted by linear regression"),
        ("closed", {"train_body": False, "model": {"n_blocks": 1}}, "fitted in closed form"),
        ("scratch", {}, "trained without pretraining"),
    ):
        found = describe_training(
            run(tmp_path / name, **one, **config), prepared=prepared, subject="subj02"
        )
        assert found.startswith(method)
        assert found.endswith(f" on {amount}")
    shared = run(tmp_path / "shared", task="shared")
    found = describe_training(shared, prepared=prepared, subject="subj02")
    assert found == "trained on four subjects, subj02 among them"


def test_other_folders_are_not_described(prepared, tmp_path):
    assert describe_training(tmp_path, prepared=prepared, subject="subj01") == ""


@pytest.mark.parametrize(
    ("higher_is_better", "words"),
    [(True, "; worse than mine by 9.0 points (\N{MINUS SIGN}16.0 to \N{MINUS SIGN}2.0 points)"),
     (False, "; better than mine by 9.0 points")],
)  # fmt: skip
def test_each_arm_is_explained_and_compared_in_a_line(higher_is_better, words):
    arms = [
        Arm(name=name, explanation=what, rows=[ScoreRow(metric="top-1", value=v, percent=True)])
        for name, what, v in (
            ("mine", "trained so", 0.52),
            ("other", "fitted so", 0.43),
            ("like", "", 0.5),
        )
    ]
    gaps = [
        Difference(
            a="mine", b=b, metric="top-1", value=v, low=low, high=high, percent=True,
            higher_is_better=higher_is_better,
        )
        for b, v, low, high in (("other", 0.09, 0.02, 0.16), ("like", 0.02, -0.05, 0.09))
    ]  # fmt: skip
    lines = compare_arms(Comparison(title="-", arms=arms, differences=gaps))
    plain = {name: line.replace("\N{NO-BREAK SPACE}", " ") for name, line in lines.items()}
    assert plain["mine"] == "trained so; top-1: 52.0 %"
    assert plain["other"].startswith(f"fitted so; top-1: 43.0 %{words}")
    tie = "a tie with mine (\N{MINUS SIGN}9.0 to +5.0 points)"
    assert plain["like"] == f"top-1: 50.0 %; {tie}"
