"""Settings that cannot be built are refused."""

import pytest

from mindeye2.core.settings import build_settings, plain
from mindeye2.models.model_settings import ModelSettings


def test_stored_settings_are_read_back():
    settings = ModelSettings(n_blocks=0, lowlevel=None)
    assert build_settings(ModelSettings, plain(settings)) == settings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n_features": 127}, r"n_features must be even, got 127"),
        ({"prior": {"head_width": 7}}, r"prior.head_width must be even, got 7"),
        ({"lowlevel": {"n_maps": 512}}, r"coarse_channels above 0"),
        ({"trunk": "linear"}, r"'residual' or 'released'"),
        ({"n_block": 4}, r"Did you mean 'n_blocks'"),
        ({"dropout": 1.0}, r"less than 1"),
    ],
)
def test_settings_that_cannot_be_built_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        build_settings(ModelSettings, values)
