import pytest
import torch

from mindeye2.core.errors import ArtifactError
from mindeye2.models.training_bank import TrainingBank, load_training_bank, save_training_bank


@pytest.fixture
def bank(rng):
    preds, targets = torch.randn(2, 3, 4, 5, generator=rng)
    images = torch.tensor([2, 5, 9])
    return TrainingBank(images=images, preds=preds, targets=targets, captions=["a", "b", "c"])


def test_a_stored_bank_is_read_back(bank, tmp_path):
    save_training_bank(tmp_path, "subj01", bank)
    read = load_training_bank(tmp_path, "subj01")
    assert read.images.tolist() == [2, 5, 9]
    assert read.captions == ["a", "b", "c"]
    assert read.targets.dtype == torch.float32
    # Stored as float16.
    torch.testing.assert_close(read.preds, bank.preds, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(read.targets, bank.targets, rtol=1e-3, atol=1e-3)


def test_a_data_set_without_captions_leaves_none(bank, tmp_path):
    without = TrainingBank(
        images=bank.images, preds=bank.preds, targets=bank.targets, captions=None
    )
    save_training_bank(tmp_path, "subj01", without)
    assert load_training_bank(tmp_path, "subj01").captions is None


def test_an_unknown_subject_is_refused_with_those_of_the_run(bank, tmp_path):
    save_training_bank(tmp_path, "subj01", bank)
    with pytest.raises(ArtifactError, match=r"was trained on \['subj01'\], not on 'subj02'"):
        load_training_bank(tmp_path, "subj02")
