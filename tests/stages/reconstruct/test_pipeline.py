import pytest
import torch

from mindeye2.stages.reconstruct import ReconstructSettings, RunPipeline

CPU = torch.device("cpu")


def test_names_of_a_published_checkpoint_s_subjects_are_refused_for_a_run(adapted):
    settings = ReconstructSettings(ridges=("subj03",))
    with pytest.raises(ValueError, match=r"'ridges' .* the run .*adapted would ignore it"):
        RunPipeline(adapted, settings=settings, device=CPU)


def test_the_low_level_channels_are_those_of_the_run(adapted, decoding):
    """Published networks choose the autoencoder by them."""
    loaded = []

    class Networks:
        def load(self, *, latent_channels):
            loaded.append(latent_channels)

    RunPipeline(adapted, settings=decoding, device=CPU, networks=lambda _: Networks()).load()
    assert loaded == [64]
