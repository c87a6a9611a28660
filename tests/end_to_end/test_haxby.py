"""Real volumes to category decoding, by the functions of benchmarks/haxby.py."""

import os
import runpy
from pathlib import Path

import pytest

from mindeye2.data.bids.single_trial_glm import GlmSettings

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def benchmark():
    pytest.importorskip("nilearn", reason="nilearn is not installed: pip install 'mindeye2[bids]'")
    return runpy.run_path(str(ROOT / "benchmarks" / "haxby.py"))


@pytest.fixture(scope="module")
def slice_of_haxby(benchmark, tmp_path_factory):
    shared = Path(os.environ.get("MINDEYE2_SHARED", ROOT.parent / "shared"))
    source = shared / "data" / "haxby2001_slice"
    if not source.exists():
        pytest.skip(
            f"the volumes are not at {source}: set MINDEYE2_SHARED to the folder above "
            "data/haxby2001_slice"
        )
    return benchmark["write_bids"](source, tmp_path_factory.mktemp("haxby"))


def test_categories_are_read_out_of_real_volumes(benchmark, slice_of_haxby):
    """Eight categories, one run held out at a time; the simple baseline reaches .72."""
    betas, category, runs = benchmark["responses"](slice_of_haxby, GlmSettings())
    assert betas.shape == (96, 530)
    assert benchmark["decode"](betas, category, runs) >= 0.60
    shuffled = category[benchmark["_within"](runs, 0)]
    assert benchmark["decode"](betas, shuffled, runs) <= 0.25
