"""Imports of optional libraries; import-linter checks the layers, by pyproject.toml."""

import ast
import importlib.metadata
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

HEAVY = {
    "diffusers",
    "matplotlib",
    "open_clip",
    "peft",
    "sklearn",
    "timm",
    "torchvision",
    "transformers",
}

CALLERS = {
    "cli": {"fastapi", "gradio", "uvicorn"},  # asked for before app and server are imported
    "encoders": None,  # anything
    "generation": None,
    # files of a source's own format, and responses from volumes
    "data": {"h5py", "nibabel", "nilearn", "nilearn.glm.first_level"},
    # scores by their authors' or the field's own implementations
    "metrics": {
        "nltk.tokenize",
        "nltk.translate.meteor_score",
        "rouge_score.rouge_scorer",
        "statsmodels.stats.multitest",
        "statsmodels.stats.weightstats",
        "umap",
    },
    "released": {"huggingface_hub"},  # where the published files are
    "stages": {"peft"},  # low-rank adapters
}
"""Packages that may import optional libraries by name, which import-linter cannot see."""


@pytest.fixture(scope="module")
def required(calls):
    """Return each call of `require` as (path, module or None, extra or None)."""
    found = []
    for path, name, node in calls:
        if name.rpartition(".")[2] == "require":
            extra = next((k.value for k in node.keywords if k.arg == "extra"), None)
            found.append(
                (path, *(getattr(value, "value", None) for value in (node.args[0], extra)))
            )
    assert found, "the scan found nothing, so it no longer reads calls"
    return found


def test_only_adapters_ask_for_heavy_libraries(required):
    unexpected = [
        (str(path), module)
        for path, module, _ in required
        if path.parts[0] not in CALLERS
        or (CALLERS[path.parts[0]] is not None and module not in CALLERS[path.parts[0]])
    ]
    assert unexpected == []


def test_heavy_libraries_are_not_imported_at_the_top_of_a_module(trees):
    found = set()
    for path, tree in trees.items():
        for node in tree.body:
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found |= {(str(path), n) for n in names if n.partition(".")[0] in HEAVY}
    assert found == set()


def test_the_extra_named_in_a_message_installs_what_is_missing(required, root):
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    owners = importlib.metadata.packages_distributions()
    for path, module, extra in required:
        if extra is None:
            continue  # handed on by the caller
        assert extra in extras, f"{path} names the extra {extra!r}, there are {sorted(extras)}"
        for distribution in owners.get((module or "").partition(".")[0], []):
            names = " ".join(extras[extra]).lower().replace("_", "-")
            assert distribution.lower().replace("_", "-") in names, f"{path}: {module} [{extra}]"


@pytest.mark.parametrize("module", ["mindeye2", "mindeye2.cli"])
def test_importing_stays_light_and_creates_nothing(module, tmp_path, source):
    """In a process of its own, in an empty folder that is also the home."""
    code = f"import sys, {module}; print(*sys.modules)"
    home = dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "TMPDIR"), str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env=os.environ | home | {"PYTHONPATH": str(source.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    too_much = HEAVY | {"torch", "accelerate", "pandas", "scipy"}
    assert {name.partition(".")[0] for name in done.stdout.split()} & too_much == set()
    assert done.stderr == ""
    assert list(Path(tmp_path).iterdir()) == []
