import importlib.metadata
import os
import shutil
from types import SimpleNamespace

import pytest
import torch

from mindeye2.doctor.environment import check_environment


def at(findings, where):
    return next(f for f in findings if f.where.startswith(where))


def test_versions_memory_and_disk_are_reported(tmp_path):
    findings = check_environment(tmp_path)
    assert torch.__version__ in at(findings, "versions").found
    assert "GiB" in at(findings, "memory").found
    assert "GiB free" in at(findings, "disk").found


def test_a_version_that_the_package_does_not_accept_is_an_error(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: ["numpy>=99", "torch"])
    finding = at(check_environment(), "versions")
    assert finding.level == "error"
    assert "numpy" in finding.found
    assert "(accepted: >=99)" in finding.found
    assert "torch (" not in finding.found
    assert "pip install" in finding.fix


def test_what_an_extra_lacks_is_noted_with_the_command(monkeypatch):
    listed = ["numpy", "no-such-package>=1; extra == 'sdxl'", "torch; extra == 'demo'"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: listed)
    findings = check_environment()
    note = at(findings, "extra 'sdxl'")
    assert (note.level, note.found) == ("note", "not installed: no-such-package")
    assert "mindeye2[sdxl]" in note.fix
    assert [f.where for f in findings if "extra" in f.where] == ["extra 'sdxl'"]


def test_a_package_used_from_its_folder_is_no_error(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", missing)
    assert at(check_environment(), "versions").level == "ok"


@pytest.mark.parametrize(("gib", "level"), [(3, "warning"), (16, "ok")])
def test_little_memory_is_a_warning(monkeypatch, gib, level):
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": gib * 2**18}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)
    assert at(check_environment(), "memory").level == level


@pytest.mark.parametrize(("gib", "level"), [(1, "warning"), (50, "ok")])
def test_a_full_disk_is_a_warning(monkeypatch, gib, level):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=gib * 2**30))
    assert at(check_environment(), "disk").level == level


@pytest.mark.parametrize(
    ("usable", "device_file", "level", "message"),
    [
        (True, True, "ok", "H100 (80 GiB), H100 (80 GiB); CUDA "),
        (False, True, "warning", "there is an NVIDIA GPU, but torch"),
        (False, False, "note", "none: laptop sizes run on the CPU"),
    ],
)
def test_a_gpu_is_listed_unusable_or_absent(monkeypatch, usable, device_file, level, message):
    memory = SimpleNamespace(total_memory=80 * 2**30)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: usable)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "H100")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: memory)
    monkeypatch.setattr("pathlib.Path.exists", lambda _: device_file)
    finding = at(check_environment(), "GPU")
    assert (finding.level, finding.found.startswith(message)) == (level, True)
    assert bool(finding.fix) == (level == "warning")
