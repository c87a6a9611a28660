import importlib.util
import subprocess
import sys
import types

import pytest
import torch

from mindeye2.core.errors import MissingExtraError
from mindeye2.encoders import torchvision as shim
from mindeye2.encoders.torchvision import load_torchvision

SCRIPT = """
try:
    import torchvision
    print("works")
except RuntimeError as error:
    print("broken:", error)
from mindeye2.encoders.torchvision import load_torchvision
assert load_torchvision().models.alexnet().features[0].out_channels == 64
print("mended")
"""


def test_a_torchvision_that_does_not_import_is_mended():
    """In a process of its own, because a second import proves nothing."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    first, second = done.stdout.splitlines()
    assert first == "works" or "torchvision::nms does not exist" in first
    assert second == "mended"


def test_loading_twice_gives_the_same_module():
    assert load_torchvision() is load_torchvision() is sys.modules["torchvision"]


def test_what_the_package_uses_works():
    torchvision = load_torchvision()
    images = torch.rand(1, 3, 8, 8)
    assert torchvision.transforms.functional.resize(images, [4]).shape == (1, 3, 4, 4)


def test_declared_operators_live_as_long_as_the_process():
    load_torchvision()
    assert hasattr(torch.ops.torchvision, "nms")
    shim._declare_operators()  # a second time changes nothing, because they are there
    assert len(shim._declared) <= 1


def test_operators_that_are_there_are_left_alone(monkeypatch):
    load_torchvision()
    monkeypatch.delitem(sys.modules, "torchvision")
    monkeypatch.setattr(shim, "_operators_load", lambda: True)
    monkeypatch.setattr(shim, "_declare_operators", lambda: pytest.fail("declared over them"))
    monkeypatch.setattr(shim, "require", lambda module, **_: types.ModuleType(module))
    assert load_torchvision().__name__ == "torchvision"


def test_a_missing_torchvision_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(
        MissingExtraError, match=r"The judge needs .*pip install 'mindeye2\[demo\]'"
    ):
        load_torchvision(purpose="The judge")


def test_nothing_is_declared_where_torchvision_is_missing(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert shim._operators_load()
