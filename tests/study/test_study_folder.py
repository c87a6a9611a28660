"""Studies through Snakemake."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

from mindeye2.choices import STUDIES
from mindeye2.core.errors import ArtifactError
from mindeye2.study import init_study

TINY = {
    "data": {
        "kind": "simulated",
        "settings": {
            "n_train": 60,
            "n_validation": 12,
            "n_test": 10,
            "scene_size": 96,
            "brain_size": 64,
            "simulation": {
                "n_subjects": 2,
                "min_voxels": 60,
                "max_voxels": 90,
                "sessions": 2,
                "trials_per_session": 40,
                "runs_per_session": 2,
                "test_repeats": 2,
            },
        },
    },
    "subjects": ["subj02"],
    "pretrain": {
        "recipe": "laptop",
        "subjects": ["subj01", "subj02"],
        "settings": {
            "model": {"n_latent": 16, "n_blocks": 1},
            "optimizer": {"steps": 5, "save_minutes": 0.0001},
            "per_subject": 8,
            "train_prior": False,
        },
    },
    "arms": {
        "ridge": {"recipe": "ridge", "settings": {"model": {"n_latent": 16}}},
        "adapt": {
            "recipe": "adapt",
            "pretrained": True,
            "settings": {"levels": ["closed_form"]},
        },
    },
    "amounts": [{"n_trials": 40}],
    "reconstruct": {"images": False, "captions": False, "prior_samples": 1, "prior_steps": 2},
    "evaluate": {"n_resamples": 100},
    "compare": {"metrics": ["two_way_tokens"], "n_resamples": 100},
}


def snakemake(folder, *options):
    command = [sys.executable, "-m", "snakemake", "--profile", "profiles/local", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def tiny(tmp_path):
    """Return the folder of a study of two cells."""
    init_study(tmp_path / "study")
    (tmp_path / "study" / "config.yaml").write_text(yaml.safe_dump(TINY))
    return tmp_path / "study"


@pytest.mark.slow
@pytest.mark.parametrize("config", STUDIES)
def test_every_ready_config_has_a_plan(tmp_path, config):
    init_study(tmp_path / config, config=config)
    for name in ("natural-scenes-dataset", "kriegeskorte92", "weights"):
        (tmp_path / config / name).mkdir()
    code, text = snakemake(tmp_path / config, "--dry-run")
    assert code == 0, text
    assert {"prepare 1", "compare 1"} <= {" ".join(line.split()) for line in text.splitlines()}


@pytest.mark.slow
def test_a_killed_job_is_retried_and_a_changed_setting_reruns_what_depends_on_it(tiny):
    command = [sys.executable, "-m", "snakemake", "--profile", "profiles/local"]
    running = subprocess.Popen(command, cwd=tiny, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    killed = None
    while running.poll() is None and killed is None:
        for lock in tiny.glob("pretrained/*/.lock"):
            text = lock.read_text()
            if text and (lock.parent / "steps.jsonl").exists():
                killed = json.loads(text)["process"]
                os.kill(killed, signal.SIGKILL)
        time.sleep(0.02)
    output = running.communicate()[0].decode()
    assert killed is not None
    assert running.returncode == 0, output
    assert "Trying to restart job" in output
    [page] = tiny.glob("comparison/*/index.html")
    [manifest] = tiny.glob("pretrained/*/manifest.json")
    assert "ridge" in page.read_text()
    written = manifest.stat().st_mtime_ns
    changed = {**TINY, "evaluate": {"n_resamples": 200}}
    (tiny / "config.yaml").write_text(yaml.safe_dump(changed))
    code, text = snakemake(tiny)
    assert code == 0, text
    assert len(list(tiny.glob("comparison/*/index.html"))) == 2
    assert len(list(tiny.glob("scores/*"))) == 4
    assert len(list(tiny.glob("decoded/*"))) == 2
    assert manifest.stat().st_mtime_ns == written
    code, text = snakemake(tiny, "--report", "report.html")
    assert code == 0, text
    assert "Comparison" in (tiny / "report.html").read_text()


@pytest.mark.slow
def test_no_more_jobs_run_at_once_than_there_are_cores(tiny):
    """After jobs that were ready alone, as those of a study: Snakemake 9.10 lost count there."""
    (tiny / "Snakefile").write_text(
        """
rule all:
    input: expand("late-{n}", n=range(6))
rule early:
    input: lambda w: ["early-0"] * int(w.n)
    output: "early-{n}"
    shell: "touch {output}"
rule late:
    input: "early-0", "early-1"
    output: "late-{n}"
    shell: "date +%s.%N > {output}; sleep 1; date +%s.%N >> {output}"
"""
    )
    code, text = snakemake(tiny, "--cores", "2")
    assert code == 0, text
    spans = [[float(x) for x in path.read_text().split()] for path in tiny.glob("late-*")]
    assert len(spans) == 6
    for start, _ in spans:
        assert sum(other <= start < end for other, end in spans) <= 2


def test_a_config_is_never_overwritten(tiny):
    with pytest.raises(ArtifactError, match=r"config.yaml exists already\. Edit it"):
        init_study(tiny)
    with pytest.raises(ValueError, match="Did you mean 'laptop'"):
        init_study(tiny, config="labtop")
