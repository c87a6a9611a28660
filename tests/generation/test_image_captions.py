import numpy as np
import pytest
import torch

from mindeye2.core.errors import ArtifactError
from mindeye2.generation.image_captions import ImageCaptioner, load_image_captioner


class Git(torch.nn.Module):
    """Gives the red value of the first pixel as the only word piece."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def generate(self, pixel_values, **options):
        assert options == {"max_length": 20, "do_sample": False, "num_beams": 1}
        assert pixel_values.dtype == torch.float64
        return (pixel_values[:, 0, 0, 0] * 255).round().long()[:, None]


class Words:
    def batch_decode(self, ids, *, skip_special_tokens):
        assert skip_special_tokens
        return [f" value {int(i)} " for i in ids[:, 0]]


def pixels(images, return_tensors):
    """Normalise 8-bit images as an image processor of transformers."""
    assert return_tensors == "pt"
    assert {x.dtype for x in images} == {np.dtype(np.uint8)}
    return {"pixel_values": torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255}


def test_images_are_captioned_greedily_from_8_bits():
    images = torch.zeros(2, 3, 4, 4)
    images[1, 0] = 100 / 255
    assert ImageCaptioner(Git(), pixels, Words())(images) == ["value 0", "value 100"]


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match=r"the captioner .* cannot be loaded"):
        load_image_captioner(str(tmp_path))
