"""The demo at a size for tests."""

import pytest


@pytest.fixture(scope="session")
def tiny_demo():
    """Return assignments that make the demo one of three subjects with few voxels."""
    values = {
        "data.n_train": 60,
        "data.n_validation": 12,
        "data.n_test": 10,
        "data.scene_size": 96,
        "data.brain_size": 64,
        "data.simulation.n_subjects": 3,
        "data.simulation.min_voxels": 60,
        "data.simulation.max_voxels": 90,
        "data.simulation.sessions": 2,
        "data.simulation.trials_per_session": 40,
        "pretrain.subjects": "[subj01, subj02]",
        "pretrain.optimizer.steps": 5,
        "pretrain.prior.optimizer.steps": 3,
        "adapt.subject": "subj03",
        "adapt.ridge.steps": 3,
        "adapt.full.steps": 3,
        "scratch.subjects": "[subj03]",
        "scratch.optimizer.steps": 5,
        "ridge.subjects": "[subj03]",
        "reconstruct.subject": "subj03",
        "evaluate.extractor_size": 64,
        "evaluate.n_resamples": 200,
    }
    return [f"{name}={value}" for name, value in values.items()]
