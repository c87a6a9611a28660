import numpy as np
import pytest
import scipy.spatial
import torch
from sklearn.covariance import shrunk_covariance
from sklearn.linear_model import Ridge

from mindeye2.core.runtime import process_rng
from mindeye2.models.closed_form import mean_reciprocal_rank
from mindeye2.models.decoder import build_mindeye
from mindeye2.models.forward_model import load_forward_model
from mindeye2.models.model_settings import ModelSettings, PriorSettings
from mindeye2.stages.train import forward_model_fit
from mindeye2.stages.train.forward_model_fit import fit_on_held_out
from mindeye2.training.trials import BetaRows, SubjectTrials, TargetBank

N_IMAGES = 40
SIZES = ModelSettings(
    n_tokens=4, n_features=6, n_latent=10, lowlevel=None, prior=PriorSettings(head_width=4)
)


@pytest.fixture
def given(rng, tmp_path):
    """Return predicted latents of 90 trials of 30 images, and 10 validation images."""
    with process_rng(0, "model"):
        model = build_mindeye(SIZES, {"subj01": 12}).eval()
    for block in model.backbone.trunk.blocks:
        torch.nn.init.normal_(block[-1][-1].weight, std=0.3, generator=rng)
    images = torch.arange(90) % 30
    validation = SubjectTrials(
        betas=BetaRows(torch.randn(10, 12, generator=rng).numpy()),
        images=torch.arange(30, 40),
        sessions=torch.zeros(10, dtype=torch.long),
    )
    return {
        "model": model,
        "validation": {"subj01": validation},
        "preds": TargetBank(torch.randn(90, 10, generator=rng).numpy()),
        "images": images,
        "tokens": TargetBank(torch.randn(N_IMAGES, 4, 6, generator=rng).numpy()),
        "out": tmp_path,
    }


def _best(name):
    """Return scores of all choices in their order, of which one is the best."""
    mixed = [f"0.03, identity {w:g}" for w in (0.25, 0.5, 0.75)]
    names = ["none", "0.03", "0.1", "0.3", "1", "0.03, whitened"]
    names += [f"{start}{end}" for start in mixed for end in ("", ", whitened")]
    return {n: 0.9 if n == name else 0.2 if n == "0.03" else 0.1 for n in names}


@pytest.mark.parametrize("identity", [0.0, 0.25])
def test_it_is_sklearn_s_ridge_between_scores_of_true_and_decoded_tokens(
    given, identity, monkeypatch
):
    """In an orthonormal basis of the output layer, although decoded tokens are never computed."""
    scores = _best("0.03, identity 0.25, whitened" if identity else "0.03, whitened")
    monkeypatch.setattr(forward_model_fit, "mean_reciprocal_rank", _Ranks(scores))
    assert fit_on_held_out(**given) == pytest.approx(scores)
    output = given["model"].backbone.output
    true = given["tokens"].values.reshape(N_IMAGES, -1)
    with torch.no_grad():
        decoded = given["model"].heads(torch.from_numpy(given["preds"].values)).backbone_tokens
        basis, mean = np.linalg.svd(output.weight.numpy())[0][:, :10], output.bias.numpy()
    X = ((true - mean) @ basis)[given["images"]]
    Y = (decoded.flatten(1).numpy() - mean) @ basis
    reference = Ridge(alpha=0.03 * np.square(X).sum() / 10).fit(X, Y)
    spread = np.linalg.norm(reference.predict(X) - Y.mean(0)) / np.linalg.norm(X - X.mean(0))

    def predict(X_):
        own = spread * (X_ - X.mean(0)) + Y.mean(0)
        return (1 - identity) * reference.predict(X_) + identity * own

    expected = predict((true - mean) @ basis) @ basis.T + mean
    found = load_forward_model(given["out"], output)(given["tokens"][torch.arange(N_IMAGES)])
    np.testing.assert_allclose(found.flatten(1), expected, rtol=1e-3, atol=1e-4)
    errors = Y - predict(X)
    covariance = shrunk_covariance(errors.T @ errors / len(errors), 0.5)
    points = (true - mean) @ basis
    want = scipy.spatial.distance.pdist(points, "mahalanobis", VI=np.linalg.inv(covariance))
    model = load_forward_model(given["out"], output)
    whitened = model.whiten(given["tokens"][torch.arange(N_IMAGES)])
    assert whitened.shape == (N_IMAGES, 10)
    np.testing.assert_allclose(scipy.spatial.distance.pdist(whitened), want, rtol=2e-3)


@pytest.mark.parametrize("name", ["0.03", "0.03, identity 0.5"])
def test_a_whitening_that_does_not_help_is_not_saved(given, name, monkeypatch):
    monkeypatch.setattr(forward_model_fit, "mean_reciprocal_rank", _Ranks(_best(name)))
    fit_on_held_out(**given)
    found = load_forward_model(given["out"], given["model"].backbone.output)
    assert found is not None
    assert found.whitening is None


@pytest.mark.parametrize("whitened", [False, True])
def test_choices_are_scored_as_all_their_tokens_would_be(given, whitened, monkeypatch):
    """In coordinates of the output layer's span cosines are the same."""
    name = "0.03, identity 0.5, whitened" if whitened else "0.03, identity 0.5"
    order, scores = list(_best(name)), []

    def rank(preds, gallery):
        scores.append(mean_reciprocal_rank(preds, gallery))
        return _best(name)[order[len(scores) - 1]]

    monkeypatch.setattr(forward_model_fit, "mean_reciprocal_rank", rank)
    fit_on_held_out(**given)
    model, tokens, own = given["model"], given["tokens"], given["validation"]["subj01"]
    found = load_forward_model(given["out"], model.backbone.output)
    with torch.no_grad():
        decoded = model(own.betas[torch.arange(10)], subject="subj01").backbone_tokens
    true = tokens[torch.cat([own.images, torch.arange(30)])]
    gallery = found(true)
    both = [found.whiten(side).flatten(1) for side in (decoded, gallery)]
    assert scores[order.index(name)] == pytest.approx(mean_reciprocal_rank(*both), abs=1e-6)
    plain = mean_reciprocal_rank(decoded.flatten(1), true.flatten(1))
    assert scores[0] == pytest.approx(plain, abs=1e-6)


def test_latents_that_the_output_layer_ignores_change_nothing(given, monkeypatch):
    """As after a closed-form start from fewer images than latents."""
    scores = _best("0.03, identity 0.25, whitened")
    monkeypatch.setattr(forward_model_fit, "mean_reciprocal_rank", _Ranks(scores))
    output = given["model"].backbone.output
    with torch.no_grad():
        output.weight[:, 7:] = 0
    fit_on_held_out(**given)
    found = load_forward_model(given["out"], output)
    assert torch.isfinite(found.weights).all()
    assert not found.weights[7:].any()
    assert torch.isfinite(found.whitening).all()
    assert found.whitening.shape == (10, 7)


class _Ranks:
    def __init__(self, scores):
        self.scores = list(scores.items())

    def __call__(self, preds, gallery):
        assert (len(preds), len(gallery)) == (10, 10 + 30)  # training images too
        assert preds.shape[1] == gallery.shape[1]
        name, score = self.scores.pop(0)
        # Coordinates in the output layer's span are compared in place of tokens.
        assert (preds.shape[1] == 24) == (name == "none")
        return score


def test_a_forward_model_that_does_not_help_is_not_saved(given, monkeypatch):
    monkeypatch.setattr(forward_model_fit, "mean_reciprocal_rank", lambda *_: 0.5)
    fit_on_held_out(**given)
    assert load_forward_model(given["out"], given["model"].backbone.output) is None
