import pytest
import torch

from mindeye2.core.errors import ArtifactError
from mindeye2.models.memory import Memory, load_memory, save_memory


@pytest.fixture
def memory(rng):
    predicted, true = torch.randn(2, 3, 4, 5, generator=rng)
    images = torch.tensor([2, 5, 9])
    return Memory(images=images, predicted=predicted, true=true, captions=["a", "b", "c"])


def test_a_run_remembers_its_training_images(memory, tmp_path):
    save_memory(tmp_path, "subj01", memory)
    read = load_memory(tmp_path, "subj01")
    assert read.images.tolist() == [2, 5, 9]
    assert read.captions == ["a", "b", "c"]
    assert read.true.dtype == torch.float32
    # Stored as float16.
    torch.testing.assert_close(read.predicted, memory.predicted, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(read.true, memory.true, rtol=1e-3, atol=1e-3)


def test_a_data_set_without_captions_leaves_none(memory, tmp_path):
    silent = Memory(
        images=memory.images, predicted=memory.predicted, true=memory.true, captions=None
    )
    save_memory(tmp_path, "subj01", silent)
    assert load_memory(tmp_path, "subj01").captions is None


def test_another_subject_meets_those_that_the_run_knows(memory, tmp_path):
    save_memory(tmp_path, "subj01", memory)
    with pytest.raises(ArtifactError, match=r"was trained on \['subj01'\], not on 'subj02'"):
        load_memory(tmp_path, "subj02")
