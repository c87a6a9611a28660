import shutil
import sys

import pytest
import torch

from mindeye2.core.artifacts import read_manifest, write_manifest
from mindeye2.core.errors import ArtifactError, MissingExtraError
from mindeye2.models.checkpoint import load_run, save_run
from mindeye2.stages.train import train
from mindeye2.stages.train.adapt import LEVELS, AdaptTraining
from mindeye2.stages.train.lora import LoraTraining
from mindeye2.training.brain_step import LossSettings

OWN = {f"ridge.maps.subj03.{name}" for name in ("weight", "bias")}
WITH_PRIOR = LossSettings(prior=1.0)


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


def test_the_prior_s_loss_reaches_the_new_ridge_through_the_frozen_prior(adapt_to, pretrained):
    without, _ = adapt_to("ridge", name="without")
    state, _ = adapt_to("ridge", losses=WITH_PRIOR)
    assert changed(state, pretrained) == OWN
    assert not torch.equal(state["ridge.maps.subj03.weight"], without["ridge.maps.subj03.weight"])


@pytest.mark.parametrize("losses", [LossSettings(), WITH_PRIOR], ids=["without prior", "prior"])
def test_low_rank_changes_of_backbone_and_prior_are_merged_into_the_weights(
    adapt_to, pretrained, losses
):
    """Of a part that a loss reaches: nothing else moves, and by no more than the rank."""
    lora = LoraTraining(steps=3, rank=2)
    ridge, _ = adapt_to("ridge", name="ridge", losses=losses)
    state, _ = adapt_to("ridge", "lora", losses=losses, lora=lora, margin=-1.0)
    before = load_run(pretrained).model
    assert set(state) == set(before.state_dict()) | OWN
    assert not torch.equal(state["ridge.maps.subj03.weight"], ridge["ridge.maps.subj03.weight"])
    moved = changed(state, pretrained) - OWN
    parts = {"backbone", "prior"} if losses.prior else {"backbone"}
    assert {name.partition(".")[0] for name in moved} == parts
    for name in moved:
        assert isinstance(before.get_submodule(name.removesuffix(".weight")), torch.nn.Linear)
        change = (state[name] - before.state_dict()[name]).double()
        values = torch.linalg.svdvals(change)
        assert values[2] < 1e-3 * values[0], name


@pytest.mark.parametrize("losses", [LossSettings(), WITH_PRIOR], ids=["without prior", "prior"])
def test_the_highest_level_moves_all_that_a_loss_reaches_but_other_ridges(
    adapt_to, pretrained, losses
):
    state, _ = adapt_to("full", losses=losses)
    moved = changed(state, pretrained)
    parts = {name.partition(".")[0] for name in moved}
    assert parts == {"ridge", "backbone", "projector", "lowlevel"} | (
        {"prior"} if losses.prior else set()
    )
    assert {name for name in moved if name.startswith("ridge.")} == OWN


def test_the_level_is_the_best_on_held_out_images_and_the_lower_of_equals(adapted):
    facts = read_manifest(adapted, stage="train")
    levels = facts["config"]["levels"]
    assert set(facts["held_out"]) == set(levels)
    scores = [facts["held_out"][level]["reciprocal_rank"] for level in levels]
    assert levels.index(facts["level"]) == scores.index(max(scores))
    assert facts["trials"] == 80


def test_a_missing_library_is_named_before_anything_is_computed(adapt_to, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    message = r"The adaptation level 'lora' needs the package 'peft'.*mindeye2\[lora\]"
    with pytest.raises(MissingExtraError, match=message):
        adapt_to("closed_form", "lora")
    assert not (tmp_path / "run").exists()
    adapt_to("closed_form")


def test_a_margin_that_is_not_reached_keeps_the_lowest_level(adapt_to):
    """Choosing must not have moved the model: it ends where the level alone would end."""
    chosen, facts = adapt_to(*LEVELS, name="chosen", margin=1.0)
    alone, _ = adapt_to("closed_form", name="alone")
    assert (facts["level"], set(facts["held_out"])) == ("closed_form", set(LEVELS))
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


@pytest.mark.parametrize("levels", [(), ("ridge", "closed_form"), ("ridge", "ridge")])
def test_levels_out_of_order_are_refused(levels):
    with pytest.raises(
        ValueError, match=r"levels must be one or more of \['closed_form', 'ridge'"
    ):
        AdaptTraining(levels=levels)
