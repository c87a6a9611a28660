"""Sphinx settings: `sphinx-build -W docs docs/_build` after `pip install -e '.[docs]'`."""

import re
import subprocess
import sys
from pathlib import Path

from sphinx.application import Sphinx

from mindeye2 import __version__

HERE = Path(__file__).parent
DEMO = HERE / "examples" / "runs" / "demo"

project = "mindeye2"
author = "mindeye2 contributors"
release = version = __version__
extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "examples"]
templates_path = ["_templates"]
html_theme = "furo"
html_title = f"mindeye2 {__version__}"
html_static_path: list[str] = []
html_copy_source = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
suppress_warnings = ["config.cache"]

autosummary_generate = True
autodoc_typehints = "none"  # numpydoc's sections name the types that matter
numpydoc_show_class_members = False

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"plot_",
    "ignore_pattern": r"(runs|__pycache__)",
    "doc_module": ("mindeye2",),
    "backreferences_dir": "generated/backreferences",
    "reference_url": {"mindeye2": None},
    "remove_config_comments": True,
    "show_memory": False,
    "abort_on_example_error": True,
    "write_computation_times": False,
    "copyfile_regex": r"",
}


def _link_outside(app: Sphinx, name: str, source: list[str]) -> None:  # noqa: ARG001
    """Name files outside of this folder instead of linking them: the site does not hold them."""
    source[0] = re.sub(r"\[([^\]]*)\]\(\.\./[^)]*\)", r"`\1`", source[0])


def _run_demo(app: Sphinx) -> None:  # noqa: ARG001
    """Run the demo that the examples read, at the size that CI runs, unless it is there."""
    if not (DEMO / "report" / "index.html").exists():
        config = HERE.parent / ".ci" / "demo.yaml"
        words = ["-m", "mindeye2", "demo", "--out", DEMO, "--config", config, "--resume"]
        subprocess.run([sys.executable, *map(str, words)], check=True)


def setup(app: Sphinx) -> None:
    """Connect the two steps above."""
    app.connect("builder-inited", _run_demo, priority=1)
    app.connect("source-read", _link_outside)
