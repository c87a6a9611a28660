from pathlib import Path

import pytest

from mindeye2 import recipes
from mindeye2.planning.inputs import choose_data, choose_sizes, plannable


def test_pretraining_leaves_subject_1_out_as_published():
    data = choose_data(recipes.released_training())
    assert list(data.n_voxels) == [f"subj{i:02d}" for i in range(2, 9)]


def test_subjects_and_sessions_of_the_settings_are_counted():
    settings = recipes.released_adapt().model_copy(update={"sessions": (1, 2)})
    data = choose_data(settings)
    assert (data.n_voxels, data.n_trials) == ({"subj01": 15_724}, {"subj01": 1500})
    assert list(choose_data(recipes.adapt()).n_voxels) == ["subj08"]


@pytest.mark.parametrize(
    ("settings", "setting"),
    [
        (recipes.adapt().model_copy(update={"subject": "subj09"}), "subject"),
        (recipes.released_adapt().model_copy(update={"subjects": ("subj09",)}), "subjects"),
    ],
)
def test_an_unknown_subject_is_refused_with_its_setting(settings, setting):
    with pytest.raises(ValueError, match=rf"^--set {setting} must be one of .*got 'subj09'"):
        choose_data(settings)


def test_voxels_come_instead_of_a_data_set():
    settings = recipes.released_training()
    assert choose_data(settings, voxels=[5, 6]).n_voxels == {"subj01": 5, "subj02": 6}
    with pytest.raises(ValueError, match="not both"):
        choose_data(settings, voxels=[5], source=Path("data"))


def test_image_decoders_are_not_planned():
    with pytest.raises(ValueError, match=r"brain decoder.*'standard'.*'adapt'"):
        plannable(recipes.unclip())
    assert plannable(recipes.adapt()) == recipes.adapt()


def test_an_adaptation_starts_from_the_recommended_sizes():
    assert choose_sizes(None) == recipes.standard().model
