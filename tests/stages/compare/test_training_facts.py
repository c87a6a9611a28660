import shutil

import pytest

from mindeye2.core.artifacts import read_manifest, write_manifest
from mindeye2.stages.compare.training_facts import Amount, label_settings, training_facts


def test_facts_are_followed_to_the_run_and_to_its_pretrained_run(cell, tmp_path):
    scores = cell("adapt", subject="subj01", seed=3, n_trials=40, gain=0.0)
    pretrained = {"recipe": "laptop", "subjects": ["subj02", "subj03"], "optimizer": {"steps": 5}}
    write_manifest(tmp_path, stage="train", config=pretrained)
    config = {"recipe": "adapt", "seed": 3, "sessions": [1, 2], "init": "../.."}
    write_manifest(scores.parent / "run", stage="train", config=config, trials=38)
    facts = training_facts(scores, read_manifest(scores, stage="evaluate"))
    assert (facts.recipe, facts.seed, facts.trials) == ("adapt", 3, 38)
    assert facts.amount == Amount(sessions=(1, 2))
    assert facts.settings["pretrained.optimizer.steps"] == 5
    assert facts.settings["pretrained.n_subjects"] == 2
    shutil.rmtree(scores.parent / "run")
    assert training_facts(scores, read_manifest(scores, stage="evaluate")).recipe == ""


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (Amount(), "all sessions"),
        (Amount(sessions=(3,)), "1 session"),
        (Amount(sessions=(1, 2)), "2 sessions"),
        (Amount(sessions=(1, 2), n_trials=1200), "1,200 trials"),
    ],
)
def test_an_amount_is_said_in_words(amount, text):
    assert str(amount) == text


def test_labels_name_only_what_differs_within_a_recipe(cell):
    folders = [
        cell(recipe, subject="subj01", seed=seed, n_trials=40, gain=0.0, level=level)
        for recipe, seed, level in (("ridge", 0, "x"), ("adapt", 0, "ridge"), ("adapt", 1, "full"))
    ]
    facts = [training_facts(f, read_manifest(f, stage="evaluate")) for f in folders]
    assert label_settings(facts) == ["ridge", "adapt, levels=ridge", "adapt, levels=full"]
