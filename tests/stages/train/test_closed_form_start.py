import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge

from mindeye2.core.runtime import process_rng
from mindeye2.models.closed_form import ALPHAS
from mindeye2.models.decoder import build_mindeye
from mindeye2.models.model_settings import LowLevelSettings, ModelSettings, PriorSettings
from mindeye2.stages.train.closed_form_start import cross_fitted, set_ridge, start_closed_form
from mindeye2.training.trials import SubjectTrials, TargetBank

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
            betas=torch.randn(len(images), n, generator=rng), images=images, sessions=images * 0
        )
        for subject, n in (("subj01", 50), ("subj02", 70))
    }


def whole(bank):
    return torch.from_numpy(bank.values)


@pytest.fixture
def targets(rng):
    tokens = torch.randn(N_IMAGES, 4, 6, generator=rng)
    latents = torch.randn(N_IMAGES, 2, 3, 3, generator=rng)
    return {"tokens": TargetBank(tokens.numpy()), "latents": TargetBank(latents.numpy())}


def test_the_start_is_sklearn_s_ridge_onto_sklearn_s_principal_components(model, trials, targets):
    """The residual blocks between ridge and output start as the identity."""
    alphas = start_closed_form(model, trials, **targets, seed=0)
    bank = whole(targets["tokens"]).flatten(1).numpy()
    pca = PCA(n_components=10).fit(bank)
    for subject, own in trials.items():
        assert alphas[subject] in ALPHAS
        ridge = Ridge(alpha=alphas[subject], solver="svd")
        ridge.fit(own.betas.numpy(), pca.transform(bank)[own.images])
        expected = pca.inverse_transform(ridge.predict(own.betas.numpy()))
        with torch.no_grad():
            out = model(own.betas, subject=subject).backbone_tokens.flatten(1)
        torch.testing.assert_close(out, torch.from_numpy(expected).float(), rtol=1e-3, atol=1e-3)


def test_the_low_level_head_starts_as_sklearn_s_ridge_from_components(model, trials, targets):
    start_closed_form(model, trials, **targets, seed=0)
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
    set_ridge(model, "subj01", betas=own.betas, targets=scores, alpha=30.0)
    layer = model.ridge.maps["subj01"]
    assert layer.weight[:6].abs().min() > 0
    assert layer.weight[6:].abs().max() == layer.bias[6:].abs().max() == 0
    assert torch.equal(model.ridge.maps["subj02"].weight, other)


def test_cross_fitted_latents_never_come_from_a_ridge_that_saw_the_image(model, trials, targets):
    """Of voxels that are noise, a ridge predicts the images it saw, and no others."""
    start_closed_form(model, trials, **targets, seed=0)
    tokens = targets["tokens"]
    predicted, shown = cross_fitted(model, trials, tokens=tokens, n_folds=2, seed=0)
    output = model.backbone.output
    scores = (whole(tokens).flatten(1) - output.bias) @ output.weight
    fair = torch.cosine_similarity(predicted, scores[shown].detach(), dim=1).mean()
    own = trials["subj02"]
    seen = model.ridge(own.betas, subject="subj02")
    leaked = torch.cosine_similarity(seen, scores[own.images], dim=1).mean()
    # Below 0 rather than 0: who leaves images out leaves them out of the mean as well.
    assert fair < 0.05
    assert leaked > 0.4


@pytest.mark.parametrize("n_folds", [2, 4])
def test_each_image_is_predicted_by_all_folds_but_its_own(model, trials, targets, n_folds):
    """As both single presentations and their mean, of both subjects."""
    tokens = targets["tokens"]
    predicted, shown = cross_fitted(model, trials, tokens=tokens, n_folds=n_folds, seed=0)
    assert shown.bincount().tolist() == [2 * (n_folds - 1) * (2 + 1)] * N_IMAGES
    assert predicted.shape == (len(shown), 10)
