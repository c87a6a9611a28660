import numpy as np
import pytest
import torch

from mindeye2.core.errors import ArtifactError
from mindeye2.encoders.bank import to_float
from mindeye2.encoders.tokens import Lite0Tokens
from mindeye2.stages.prepare.encode_targets import ENCODERS, fill_targets, load_target


def test_targets_are_the_encoder_s_tokens_of_the_stored_images(prepared):
    expected = Lite0Tokens()(to_float(prepared.images[70:74])).numpy()
    np.testing.assert_allclose(prepared.targets("lite0")[70:74], expected, atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("name", ["lite0", "lowlevel"])
def test_encoders_that_are_installed_give_one_array_per_image(name):
    target = load_target(name, weights=None, device=torch.device("cpu"))
    with torch.inference_mode():
        encoded = target.encode(torch.rand(2, 3, 96, 96, generator=torch.Generator()))
    assert len(encoded) == 2
    assert torch.isfinite(encoded).all()
    assert target.key


def test_encoders_of_the_paper_ask_for_their_weights():
    assert {"bigg", "convnext", "sd-latents"} <= set(ENCODERS)
    with pytest.raises(ArtifactError, match="'convnext' needs imported weights"):
        load_target("convnext", weights=None, device=torch.device("cpu"))


def test_only_the_wanted_encoders_are_run(tmp_path):
    images = np.zeros((2, 64, 64, 3), np.uint8)
    given = {"encoders": ("lowlevel",), "weights": {}, "device": torch.device("cpu")}
    fill_targets(tmp_path, images, **given)
    assert [p.name for p in tmp_path.iterdir()] == ["lowlevel"]
