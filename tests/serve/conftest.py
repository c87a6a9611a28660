import pytest

from mindeye2 import Decoder
from mindeye2.stages.reconstruct import ReconstructSettings


@pytest.fixture(scope="session")
def served(untrained_run):
    """Return the decoder behind the server: two steps and samples of an untrained run."""
    fast = {"prior_steps": 2, "prior_samples": 2}
    settings = ReconstructSettings.model_validate(fast)
    return Decoder.from_run(untrained_run, decoder=untrained_run, settings=settings, device="cpu")
