import pytest

from mindeye2 import recipes
from mindeye2.core.settings import build_settings, plain
from mindeye2.recipes import PREPARATION, TRAINING
from mindeye2.stages.prepare import KINDS

ALL = {**PREPARATION, **TRAINING}


@pytest.mark.parametrize("recipe", ALL.values(), ids=ALL)
def test_a_recipe_is_complete_and_valid(recipe):
    """`model_copy` checks nothing, so what it made is checked here."""
    settings = recipe()
    assert build_settings(type(settings), plain(settings)) == settings


@pytest.mark.parametrize("recipe", [recipes.adapt, recipes.scratch, recipes.ridge])
def test_a_recipe_uses_all_sessions(recipe):
    assert recipe().sessions is None


def test_refinement_of_published_weights_starts_from_256_pixels():
    assert recipes.released().refine.input_size == 256


def test_the_decoder_s_scenes_are_no_test_scenes():
    scenes = recipes.decoder_scenes()
    assert (scenes.n_validation, scenes.n_test) == (0, 0)


def test_every_adapter_has_a_recipe():
    assert set(PREPARATION) == set(KINDS)
    assert {kind: make().kind for kind, make in PREPARATION.items()} == {k: k for k in KINDS}
