import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "bench_metrics.py"


@pytest.mark.slow
def test_scores_are_those_of_the_published_loops():
    """Pixels, two networks (identification, distance), and retrieval by a cut tower."""
    command = [sys.executable, str(SCRIPT), "--images", "10", "--threads", "1", "--blocks", "1"]
    command += ["--networks", "alexnet", "efficientnet_b1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout.splitlines()[-1])["rows"]
    assert [(row["part"], row["compared"]) for row in rows] == [
        ("pixels", 8), ("alexnet", 8), ("efficientnet_b1", 4), ("retrieval", 2),
    ]  # fmt: skip
    assert max(row["largest_difference"] for row in rows) < 1e-6
