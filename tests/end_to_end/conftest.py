"""The demo at a size for tests."""

from pathlib import Path

import pytest
import yaml


@pytest.fixture(scope="session")
def tiny_demo():
    """Return assignments that make the demo one of three subjects with few voxels."""
    file = Path(__file__).parents[2] / "benchmarks" / "tiny_demo.yaml"
    values = {**yaml.safe_load(file.read_text()), "evaluate.extractor_size": 64}
    return [f"{name}={value}" for name, value in values.items()]
