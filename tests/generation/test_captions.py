import pytest
import torch

from mindeye2.generation.captions import nearest_captions


def test_each_query_takes_the_caption_of_its_nearest_training_image():
    similarity = torch.tensor([[0.1, 0.9, 0.3], [0.5, -0.2, 0.4]])
    assert nearest_captions(similarity, ["a", "b", "c"]) == ["b", "a"]


def test_a_caption_is_needed_for_each_training_image():
    with pytest.raises(ValueError, match=r"3 training images need as many captions, got 2"):
        nearest_captions(torch.zeros(1, 3), ["a", "b"])
