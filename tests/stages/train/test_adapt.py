import shutil

import pytest
import torch

from mindeye2.core.artifacts import read_manifest, write_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.models.checkpoint import load_run, save_run
from mindeye2.stages.train import train
from mindeye2.stages.train.adapt import RUNGS

OWN = {f"ridge.maps.subj03.{name}" for name in ("weight", "bias")}


@pytest.fixture
def climb(data, pretrained, to_subj03, tmp_path):
    """Return a function that adapts with some settings changed, and gives model and facts."""

    def _climb(*rungs, name="run", **changes):
        settings = to_subj03.model_copy(update={"rungs": rungs, **changes})
        train(settings, source=data, init=pretrained, out=tmp_path / name, device="cpu")
        run = load_run(tmp_path / name)
        return run.model.state_dict(), run.manifest

    return _climb


def changed(state, pretrained):
    before = load_run(pretrained).model.state_dict()
    return {n for n in state if n not in before or not torch.equal(state[n], before[n])}


def test_the_lower_rungs_leave_everything_but_the_new_ridge_untouched(climb, pretrained):
    closed, facts = climb("closed_form", name="closed")
    trained, _ = climb("ridge", name="trained")
    assert changed(closed, pretrained) == changed(trained, pretrained) == OWN
    assert not torch.equal(closed["ridge.maps.subj03.weight"], trained["ridge.maps.subj03.weight"])
    assert (facts["rung"], facts["held_back"]) == ("closed_form", {})


def test_the_highest_rung_moves_the_body_but_not_the_prior_nor_other_ridges(climb, pretrained):
    state, _ = climb("body")
    moved = changed(state, pretrained)
    assert moved > OWN
    assert any(name.startswith("backbone.") for name in moved)
    assert not any(n.startswith(("prior.", "ridge.maps.subj01")) for n in moved)


def test_the_rung_is_the_best_on_held_back_images_and_the_lower_of_equals(adapted):
    facts = read_manifest(adapted, stage="train")
    scores = [facts["held_back"][rung]["reciprocal_rank"] for rung in RUNGS]
    assert RUNGS.index(facts["rung"]) == scores.index(max(scores))
    assert facts["trials"] == 40


def test_a_margin_that_nobody_reaches_keeps_the_lowest_rung(climb):
    """Choosing must not have moved the model: it ends where the rung alone would end."""
    chosen, facts = climb(*RUNGS, name="chosen", margin=1.0)
    alone, _ = climb("closed_form", name="alone")
    assert facts["rung"] == "closed_form"
    assert all(torch.equal(chosen[n], alone[n]) for n in alone)


def test_fewer_trials_can_be_given(climb):
    _, facts = climb("closed_form", n_trials=20)
    assert facts["trials"] == 20


def test_an_unknown_person_meets_the_known_ones(climb):
    with pytest.raises(ValueError, match=r"subject must be one of \['subj01', .*got 'subj09'"):
        climb("closed_form", subject="subj09")


def test_sessions_that_nobody_had_are_named(climb):
    with pytest.raises(ArtifactError, match=r"in sessions \[7\]; it has sessions \[1, 2\]"):
        climb("closed_form", sessions=(7,))


def test_a_run_of_another_data_set_is_refused(pretrained, data, to_subj03, tmp_path):
    """It knows the person already, but by other voxels."""
    other = shutil.copytree(pretrained, tmp_path / "other")
    run = load_run(other)
    run.model.ridge.add_subject("subj03", n_voxels=5)
    save_run(other, model=run.model, settings=run.settings, encoder="lite0")
    write_manifest(other, stage="train", config={"task": "shared"})
    with pytest.raises(ArtifactError, match=r"knows subj03 by 5 voxels, the data set .* another"):
        train(to_subj03, source=data, init=other, out=tmp_path / "out", device="cpu")
