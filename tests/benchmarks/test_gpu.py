"""The scripts that wait for a GPU, at tiny size on the CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


def run(*words):
    """Return the JSON on the last line of a script."""
    done = subprocess.run(
        [sys.executable, str(FOLDER / words[0]), "--device", "cpu", *words[1:]],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_everything_that_waits_for_a_gpu_runs_at_tiny_size(tmp_path):
    out = tmp_path / "gpu.json"
    sections = ("numbers", "steps", "arms", "generation")
    found = run("gpu.py", "--tiny", "--out", str(out), "--only", *sections)
    assert json.loads(out.read_text()) == found
    assert "error" not in json.dumps(found)
    assert found["numbers"]["within_1e-3"]
    assert set(found["numbers"]["relative_differences"]) >= {
        "loss",
        "grad_norm",
        "prior samples",
        "unCLIP images",
    }
    assert len(found["steps"]) == 4
    assert all(row["seconds"] > 0 < row["planned_gib"] for row in found["steps"].values())
    arms = found["arms"]["bfloat16"]["arms"]
    assert next(iter(arms)) == "released"
    assert arms["released"]["speed"] == 1
    assert "whole" in found["generation"]["plain"]["results"]["batch 1"]


@pytest.mark.slow
def test_the_demo_scores_of_both_devices_are_compared():
    found = run("gpu.py", "--tiny", "--only", "demo")["demo"]
    assert found["within_1e-3"]
    assert set(found["largest_difference"]) == {"adapted", "scratch", "ridge"}


def test_a_machine_without_a_gpu_is_told_of_the_tiny_size():
    with pytest.raises(AssertionError, match="--tiny"):
        run("gpu.py")
