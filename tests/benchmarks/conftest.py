"""Scripts of ``benchmarks/`` as modules."""

import importlib.util
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def load_benchmark():
    """Return a function that loads a script by its name."""

    def load(name):
        path = Path(__file__).parents[2] / "benchmarks" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look their module up
        loaded.append(name)
        spec.loader.exec_module(module)
        return module

    loaded = []
    yield load
    for name in loaded:
        sys.modules.pop(name, None)
