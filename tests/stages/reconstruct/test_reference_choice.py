import torch

from mindeye2.generation.reference_scenes import add_detail, load_reference_scenes
from mindeye2.models.training_bank import TrainingBank
from mindeye2.stages.reconstruct.reference_choice import choose_scenes


def _bank(preds):
    return TrainingBank(images=torch.arange(len(preds)), preds=preds, targets=preds, captions=None)


def _same(tokens):
    return tokens


def _choose(preds, bank, scenes=None):
    scenes = scenes or load_reference_scenes()
    return choose_scenes(scenes, preds, bank=bank, forward_model=_same, whiten=_same)


def test_no_scenes_are_chosen_without_a_training_bank_or_without_scenes():
    preds = torch.zeros(2, 49, 128)
    assert _choose(preds, None) is None
    bank = _bank(preds)
    assert choose_scenes(None, preds, bank=bank, forward_model=_same, whiten=_same) is None


def test_images_are_refined_by_their_own_nearest_scenes():
    scenes, bank = load_reference_scenes(), torch.ones(4, 49, 128)
    preds = torch.randn(3, 49, 128, generator=torch.Generator().manual_seed(0))
    chosen = _choose(preds, _bank(bank), scenes)
    # The mean over the bank is subtracted: a shift of both changes nothing.
    moved = _choose(preds + 5, _bank(bank + 5), scenes)
    assert torch.equal(chosen.nearest, moved.nearest)
    decoded = torch.rand(2, 3, 28, 28, generator=torch.Generator().manual_seed(1))
    refined = chosen.refine(decoded, images=slice(1, 3))
    expected = add_detail(decoded, scenes.render(chosen.nearest[1:], size=224))
    torch.testing.assert_close(refined, expected)
    assert len(chosen.captions()) == 3
