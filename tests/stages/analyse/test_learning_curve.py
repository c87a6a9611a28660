"""Points of a learning curve, with training and scoring replaced; the command runs them whole."""

import pytest

from mindeye2.core.artifacts import write_json, write_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.stages.analyse.learning_curve import (
    LearningCurveSettings,
    choose_points,
    draw_learning_curve,
)

SETTINGS = LearningCurveSettings(subject="subj03", n_trials=(20, 40, 1000))


def test_minutes_become_trials_and_the_last_point_is_all():
    """NSD: 750 trials an hour."""
    settings = LearningCurveSettings()
    assert choose_points(settings, 27_000) == [125, 375, 750, 1500, 7500, 27_000]
    assert choose_points(settings, 30_000) == [125, 375, 750, 1500, 7500, 30_000]
    assert choose_points(settings, 900) == [125, 375, 750, 900]
    assert choose_points(settings, 40_000) == [125, 375, 750, 1500, 7500, 30_000]
    assert choose_points(SETTINGS, 60) == [20, 40, 60]
    with pytest.raises(ValueError, match="at least 1 trial"):
        choose_points(LearningCurveSettings(n_trials=(0,)), 60)


@pytest.fixture
def scored():
    """Return a stand-in for training and scoring, whose score is a hundredth of the trials."""
    calls = []

    def fit_and_score(point, _):
        calls.append((point.n_trials, point.init))
        if point.n_trials in fit_and_score.broken:
            raise fit_and_score.broken[point.n_trials]
        folder = point.out / "scores"
        folder.mkdir()
        (point.out / "run").mkdir()
        (point.out / "run" / "model.safetensors").touch()
        value = point.n_trials / 100
        row = {"value": value, "low": value - 0.1, "high": value + 0.1, "chance": 0.1, "n": 10}
        rows = [
            {"name": name, "title": name.title(), "percent": True, "explanation": "", **row}
            for name in ("image_top1", "two_way_tokens")
        ]
        write_json(folder / "summary.json", rows)
        write_manifest(folder, stage="evaluate", config={})
        return folder

    fit_and_score.broken = {}
    fit_and_score.calls = calls
    return fit_and_score


def test_every_point_is_scored_with_and_without_pretraining(data, job, scored, tmp_path):
    given = job(data, fit_and_score=scored, init=tmp_path / "pretrained", reads="prepare")
    found = draw_learning_curve(SETTINGS, given)
    table = found.tables["learning_curve"]
    n = max(table["n_trials"])
    assert scored.calls == [(k, i) for i in (tmp_path / "pretrained", None) for k in (20, 40, n)]
    one = table[table["name"] == "image_top1"]
    assert one["value"].tolist() == [k / 100 for k in (20, 40, n)] * 2
    assert one["minutes"].tolist()[:2] == [20 / 12.5, 40 / 12.5]
    assert found.lines[0].startswith("Image_Top1, adapted from the pretrained run: 2 min 20.0%")
    assert not (tmp_path / "out" / "state").exists()


def test_an_interrupted_curve_goes_on_at_its_first_missing_point(data, job, scored, tmp_path):
    given = job(data, fit_and_score=scored, reads="prepare")
    scored.broken[40] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        draw_learning_curve(SETTINGS, given)
    assert {p.name for p in (tmp_path / "out" / "state" / "ridge-20").iterdir()} == {
        "summary.json"
    }
    scored.broken.clear()
    draw_learning_curve(SETTINGS, given)
    assert [n for n, _ in scored.calls][:4] == [20, 40, 40, scored.calls[-1][0]]


def test_a_point_with_too_few_trials_is_told_and_the_others_stay(data, job, scored):
    scored.broken[20] = ValueError("cannot split 3 images into 5 folds.")
    found = draw_learning_curve(SETTINGS, job(data, fit_and_score=scored, reads="prepare"))
    assert set(found.tables["learning_curve"]["n_trials"]) == {40, scored.calls[-1][0]}
    assert found.lines[-1] == "ridge, 20 trials: cannot split 3 images into 5 folds."


def test_a_subject_and_known_metrics_are_needed(data, job, scored):
    given = job(data, fit_and_score=scored, reads="prepare")
    with pytest.raises(ValueError, match=r"choose one, e\.g\. --subject subj03"):
        draw_learning_curve(LearningCurveSettings(), given)
    unknown = SETTINGS.model_copy(update={"metrics": ("image_top",)})
    with pytest.raises(ValueError, match="Did you mean 'image_top1'"):
        draw_learning_curve(unknown, given)
    scored.broken.update(dict.fromkeys(range(2000), ValueError("nothing works.")))
    with pytest.raises(ArtifactError, match=r"no point .* nothing works"):
        draw_learning_curve(SETTINGS.model_copy(update={"n_trials": (7,)}), given)
