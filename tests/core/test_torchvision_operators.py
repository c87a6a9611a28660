import importlib.util
import subprocess
import sys
import types

import pytest
import torch

from mindeye2.core import torchvision_operators
from mindeye2.core.errors import MissingExtraError, require
from mindeye2.core.torchvision_operators import IMPORT_TORCHVISION, declare_torchvision_operators

SCRIPT = """
import sys
try:
    import torchvision
    print("works")
except RuntimeError as error:
    print("broken:", error)
from mindeye2.core.errors import require
require(sys.argv[1], extra="demo", purpose="A test")
assert sys.modules["torchvision"].models.alexnet().features[0].out_channels == 64
print("works now")
"""


@pytest.mark.parametrize("package", ["torchvision", "timm"])
def test_a_broken_torchvision_imports_after_require(package):
    """In a process of its own, because a second import proves nothing."""
    command = [sys.executable, "-c", SCRIPT, package]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert first == "works" or "torchvision::nms does not exist" in first
    assert second == "works now"


def test_torchvision_transforms_work():
    torchvision = require("torchvision", extra="demo", purpose="A test")
    images = torch.rand(1, 3, 8, 8)
    assert torchvision.transforms.functional.resize(images, [4]).shape == (1, 3, 4, 4)


def test_operators_are_declared_once(monkeypatch):
    require("torchvision", extra="demo", purpose="A test")
    assert hasattr(torch.ops.torchvision, "nms")
    monkeypatch.delitem(sys.modules, "torchvision")
    declare_torchvision_operators()
    assert len(torchvision_operators._declared) <= 1


@pytest.mark.parametrize("package", sorted(IMPORT_TORCHVISION))
def test_require_declares_before_it_imports(package, monkeypatch):
    order = []
    monkeypatch.setattr(
        "mindeye2.core.errors.declare_torchvision_operators", lambda: order.append("declare")
    )
    monkeypatch.setattr(
        importlib, "import_module", lambda name: order.append(name) or types.ModuleType(name)
    )
    require(f"{package}.part", extra="demo", purpose="A test")
    assert order == ["declare", f"{package}.part"]


def test_a_missing_torchvision_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    message = r"The test needs .*pip install 'mindeye2\[demo\]'"
    with pytest.raises(MissingExtraError, match=message):
        require("torchvision", extra="demo", purpose="The test")


def test_nothing_is_declared_where_torchvision_is_missing(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert torchvision_operators._operators_load()
