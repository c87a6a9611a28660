import shutil

import pytest
import torch

from mindeye2.core.artifacts import read_manifest, write_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.models.checkpoint import load_run, save_run
from mindeye2.stages.train import train
from mindeye2.stages.train.adapt import LEVELS

OWN = {f"ridge.maps.subj03.{name}" for name in ("weight", "bias")}


@pytest.fixture
def adapt_to(data, pretrained, to_subj03, tmp_path):
    """Return a function that adapts with some settings changed, and gives model and facts."""

    def _adapt_to(*levels, name="run", **changes):
        settings = to_subj03.model_copy(update={"levels": levels, **changes})
        train(settings, source=data, init=pretrained, out=tmp_path / name, device="cpu")
        run = load_run(tmp_path / name)
        return run.model.state_dict(), run.manifest

    return _adapt_to


def changed(state, pretrained):
    before = load_run(pretrained).model.state_dict()
    return {n for n in state if n not in before or not torch.equal(state[n], before[n])}


def test_the_lower_levels_leave_everything_but_the_new_ridge_untouched(adapt_to, pretrained):
    closed, facts = adapt_to("closed_form", name="closed")
    trained, _ = adapt_to("ridge", name="trained")
    assert changed(closed, pretrained) == changed(trained, pretrained) == OWN
    assert not torch.equal(closed["ridge.maps.subj03.weight"], trained["ridge.maps.subj03.weight"])
    assert (facts["level"], facts["held_out"]) == ("closed_form", {})


def test_the_highest_level_moves_the_body_but_not_the_prior_nor_other_ridges(adapt_to, pretrained):
    state, _ = adapt_to("full")
    moved = changed(state, pretrained)
    assert moved > OWN
    assert any(name.startswith("backbone.") for name in moved)
    assert not any(n.startswith(("prior.", "ridge.maps.subj01")) for n in moved)


def test_the_level_is_the_best_on_held_out_images_and_the_lower_of_equals(adapted):
    facts = read_manifest(adapted, stage="train")
    scores = [facts["held_out"][level]["reciprocal_rank"] for level in LEVELS]
    assert LEVELS.index(facts["level"]) == scores.index(max(scores))
    assert facts["trials"] == 80


def test_a_margin_that_is_not_reached_keeps_the_lowest_level(adapt_to):
    """Choosing must not have moved the model: it ends where the level alone would end."""
    chosen, facts = adapt_to(*LEVELS, name="chosen", margin=1.0)
    alone, _ = adapt_to("closed_form", name="alone")
    assert facts["level"] == "closed_form"
    assert all(torch.equal(chosen[n], alone[n]) for n in alone)


def test_fewer_trials_can_be_given(adapt_to):
    _, facts = adapt_to("closed_form", n_trials=20)
    assert facts["trials"] == 20


def test_an_unknown_subject_is_refused_with_the_known_ones(adapt_to):
    with pytest.raises(ValueError, match=r"subject must be one of \['subj01', .*got 'subj09'"):
        adapt_to("closed_form", subject="subj09")


def test_too_few_images_to_choose_a_level_are_answered_with_the_setting(adapt_to):
    message = (
        r"training images, but held_out=0\.01 splits them into 100 folds .* raise --set held_"
    )
    with pytest.raises(ArtifactError, match=message):
        adapt_to("closed_form", "ridge", held_out=0.01)


def test_missing_sessions_are_named(adapt_to):
    with pytest.raises(ArtifactError, match=r"in the sessions \[7\]\..*--set sessions="):
        adapt_to("closed_form", sessions=(7,))


def test_a_run_of_another_data_set_is_refused(pretrained, data, to_subj03, tmp_path):
    """It has a ridge for the subject already, but of other voxels."""
    other = shutil.copytree(pretrained, tmp_path / "other")
    run = load_run(other)
    run.model.ridge.add_subject("subj03", n_voxels=5)
    save_run(other, model=run.model, settings=run.settings, encoder="lite0")
    write_manifest(other, stage="train", config={"task": "shared"})
    with pytest.raises(
        ArtifactError, match=r"ridge of 5 voxels for subj03, the data set .* another"
    ):
        train(to_subj03, source=data, init=other, out=tmp_path / "out", device="cpu")
