import pytest
import torch

from mindeye2.generation.sd.refine import RefineSettings
from mindeye2.generation.sd.sdxl import SdxlSampling
from mindeye2.stages.reconstruct import ReconstructSettings, RunPipeline

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    "changes",
    [
        {"refine": RefineSettings()},
        {"captioner": "a/captioner"},
        {"sampling": SdxlSampling(steps=3)},
        {"precision": "float16", "offload": True},
    ],
    ids=" and ".join,
)
def test_settings_that_a_run_would_ignore_are_refused(adapted, changes):
    message = rf"settings \['{next(iter(changes))}'.* the run .*adapted would ignore them\."
    with pytest.raises(ValueError, match=message):
        RunPipeline(adapted, settings=ReconstructSettings(**changes), device=CPU)


def test_captions_of_the_nearest_images_are_no_setting_of_published_networks(adapted):
    RunPipeline(adapted, settings=ReconstructSettings(captioner="nearest"), device=CPU)


def test_only_what_the_settings_use_is_loaded(adapted, tmp_path):
    """Asked for tokens only, a decoder that is not there is not missed."""
    settings = ReconstructSettings(decoder=tmp_path, images=False)
    RunPipeline(adapted, settings=settings, device=CPU).load()
