import pytest

from mindeye2 import Decoder
from mindeye2.stages.reconstruct import ReconstructSettings


@pytest.fixture(scope="session")
def shown(untrained_run):
    """Return the decoder behind the page."""
    return Decoder.from_run(
        untrained_run, decoder=untrained_run, settings=ReconstructSettings(), device="cpu"
    )
