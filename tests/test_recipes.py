import inspect

import pytest

from mindeye2 import recipes
from mindeye2.core.settings import build_settings, plain
from mindeye2.recipes import PREPARATION, TRAINING, DemoSettings
from mindeye2.stages.prepare import KINDS

ALL = {**PREPARATION, **TRAINING}


@pytest.mark.parametrize("recipe", ALL.values(), ids=ALL)
def test_a_recipe_is_complete_and_valid(recipe):
    """`model_copy` checks nothing, so what it made is checked here."""
    settings = recipe()
    assert build_settings(type(settings), plain(settings)) == settings
    if inspect.isfunction(recipe):  # those of adapters are made from the table of adapters
        assert (recipe.__doc__ or "Return settings").startswith("Return ")


def test_the_demo_is_made_of_the_recipes():
    demo = DemoSettings()
    assert build_settings(DemoSettings, plain(demo)) == demo
    assert (demo.pretrain, demo.adapt) == (recipes.demo(), recipes.adapt())


def test_the_demo_s_new_person_is_not_one_of_those_it_pretrains_on():
    demo = DemoSettings()
    assert demo.adapt.subject not in demo.pretrain.subjects
    people = {f"subj{i:02d}" for i in range(1, demo.data.simulation.n_subjects + 1)}
    assert people == {demo.adapt.subject, *demo.pretrain.subjects}


def test_all_arms_of_the_demo_see_the_same_sessions_of_the_same_person():
    demo = DemoSettings()
    for arm in (demo.scratch, demo.ridge):
        assert arm.subjects == (demo.adapt.subject,)
        assert arm.sessions == demo.adapt.sessions
    assert demo.reconstruct.subject == demo.adapt.subject
    assert demo.reconstruct.split == "test"


def test_the_decoder_s_scenes_are_no_test_scenes():
    scenes = recipes.decoder_scenes()
    assert (scenes.n_validation, scenes.n_test) == (0, 0)


def test_every_adapter_has_a_recipe():
    assert set(PREPARATION) == set(KINDS)
    assert {kind: make().kind for kind, make in PREPARATION.items()} == {k: k for k in KINDS}
