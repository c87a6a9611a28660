"""Encoders by name."""

from pathlib import Path

import pytest

from mindeye2.core.errors import ArtifactError
from mindeye2.encoders.registry import ENCODERS, load_encoder


def test_the_nearest_name_is_offered():
    with pytest.raises(ValueError, match=r"got 'bigG'\. Did you mean 'bigg'"):
        load_encoder("bigG")


@pytest.mark.parametrize("name", ["convnext", "convnext-augmented", "sd-latents"])
def test_an_encoder_without_its_weights_says_how_to_get_them(name):
    with pytest.raises(ArtifactError, match=f"{name}.*mindeye2 import --released"):
        load_encoder(name)


def test_lite0_comes_with_its_weights():
    assert load_encoder("lite0").key.startswith("lite0-224-")
    with pytest.raises(ValueError, match="comes with its own weights"):
        load_encoder("lite0", weights=Path("somewhere"))
    assert "bigg" in ENCODERS
