import pytest

from mindeye2.choices import STUDIES
from mindeye2.core.settings import build_settings
from mindeye2.study import Study, init_study, load_study
from mindeye2.study.study_grid import assignments
from mindeye2.study.study_settings import StudySettings

CONFIG = {
    "subjects": ["subj01", "subj02"],
    "pretrain": {"subjects": ["subj01", "subj02", "subj03"]},
    "arms": {
        "ridge": {"recipe": "ridge", "seeds": [0]},
        "adapt": {"recipe": "adapt", "pretrained": True},
        "twin": {"recipe": "adapt", "pretrained": True, "settings": {"margin": 0.1}},
    },
    "amounts": [{"n_trials": 40}, {"sessions": [1, 2]}],
    "seeds": [0, 1],
}


def study(**changes):
    return Study(build_settings(StudySettings, {**CONFIG, **changes}))


def test_pretraining_is_done_once_for_a_left_out_subject_and_seed():
    grid = study()
    assert len(grid.runs) == 2 * 2 * (1 + 2 + 2)
    assert [(p.subjects, p.seed) for p in grid.pretrainings.values()] == [
        (("subj02", "subj03"), 0),
        (("subj02", "subj03"), 1),
        (("subj01", "subj03"), 0),
        (("subj01", "subj03"), 1),
    ]
    for cell in grid.runs.values():
        assert (cell.init is None) == (cell.arm == "ridge")
        if cell.init:
            assert f"without-{cell.subject}-seed{cell.seed}-" in cell.init


def test_sessions_of_the_left_out_person_are_left_out_too():
    names = ["subj01-session1", "subj01-session2", "subj02-session1"]
    grid = study(subjects=names[:2], pretrain={"subjects": names}, seeds=[0])
    [run] = grid.pretrainings.values()
    assert run.subjects == ("subj02-session1",)


def test_an_arm_may_pretrain_on_less():
    pretrain = {**CONFIG["pretrain"], "settings": {"optimizer": {"steps": 9, "max_lr": 0.1}}}
    twin = {"recipe": "adapt", "pretrained": True}
    arms = {
        "all": twin,
        "same": {**twin, "settings": {"margin": 0.1}},
        "fewer": {**twin, "n_pretrain_subjects": 1},
        "shorter": {**twin, "pretrain_settings": {"n_trials": 7, "optimizer": {"steps": 4}}},
    }
    grid = study(pretrain=pretrain, arms=arms, subjects=["subj01"], seeds=[0])
    runs = {c.arm: grid.pretrainings[c.init.partition("/")[2]] for c in grid.runs.values()}
    assert runs["same"] is runs["all"]
    assert runs["all"].subjects == runs["shorter"].subjects == ("subj02", "subj03")
    assert runs["fewer"].subjects == ("subj02",)
    words = grid.pretrain_options(runs["shorter"].name).split()
    changed = ["optimizer.steps=4", "optimizer.max_lr=0.1", "n_trials=7", "seed=0"]
    assert [word for word in words if "=" in word] == changed
    assert len(grid.pretrainings) == 3


@pytest.mark.parametrize("pretrained", [False, True])
def test_a_pretraining_that_is_not_done_cannot_be_changed(pretrained):
    arm = {"recipe": "adapt", "pretrained": pretrained, "n_pretrain_subjects": 1}
    with pytest.raises(ValueError, match="changes a pretraining that the study does not do"):
        study(pretrain={"run": "weights"}, arms={"fewer": arm})


def test_a_changed_setting_renames_what_depends_on_it_and_nothing_else():
    before = study()
    evaluated = study(evaluate={"seed": 3})
    assert list(evaluated.runs) == list(before.runs)
    decoded = [[cell.decoded for cell in grid.runs.values()] for grid in (evaluated, before)]
    assert decoded[0] == decoded[1]
    assert not set(evaluated.scores) & set(before.scores)
    assert evaluated.comparison != before.comparison
    arms = {**CONFIG["arms"], "twin": {"recipe": "adapt", "pretrained": True}}
    changed = set(study(arms=arms).runs) ^ set(before.runs)
    assert {name.partition("-")[0] for name in changed} == {"twin"}
    pretrained = study(pretrain={**CONFIG["pretrain"], "settings": {"per_subject": 8}})
    kept = set(pretrained.runs) & set(before.runs)
    assert {name.partition("-")[0] for name in kept} == {"ridge"}
    assert study(data={"settings": {"seed": 1}}).data != before.data


def test_one_job_reconstructs_and_scores():
    grid = study(reconstruct={"refine": None}, evaluate={"seed": 3})
    words = grid.evaluate_options().split()
    assert words == ["--decoding", "refine=null", "--set", "seed=3"]


def test_settings_become_words_that_the_command_line_reads_back():
    words = assignments({"optimizer": {"max_lr": 1e-4, "trackers": []}, "sessions": [1]})
    assert words[::2] == ["--set"] * 3
    assert words[1::2] == ["optimizer.max_lr=0.0001", "optimizer.trackers=[]", "sessions=[1]"]


def test_several_gpus_are_started_by_torchrun():
    assert "torch.distributed.run" not in study().launch("pretrain")
    several = study(resources={"pretrain": {"gpu": 8}})
    assert "--nproc-per-node 8 -m mindeye2" in several.launch("pretrain")
    assert "torch.distributed.run" not in several.launch("train")


def test_ready_configs_are_those_that_the_command_line_offers(tmp_path):
    folder = tmp_path / "package"
    for name in STUDIES:
        init_study(folder / name, config=name)
        assert len(load_study(folder / name).runs) >= 8
