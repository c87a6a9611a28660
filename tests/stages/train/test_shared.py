import json
import shutil

import pandas as pd
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge

from mindeye2.core.artifacts import read_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.core.runtime import process_rng
from mindeye2.models.closed_form import ALPHAS
from mindeye2.models.decoder import build_mindeye
from mindeye2.models.settings import LowLevelSettings, ModelSettings, PriorSettings
from mindeye2.stages.train import train
from mindeye2.stages.train.shared import cross_fitted, set_ridge, start_closed_form
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
    """Return two people who saw all images twice, whose voxels are noise."""
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
    penalties = start_closed_form(model, trials, **targets, seed=0)
    bank = whole(targets["tokens"]).flatten(1).numpy()
    pca = PCA(n_components=10).fit(bank)
    for subject, own in trials.items():
        assert penalties[subject] in ALPHAS
        ridge = Ridge(alpha=penalties[subject], solver="svd")
        ridge.fit(own.betas.numpy(), pca.transform(bank)[own.images])
        expected = pca.inverse_transform(ridge.predict(own.betas.numpy()))
        with torch.no_grad():
            out = model(own.betas, subject=subject).backbone_tokens.flatten(1)
        torch.testing.assert_close(out, torch.from_numpy(expected).float(), rtol=1e-3, atol=1e-3)


def test_the_low_level_head_starts_as_sklearn_s_ridge_from_components(model, trials, targets):
    start_closed_form(model, trials, **targets, seed=0)
    bank = whole(targets["tokens"]).flatten(1)
    codes = (bank - model.backbone.output.bias) @ model.backbone.output.weight
    latents = whole(targets["latents"]).flatten(1)
    ridge = Ridge(alpha=N_IMAGES, solver="svd").fit(codes.detach().numpy(), latents.numpy())
    with torch.no_grad():
        out = model.heads(codes).lowlevel_latents.flatten(1)
    expected = torch.from_numpy(ridge.predict(codes.detach().numpy())).float()
    torch.testing.assert_close(out, expected, rtol=1e-3, atol=1e-3)


def test_a_ridge_is_zero_where_the_shared_space_is_wider_than_the_codes(model, trials, rng):
    own, other = trials["subj01"], model.ridge.maps["subj02"].weight.clone()
    codes = torch.randn(len(own), 6, generator=rng)
    set_ridge(model, "subj01", betas=own.betas, targets=codes, penalty=30.0)
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
    codes = (whole(tokens).flatten(1) - output.bias) @ output.weight
    fair = torch.cosine_similarity(predicted, codes[shown].detach(), dim=1).mean()
    own = trials["subj02"]
    seen = model.ridge(own.betas, subject="subj02")
    leaked = torch.cosine_similarity(seen, codes[own.images], dim=1).mean()
    # Below 0 rather than 0: who leaves images out leaves them out of the mean as well.
    assert fair < 0.05
    assert leaked > 0.4


@pytest.mark.parametrize("n_folds", [2, 4])
def test_each_image_is_predicted_by_all_folds_but_its_own(model, trials, targets, n_folds):
    """As both single presentations and their mean, of both people."""
    tokens = targets["tokens"]
    predicted, shown = cross_fitted(model, trials, tokens=tokens, n_folds=n_folds, seed=0)
    assert shown.bincount().tolist() == [2 * (n_folds - 1) * (2 + 1)] * N_IMAGES
    assert predicted.shape == (len(shown), 10)


def test_validation_is_recorded_and_choices_are_made_on_it(pretrained, standard):
    facts = read_manifest(pretrained, stage="train")
    assert set(facts["penalties"]) == set(standard.subjects)
    assert 0 <= facts["validation"]["two_way"] <= 1
    best = max(facts["expectation"].values())
    chosen = facts["expectation"]["none"] < best
    assert (pretrained / "expectation.safetensors").exists() == chosen


def test_a_data_set_without_a_validation_split_trains_without_validation(data, standard, tmp_path):
    shutil.copytree(data, tmp_path / "data")
    table = pd.read_parquet(data / "trials.parquet")
    table["split"] = table["split"].replace("validation", "train")
    table.to_parquet(tmp_path / "data" / "trials.parquet", index=False)
    seal = json.loads((data / "manifest.json").read_text())
    size = (tmp_path / "data" / "trials.parquet").stat().st_size
    seal["files"]["trials.parquet"]["bytes"] = size
    (tmp_path / "data" / "manifest.json").write_text(json.dumps(seal))
    train(standard, source=tmp_path / "data", out=tmp_path / "run", device="cpu")
    facts = read_manifest(tmp_path / "run", stage="train")
    assert not {"validation", "expectation"} & set(facts)


def test_a_model_without_a_low_level_head_needs_no_low_level_targets(data, standard, tmp_path):
    shutil.copytree(data, tmp_path / "data", ignore=shutil.ignore_patterns("lowlevel"))
    seal = json.loads((data / "manifest.json").read_text())
    seal["files"] = {k: v for k, v in seal["files"].items() if "lowlevel" not in k}
    (tmp_path / "data" / "manifest.json").write_text(json.dumps(seal))
    model = standard.model.model_copy(update={"lowlevel": None})
    settings = standard.model_copy(update={"model": model, "train_prior": False})
    train(settings, source=tmp_path / "data", out=tmp_path / "run", device="cpu")
    last = json.loads((tmp_path / "run" / "steps.jsonl").read_text().splitlines()[-1])
    assert "lowlevel" not in last


def test_targets_of_other_shapes_than_the_model_s_are_refused_before_training(
    data, standard, tmp_path
):
    published = LowLevelSettings(channels=4, coarse_channels=64)
    for change, message in (
        ({"lowlevel": published}, r"latents of shape \(4, 28, 28\).* have shape \(64, 7, 7\)"),
        ({"n_tokens": 256}, r"tokens of shape \(256, 128\).* 'lite0' .* have shape \(49, 128\)"),
    ):
        model = standard.model.model_copy(update=change)
        settings = standard.model_copy(update={"model": model})
        with pytest.raises(ArtifactError, match=message):
            train(
                settings, source=data, out=tmp_path / str(len(change)), resume=True, device="cpu"
            )
        assert not (tmp_path / str(len(change)) / "steps.jsonl").exists()


def test_one_person_without_a_prior_is_the_closed_form_alone(data, standard, tmp_path):
    alone = {"subjects": ("subj01",), "train_prior": False, "train_body": False}
    settings = standard.model_copy(update={**alone, "train_on": ("train", "validation")})
    train(settings, source=data, out=tmp_path, device="cpu")
    facts = read_manifest(tmp_path, stage="train")
    assert not {"validation", "expectation"} & set(facts)
    assert not (tmp_path / "prior").exists()
    assert not (tmp_path / "steps.jsonl").exists()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"subjects": ("subj09",)}, ValueError, r"subject must be one of .*got 'subj09'"),
        (
            {"sessions": (4,)},
            ArtifactError,
            r"of the splits \['train'\] in the sessions \[4\].*.*--set train_on=",
        ),
        ({"encoder": "clip"}, ArtifactError, r"no targets of the encoder 'clip'"),
    ],
    ids=["subject", "session", "encoder"],
)
def test_what_the_data_set_does_not_have_is_named(
    data, standard, tmp_path, change, error, message
):
    settings = standard.model_copy(update=change)
    with pytest.raises(error, match=message):
        train(settings, source=data, out=tmp_path, device="cpu")
