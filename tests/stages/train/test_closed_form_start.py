import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge

from mindeye2.core.runtime import process_rng
from mindeye2.models.closed_form import ALPHAS, RidgeProblem
from mindeye2.models.decoder import build_mindeye
from mindeye2.models.model_settings import LowLevelSettings, ModelSettings, PriorSettings
from mindeye2.stages.train import closed_form_start
from mindeye2.stages.train.closed_form_start import (
    cross_fitted,
    latent_targets,
    set_ridge,
    start_closed_form,
)
from mindeye2.training.trials import BetaRows, SubjectTrials, TargetBank

N_IMAGES = 40
SIZES = ModelSettings(
    n_tokens=4,
    n_features=6,
    n_latent=10,
    lowlevel=LowLevelSettings(channels=2, size=3),
    prior=PriorSettings(n_heads=2, head_width=4),
)


@pytest.fixture
def model():
    with process_rng(0, "model"):
        return build_mindeye(SIZES, {"subj01": 50, "subj02": 70}).eval()


@pytest.fixture
def trials(rng):
    """Return two subjects who saw all images twice, whose voxels are noise."""
    images = torch.arange(2 * N_IMAGES) % N_IMAGES
    return {
        subject: SubjectTrials(
            betas=BetaRows(torch.randn(len(images), n, generator=rng).numpy()),
            images=images,
            sessions=images * 0,
        )
        for subject, n in (("subj01", 50), ("subj02", 70))
    }


def whole(bank):
    return torch.from_numpy(np.array(bank.values))


@pytest.fixture
def targets(rng):
    tokens = torch.randn(N_IMAGES, 4, 6, generator=rng)
    latents = torch.randn(N_IMAGES, 2, 3, 3, generator=rng)
    return {"tokens": TargetBank(tokens.numpy()), "latents": TargetBank(latents.numpy())}


def test_the_start_is_sklearn_s_ridge_onto_sklearn_s_principal_components(
    model, trials, targets, tmp_path
):
    """The residual blocks between ridge and output start as the identity."""
    alphas = start_closed_form(model, trials, **targets, seed=0, folder=tmp_path / "start")
    bank = whole(targets["tokens"]).flatten(1).numpy()
    pca = PCA(n_components=10).fit(bank)
    for subject, own in trials.items():
        assert alphas[subject] in ALPHAS
        ridge = Ridge(alpha=alphas[subject], solver="svd")
        ridge.fit(own.betas[:].numpy(), pca.transform(bank)[own.images])
        expected = pca.inverse_transform(ridge.predict(own.betas[:].numpy()))
        with torch.no_grad():
            out = model(own.betas[:], subject=subject).backbone_tokens.flatten(1)
        torch.testing.assert_close(out, torch.from_numpy(expected).float(), rtol=1e-3, atol=1e-3)


def test_the_low_level_head_starts_as_sklearn_s_ridge_from_components(
    model, trials, targets, tmp_path
):
    start_closed_form(model, trials, **targets, seed=0, folder=tmp_path / "start")
    bank = whole(targets["tokens"]).flatten(1)
    scores = (bank - model.backbone.output.bias) @ model.backbone.output.weight
    latents = whole(targets["latents"]).flatten(1)
    ridge = Ridge(alpha=N_IMAGES, solver="svd").fit(scores.detach().numpy(), latents.numpy())
    with torch.no_grad():
        out = model.heads(scores).lowlevel_latents.flatten(1)
    expected = torch.from_numpy(ridge.predict(scores.detach().numpy())).float()
    torch.testing.assert_close(out, expected, rtol=1e-3, atol=1e-3)


def test_a_ridge_is_zero_where_the_shared_space_is_wider_than_the_components(model, trials, rng):
    own, other = trials["subj01"], model.ridge.maps["subj02"].weight.clone()
    scores = torch.randn(len(own), 6, generator=rng)
    set_ridge(model, "subj01", RidgeProblem(own.betas, scores), alpha=30.0)
    layer = model.ridge.maps["subj01"]
    assert layer.weight[:6].abs().min() > 0
    assert layer.weight[6:].abs().max() == layer.bias[6:].abs().max() == 0
    assert torch.equal(model.ridge.maps["subj02"].weight, other)


def test_cross_fitted_latents_never_come_from_a_ridge_that_saw_the_image(
    model, trials, targets, tmp_path
):
    """Of voxels that are noise, a ridge predicts the images it saw, and no others."""
    start_closed_form(model, trials, **targets, seed=0, folder=tmp_path / "start")
    tokens = targets["tokens"]
    predicted, shown = cross_fitted(
        model, trials, tokens=tokens, n_folds=2, seed=0, folder=tmp_path
    )
    predicted = whole(predicted)
    output = model.backbone.output
    scores = (whole(tokens).flatten(1) - output.bias) @ output.weight
    fair = torch.cosine_similarity(predicted, scores[shown].detach(), dim=1).mean()
    own = trials["subj02"]
    seen = model.ridge(own.betas[:], subject="subj02")
    leaked = torch.cosine_similarity(seen, scores[own.images], dim=1).mean()
    # Below 0 rather than 0: who leaves images out leaves them out of the mean as well.
    assert fair < 0.05
    assert leaked > 0.4


@pytest.mark.parametrize("n_folds", [2, 4])
def test_each_image_is_predicted_by_all_folds_but_its_own(
    model, trials, targets, n_folds, tmp_path
):
    """As both single presentations and their mean, of both subjects."""
    tokens = targets["tokens"]
    predicted, shown = cross_fitted(
        model, trials, tokens=tokens, n_folds=n_folds, seed=0, folder=tmp_path
    )
    assert shown.bincount().tolist() == [2 * (n_folds - 1) * (2 + 1)] * N_IMAGES
    assert predicted.shape == (len(shown), 10)


def test_cross_fitted_latents_are_sklearn_s_of_single_trials_and_of_their_mean(
    model, trials, targets, tmp_path
):
    tokens, own = targets["tokens"], trials["subj01"]
    alphas = {"subj01": 30.0, "subj02": 30.0}
    predicted, shown = cross_fitted(
        model, trials, tokens=tokens, n_folds=2, seed=0, folder=tmp_path, alphas=alphas
    )
    # The first fold's: two trials of half of the images, then their means.
    held_out = torch.isin(own.images, shown[:N_IMAGES])
    latents = latent_targets(model, own.images, tokens=tokens, folder=tmp_path)
    ridge = Ridge(alpha=30.0, solver="svd")
    ridge.fit(own.betas[:][~held_out].numpy(), latents[own.images[~held_out]].numpy())
    single = own.rows(held_out)
    for part, first in ((single, 0), (single.averaged(), N_IMAGES)):
        expected = torch.from_numpy(ridge.predict(part.betas[:].numpy())).float()
        rows = slice(first, first + len(part))
        torch.testing.assert_close(whole(predicted)[rows], expected, rtol=1e-3, atol=1e-3)
        assert torch.equal(shown[rows], part.images)


@pytest.mark.parametrize("n_subjects", [2, 1], ids=["whole", "of one subject"])
def test_a_start_that_is_there_is_not_computed_again(
    n_subjects, model, trials, targets, tmp_path, monkeypatch
):
    trials = dict(list(trials.items())[:n_subjects])
    alphas = start_closed_form(model, trials, **targets, seed=0, folder=tmp_path)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    for p in model.parameters():
        p.data.add_(1)
    monkeypatch.setattr(closed_form_start, "pca_components", pytest.fail)
    assert start_closed_form(model, trials, **targets, seed=0, folder=tmp_path) == alphas
    for name in ("backbone.output.weight", "ridge.maps.subj01.weight", "lowlevel.linear.bias"):
        assert torch.equal(model.state_dict()[name], state[name])


def test_cross_fitted_latents_that_are_there_are_not_computed_again(
    model, trials, targets, tmp_path, monkeypatch
):
    given = {"tokens": targets["tokens"], "n_folds": 2, "seed": 0, "folder": tmp_path}
    first, shown = cross_fitted(model, trials, **given)
    monkeypatch.setattr(closed_form_start, "choose_alpha", pytest.fail)
    again, shown_again = cross_fitted(model, trials, **given)
    assert torch.equal(whole(first), whole(again))
    assert torch.equal(shown, shown_again)


@pytest.mark.parametrize("rank", [10, 6], ids=["full rank", "latents without effect"])
def test_latents_are_those_of_the_pseudo_inverse(rank, model, targets, tmp_path, monkeypatch):
    monkeypatch.setattr("mindeye2.models.moments.CHUNK", 60)
    output, tokens = model.backbone.output, targets["tokens"]
    with torch.no_grad():
        output.weight[:, rank:] = 0
        inverse = torch.linalg.pinv(output.weight)
        images = torch.tensor([7, 3, 3, 21])
        expected = (whole(tokens).flatten(1)[images] - output.bias) @ inverse.T
    found = latent_targets(model, images, tokens=tokens, folder=tmp_path)
    torch.testing.assert_close(found[images], expected, rtol=1e-4, atol=1e-5)


class Limited(np.ndarray):
    """Rows of which no more than LIMIT numbers may be read at once."""

    def __getitem__(self, key):
        values = super().__getitem__(key)
        assert values.size <= LIMIT, f"{values.size} of {self.size} numbers at once"
        return values


LIMIT = 200


def test_neither_the_bank_nor_the_betas_are_read_whole(targets, rng, tmp_path, monkeypatch):
    """At the published size they are 109 and 12 GB; here 960 and 3,840 numbers."""
    with process_rng(0, "model"):
        model = build_mindeye(SIZES, {"subj01": 12}).eval()
    images = torch.arange(8 * N_IMAGES) % N_IMAGES
    betas = torch.randn(len(images), 12, generator=rng).numpy()
    trials, limited = (
        {"subj01": SubjectTrials(betas=BetaRows(b), images=images, sessions=images * 0)}
        for b in (betas, betas.view(Limited))
    )
    banks = {name: TargetBank(bank.values.view(Limited)) for name, bank in targets.items()}
    with pytest.raises(AssertionError, match="960 of 960 numbers at once"):
        banks["tokens"][torch.arange(N_IMAGES)]
    for module in ("moments", "pca"):
        monkeypatch.setattr(f"mindeye2.models.{module}.CHUNK", LIMIT)
    alphas = start_closed_form(model, limited, **banks, seed=0, folder=tmp_path / "start")
    fold = {"n_folds": 3, "seed": 0}
    found, _ = cross_fitted(model, limited, tokens=banks["tokens"], folder=tmp_path, **fold)
    monkeypatch.undo()
    whole_alphas = start_closed_form(model, trials, **targets, seed=0, folder=tmp_path / "whole")
    assert alphas == whole_alphas
    other = tmp_path / "other"
    expected, _ = cross_fitted(model, trials, tokens=targets["tokens"], folder=other, **fold)
    # Components and their scores are the same up to their sign.
    torch.testing.assert_close(whole(found).abs(), whole(expected).abs(), rtol=1e-3, atol=1e-4)
