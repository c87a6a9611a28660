"""Lengths and schedules; `replay` is compared with the released code in golden/."""

import pytest
import torch

from mindeye2.core.runtime import process_rng
from mindeye2.core.settings import load_settings
from mindeye2.models.decoder import build_mindeye
from mindeye2.models.model_settings import ModelSettings, PriorSettings
from mindeye2.recipes import released_training
from mindeye2.training.brain_training import BrainTraining, replay


@pytest.mark.parametrize(
    ("n_subjects", "n_sessions", "batch_size", "steps"),
    [(7, 40, 42, 107_100), (1, 1, 24, 4_650), (1, 40, 24, 187_500)],
    ids=["seven subjects", "one session", "forty sessions"],
)
def test_the_released_trainings_have_the_published_numbers_of_steps(
    n_subjects, n_sessions, batch_size, steps
):
    settings = released_training()
    length = settings.epoch_length(
        n_subjects=n_subjects, n_sessions=n_sessions, batch_size=batch_size
    )
    optimizer = settings.resolved_optimizer(length)
    assert optimizer.steps == steps
    assert optimizer.warmup == pytest.approx(2 / 150)


def test_without_epochs_the_length_is_the_optimizer_s():
    settings = BrainTraining()
    assert settings.epoch_length(n_subjects=7, n_sessions=40, batch_size=42) is None
    assert settings.resolved_optimizer(None) == settings.optimizer


def test_settings_of_epochs_need_epochs():
    with pytest.raises(ValueError, match=r"steps_per_epoch and warmup_epochs need epochs"):
        BrainTraining(warmup_epochs=2)


def test_replay_refuses_batches_beyond_its_schedule():
    sizes = ModelSettings(
        n_tokens=4, n_features=6, n_latent=5, lowlevel=None, prior=PriorSettings(head_width=4)
    )
    with process_rng(0, "model"):
        model = build_mindeye(sizes, {"subj01": 3})
    batch = {"betas": {"subj01": torch.zeros(2, 3)}, "mix": None, "tokens": torch.zeros(2, 4, 6)}
    settings = BrainTraining(epochs=1, steps_per_epoch=1)
    with pytest.raises(ValueError, match=r"the schedule has 1 steps, got 2 batches"):
        replay(model, settings, [batch, batch])
    with pytest.raises(ValueError, match=r"replay needs steps_per_epoch where epochs are given"):
        replay(model, BrainTraining(epochs=1), [batch])


def test_a_warmup_longer_than_the_training_is_refused_by_name():
    message = r"^warmup_epochs=2.0 is more than epochs=1: set both, e.g. --set warmup_epochs=0"
    with pytest.raises(ValueError, match=message):
        load_settings(BrainTraining(), assignments=["epochs=1", "warmup_epochs=2"])
