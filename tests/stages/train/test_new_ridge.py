import dataclasses
from collections.abc import Callable

import pytest
import torch

from mindeye2.data.prepared import open_prepared
from mindeye2.models.checkpoint import load_run
from mindeye2.models.closed_form import choose_alpha
from mindeye2.models.encoding_models import load_encoding_models, similar_weights
from mindeye2.models.forward_model import ForwardModel
from mindeye2.stages.train import new_ridge
from mindeye2.training.trials import BetaRows, load_targets, load_trials


@pytest.fixture
def fit(data, pretrained, tmp_path):
    """Return a function that fits the ridge of subj03, and gives it and what was chosen."""
    prepared = open_prepared(data)

    def _fit(*, known=True, n_voxels=None, forward_model=None, seed=0):
        model = load_run(pretrained).model
        trials = load_trials(prepared, "subj03", ["train", "validation"], n_trials=30)
        betas = trials.betas[torch.arange(30)][:, :n_voxels]
        trials = dataclasses.replace(trials, betas=BetaRows(betas.numpy()))
        model.ridge.add_subject("subj03", n_voxels=trials.betas.shape[1])
        chosen = new_ridge.fit_new_ridge(
            model,
            "subj03",
            trials,
            tokens=load_targets(prepared, "lite0"),
            encoding_models=load_encoding_models(pretrained) if known else None,
            forward_model=forward_model,
            seed=seed,
            folder=tmp_path,
        )
        return model.ridge.maps["subj03"].weight.detach(), chosen

    return _fit


def test_without_encoding_models_the_ridge_shrinks_towards_zero(fit):
    weight, chosen = fit(known=False)
    assert chosen.strength == 0
    assert chosen.alpha > 0
    assert weight.isfinite().all()


def test_what_identifies_held_out_images_best_is_chosen(fit, monkeypatch):
    tried = []

    def choose(problem, images, **given):
        alpha, scores = choose_alpha(problem, images, **given)
        tried.append(scores[alpha])
        return alpha, scores

    monkeypatch.setattr(new_ridge, "choose_alpha", choose)
    _, chosen = fit()
    scores = dict(zip((0.0, *new_ridge.STRENGTHS), tried, strict=True))
    assert scores[chosen.strength] == max(tried)
    assert len(set(tried)) > 1


def test_similar_voxels_are_chosen_by_fitted_trials_only(fit, monkeypatch):
    """In a fold the weights are those of its fitted trials, once for all strengths."""
    seen = []

    def similar(betas, *given, **more):
        seen.append(len(betas))
        return similar_weights(betas, *given, **more)

    monkeypatch.setattr(new_ridge, "similar_weights", similar)
    _, chosen = fit()
    assert len(seen) == 5 + (chosen.strength > 0)
    assert sum(30 - n for n in seen[:5]) == 30


def test_where_trials_outnumber_voxels_no_similar_ones_are_searched(fit, monkeypatch):
    monkeypatch.setattr(new_ridge, "similar_weights", lambda *_, **__: pytest.fail("searched"))
    _, chosen = fit(n_voxels=25)
    assert chosen.strength == 0


def test_the_same_seed_gives_the_same_ridge(fit):
    first, chosen = fit(seed=3)
    again, chosen_again = fit(seed=3)
    assert torch.equal(first, again)
    assert chosen == chosen_again


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stated(ForwardModel):
    """A forward model that is any function of true tokens."""

    function: Callable[[torch.Tensor], torch.Tensor]

    def __call__(self, tokens):
        return self.function(tokens)


@pytest.fixture
def stated():
    """Return a function that makes a forward model of a function."""
    unused = torch.zeros(1), torch.zeros(1, 1)
    return lambda function: Stated(
        mean=unused[0], components=unused[1], weights=unused[1], bias=unused[0], function=function
    )


def test_a_forward_model_that_identifies_fewer_images_than_none_is_not_kept(fit, stated):
    """One that says the same of every image."""
    _, chosen = fit(forward_model=stated(torch.zeros_like))
    assert not chosen.keeps_forward_model


def test_a_forward_model_is_kept_where_it_is_no_worse_than_none(fit, stated):
    _, chosen = fit(forward_model=stated(lambda tokens: tokens))
    _, without = fit()
    assert chosen == dataclasses.replace(without, keeps_forward_model=True)
    assert not without.keeps_forward_model
