import json
import sys

import pytest

SMALL = [
    "n_train=60",
    "n_validation=12",
    "n_test=10",
    "scene_size=96",
    "brain_size=64",
    "simulation.n_subjects=2",
    "simulation.min_voxels=60",
    "simulation.max_voxels=90",
    "simulation.sessions=2",
    "simulation.trials_per_session=40",
]
SHORT = ["subjects=[subj01, subj02]", "optimizer.steps=4", "prior.optimizer.steps=3"]


@pytest.fixture(scope="module")
def module(load_benchmark):
    return load_benchmark("prior_and_start")


def curve(*scores):
    """Return a validation curve of which every score says the same."""
    rows = enumerate(scores, 1)
    return [{"step": 10 * i, "reciprocal_rank": s, "two_way": s, "mse": 1 - s} for i, s in rows]


@pytest.mark.parametrize(
    ("start", "trained", "expected"),
    [(0.2, [0.4, 0.5, 0.6], 20), (0.5, [0.4, 0.4], 0), (0.1, [0.2, 0.3], None)],
)
def test_steps_are_counted_to_the_best_score_of_all_random_starts(
    module, start, trained, expected
):
    seed = {"curves": {}, "start": {"reciprocal_rank": start, "two_way": start, "mse": 1 - start}}
    for order in ("end to end", "afterwards"):
        seed["curves"] |= {
            f"{order}, summed": curve(*trained),
            f"{order}, joined": curve(0.9, 0.9),
            f"{order}, random start, a": curve(0.1, 0.2, 0.3),
            f"{order}, random start, b": curve(0.2, 0.3, 0.4, 0.5, 0.4),
        }
    found = module.compare_starts(seed)
    assert len(found) == 6
    for row in found.values():
        assert row["random_best_run"].endswith("random start, b")
        assert row["random_steps"] == 40
        assert row["closed_form_steps"] == expected


@pytest.mark.slow
def test_it_runs_at_tiny_size(module, tmp_path, monkeypatch, capsys):
    words = ["--out", str(tmp_path), "--seeds", "1", "--random", "4@1e-3"]
    words += ["--random-end-to-end", "4@1e-3", "--closed-form", "4@1e-3"]
    words += ["--simulation", *SMALL, "--training", *SHORT]
    monkeypatch.setattr(sys, "argv", ["prior_and_start.py", *words, "validate_every=2"])
    module.main()
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert json.loads((tmp_path / "summary.json").read_text()) == found
    prior = found["prior"]
    # A prior that is trained afterwards does not change what it is conditioned on.
    assert prior["afterwards, condition"]["summed minus joined"]["mean"] == 0
    assert prior["afterwards, denoising"]["summed minus joined"]["mean"] != 0
    assert prior["end to end, denoising"]["summed minus joined"]["mean"] != 0
    assert len(found["start"]) == 1
    assert found["seconds_of_closed_form_start"][0] > 0
