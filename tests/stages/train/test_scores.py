import numpy as np
import pytest
import torch
from scipy.stats import rankdata

from mindeye2.core.runtime import process_rng
from mindeye2.models.decoder import build_mindeye
from mindeye2.models.model_settings import ModelSettings, PriorSettings
from mindeye2.stages.train.scores import identification
from mindeye2.training.trials import BetaRows, SubjectTrials, TargetBank

SIZES = ModelSettings(
    n_tokens=4, n_features=6, n_latent=10, lowlevel=None, prior=PriorSettings(head_width=4)
)
CPU = torch.device("cpu")


@pytest.fixture
def model():
    with process_rng(0, "model"):
        return build_mindeye(SIZES, {"subj01": 7, "subj02": 5}).eval()


def bank(tokens):
    return TargetBank(tokens.numpy())


def subject_trials(n_voxels, images, rng):
    shown = torch.tensor(images)
    betas = BetaRows(torch.randn(len(shown), n_voxels, generator=rng).numpy())
    return SubjectTrials(betas=betas, images=shown, sessions=shown * 0)


def test_scores_are_those_of_ranks_averaged_over_subjects(model, rng):
    tokens = bank(torch.randn(30, 4, 6, generator=rng))
    held = {
        "subj01": subject_trials(7, range(12), rng),
        "subj02": subject_trials(5, range(5, 25), rng),
    }
    scores = identification(model, held, tokens=tokens, device=CPU)
    expected = []
    for subject, own in held.items():
        with torch.no_grad():
            out = model(own.betas[:], subject=subject).backbone_tokens.flatten(1).numpy()
        true = tokens[own.images].flatten(1).numpy()
        out, true = out - out.mean(0), true - true.mean(0)
        cosines = out @ true.T / np.outer(*(np.linalg.norm(x, axis=1) for x in (out, true)))
        ranks = rankdata(-cosines, axis=1).diagonal()
        expected.append([(ranks == 1).mean(), (1 / ranks).mean()])
    top1, reciprocal = np.mean(expected, axis=0)
    assert scores["top1"] == pytest.approx(top1)
    assert scores["reciprocal_rank"] == pytest.approx(reciprocal, rel=1e-5)


def test_true_predictions_score_best(model, rng):
    held = {"subj01": subject_trials(7, range(12), rng)}
    with torch.no_grad():
        tokens = bank(model(held["subj01"].betas[:], subject="subj01").backbone_tokens)
    scores = identification(model, held, tokens=tokens, device=CPU)
    assert scores["mse"] < 1e-10
    assert {scores[n] for n in ("top1", "reciprocal_rank", "two_way")} == {1.0}


def test_scoring_a_model_trains_nothing(model, rng):
    held = {"subj02": subject_trials(5, range(8), rng)}
    identification(model, held, tokens=bank(torch.randn(8, 4, 6, generator=rng)), device=CPU)
    assert all(p.grad is None for p in model.parameters())
