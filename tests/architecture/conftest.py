"""The package's own source, parsed once."""

import ast
from pathlib import Path

import pytest

import mindeye2


@pytest.fixture(scope="session")
def source():
    """Return the folder of the package."""
    return Path(mindeye2.__file__).parent


@pytest.fixture(scope="session")
def root(source):
    """Return the root of the repository."""
    folder = source.parents[1]
    if not (folder / "pyproject.toml").exists():
        pytest.skip("the package is installed without its repository")
    return folder


@pytest.fixture(scope="session")
def trees(source):
    """Return the syntax tree of each module, by its path inside the package."""
    paths = sorted(source.rglob("*.py"))
    assert len(paths) > 20, "the scan found next to nothing"
    return {p.relative_to(source): ast.parse(p.read_text(encoding="utf-8")) for p in paths}


@pytest.fixture(scope="session")
def calls(trees):
    """Return each call as (path, dotted name of what is called, node)."""
    return [
        (path, ast.unparse(node.func), node)
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
    ]
