import json

import pytest

from mindeye2 import recipes
from mindeye2.core.artifacts import write_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.core.settings import build_settings, plain
from mindeye2.demo import DemoSettings, demo


def test_the_demo_is_made_of_the_recipes():
    settings = DemoSettings()
    assert build_settings(DemoSettings, plain(settings)) == settings
    assert settings.pretrain == recipes.demo()
    assert settings.adapt.sessions == (1,)


def test_the_new_subject_is_not_one_of_those_of_pretraining():
    settings = DemoSettings()
    assert settings.adapt.subject not in settings.pretrain.subjects
    subjects = {f"subj{i:02d}" for i in range(1, settings.data.simulation.n_subjects + 1)}
    assert subjects == {settings.adapt.subject, *settings.pretrain.subjects}


def test_all_arms_use_the_same_session_of_the_same_subject():
    settings = DemoSettings()
    for arm in (settings.scratch, settings.ridge):
        assert arm.subjects == (settings.adapt.subject,)
        assert arm.sessions == settings.adapt.sessions
    assert settings.reconstruct.subject == settings.adapt.subject
    assert settings.reconstruct.split == "test"


@pytest.fixture
def stages(monkeypatch):
    """Return the calls of stages that do nothing but finish."""
    calls = []

    def stub(name):
        def stage(settings, *, out, **given):
            calls.append((name, out.name, settings, given))
            out.mkdir(exist_ok=True)
            return write_manifest(out, stage=name, config={})

        return stage

    for name in ("prepare", "train", "reconstruct", "evaluate", "report"):
        monkeypatch.setattr(f"mindeye2.demo.{name}", stub(name))
    return calls


def test_the_demo_runs_each_stage_on_the_output_of_the_one_before(stages, tmp_path, capsys):
    out = tmp_path / "demo"
    assert demo(out, assignments=["evaluate.n_resamples=500"]) == out / "report" / "index.html"
    made = {name: (settings, given) for _, name, settings, given in stages}
    assert next(iter(made)) == "data"
    assert made["adapted"][1]["init"] == out / "pretrained"
    assert made["scratch"][1]["init"] is made["ridge"][1]["init"] is None
    assert made["adapted-decoded"][1]["init"] == out / "adapted"
    assert made["adapted-scores"][0].n_resamples == 500
    assert [made[f"{n}-decoded"][0].images for n in ("adapted", "scratch", "ridge")] == [
        True,
        False,
        False,
    ]
    assert made["report"][1]["source"] == out / "adapted-scores"
    assert set(made["report"][0].compare) == {"scratch", "ridge"}
    assert f"{len(made)} of {len(made)}: report ..." in capsys.readouterr().out


def test_a_resumed_demo_runs_only_what_is_missing(stages, tmp_path):
    demo(tmp_path)
    (tmp_path / "ridge-scores" / "manifest.json").unlink()
    stages.clear()
    with pytest.raises(ArtifactError, match=r"is not empty\. Add --resume"):
        demo(tmp_path)
    demo(tmp_path, resume=True)
    assert [name for _, name, *_ in stages] == ["ridge-scores"]
    costs = [c["stage"] for c in json.loads((tmp_path / "costs.json").read_text())]
    assert (costs[0], costs[-1], len(costs)) == ("data", "ridge-scores", 13)


def test_an_unknown_setting_of_the_demo_is_answered_with_the_nearest_name(tmp_path):
    message = r"no setting 'pretrain\.optimiser'.* Did you mean 'pretrain\.optimizer'\?"
    with pytest.raises(ValueError, match=message):
        demo(tmp_path / "demo", assignments=["pretrain.optimiser.steps=3"])
    assert not (tmp_path / "demo").exists()
