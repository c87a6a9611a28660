from mindeye2.choices import ANALYSES, IMAGE_DECODERS, KINDS, RECIPES
from mindeye2.recipes import PREPARATION, TRAINING
from mindeye2.stages.analyse import ANALYSES as KNOWN_ANALYSES
from mindeye2.stages.train import AdaptTraining, SharedTraining


def test_the_names_are_those_of_adapters_and_recipes():
    """They are written out, because importing the recipes would import PyTorch."""
    assert set(KINDS) == set(PREPARATION)
    assert set(RECIPES) == set(TRAINING)
    assert list(ANALYSES) == list(KNOWN_ANALYSES)


def test_the_other_recipes_train_brain_decoders():
    brain = {n for n, r in TRAINING.items() if isinstance(r(), SharedTraining | AdaptTraining)}
    assert brain == set(TRAINING) - IMAGE_DECODERS
