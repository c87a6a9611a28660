"""Measure whether the memory of training grows with trials and images.

Generates prepared data sets of N and 8 N trials and images with random values, and trains on each
in a new process: closed-form start, steps of the whole model, validation, cross-fitted
predictions, forward model, steps of the prior, training banks.

Memory is anonymous memory (``RssAnon`` of Linux, every 5 ms): what the process itself needs. The
resident peak (``VmHWM``) also counts pages of memory-mapped betas and targets, which are the
system's cache, shared by all processes and freed when memory is needed.

    python benchmarks/bench_scale.py --folder /some/large/disk
"""

import argparse
import json
import platform
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from mindeye2.core.artifacts import write_manifest
from mindeye2.core.runtime import available_cores
from mindeye2.models.model_settings import ModelSettings, PriorSettings
from mindeye2.stages.train import PriorTraining, SharedTraining, train
from mindeye2.training.optimizer import OptimizerSettings

SUBJECTS = ("subj01", "subj02")
TOKENS = (64, 256)
REPEATS = 3
N_VALIDATION = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="folder on a large disk")
    parser.add_argument("--images", type=int, default=1500, help="N, of all subjects together")
    parser.add_argument("--voxels", type=int, default=600)
    parser.add_argument("--factors", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--measure", type=int, help="used by the script itself")
    args = parser.parse_args()
    if args.measure is not None:
        print(json.dumps(measure(args.folder, n_images=args.measure, n_voxels=args.voxels)))
        return
    sizes = []
    for factor in args.factors:
        command = [sys.executable, __file__, *sys.argv[1:]]
        command += ["--measure", str(factor * args.images)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        sizes.append(json.loads(done.stdout.splitlines()[-1]))
    growth = sizes[-1]["anonymous_peak_gb"] / sizes[0]["anonymous_peak_gb"] - 1
    print(
        json.dumps(
            {
                "name": "bench_scale",
                "voxels": args.voxels,
                "sizes": sizes,
                "growth_of_anonymous_peak": round(growth, 3),
                "cores": available_cores(),
                "machine": platform.machine(),
                "torch": torch.__version__,
            }
        )
    )


def measure(folder: Path, *, n_images: int, n_voxels: int) -> dict[str, float]:
    """Train in this process while a thread samples its memory."""
    data, out = folder / "data", folder / "run"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        n_trials = generate(data, n_images=n_images, n_voxels=n_voxels)
        anonymous, finished = [_status_gb("RssAnon")], threading.Event()

        def sample() -> None:
            while not finished.wait(0.005):
                anonymous.append(_status_gb("RssAnon"))

        sampler = threading.Thread(target=sample)
        sampler.start()
        began = time.monotonic()
        train(settings(), source=data, out=out, recipe="bench_scale", device="cpu")
        seconds = time.monotonic() - began
        finished.set()
        sampler.join()
    finally:
        shutil.rmtree(data, ignore_errors=True)
        shutil.rmtree(out, ignore_errors=True)
    found = {
        "bank_float32_gb": n_images * TOKENS[0] * TOKENS[1] * 4 / 1e9,
        "betas_float32_gb": n_trials * n_voxels * 4 / 1e9,
        "anonymous_before_gb": anonymous[0],
        "anonymous_peak_gb": max(anonymous),
        "resident_peak_gb": _status_gb("VmHWM"),
        "seconds": seconds,
    }
    rounded = {name: round(value, 3) for name, value in found.items()}
    return {"images": n_images, "trials": n_trials, **rounded}


def generate(folder: Path, *, n_images: int, n_voxels: int) -> int:
    """Write a prepared data set of random values in chunks; return its number of trials."""
    rng = np.random.default_rng(0)
    shape = (n_images, *TOKENS)
    folder.mkdir()
    _write(folder / "images.npy", (n_images, 1, 1, 3), np.uint8, random=False)
    _write(folder / "targets" / "lite0" / "values.npy", shape, np.float16)
    tables = []
    for subject, shown in zip(SUBJECTS, np.array_split(np.arange(n_images), 2), strict=True):
        images = rng.permutation(np.tile(shown, REPEATS))
        _write(folder / "betas" / f"{subject}.npy", (len(images), n_voxels), np.float16)
        split = np.where(images - shown[0] < N_VALIDATION, "validation", "train")
        columns = {"subject": subject, "session": 1, "image": images, "split": split}
        tables.append(pd.DataFrame(columns))
    trials = pd.concat(tables, ignore_index=True)
    trials.to_parquet(folder / "trials.parquet", index=False)
    write_manifest(folder, stage="prepare", config={}, subjects=dict.fromkeys(SUBJECTS, n_voxels))
    return len(trials)


def _write(path: Path, shape: tuple[int, ...], dtype: type, *, random: bool = True) -> None:
    """Write an array of random values or of zeros in chunks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    rng = np.random.default_rng(0)
    for start in range(0, shape[0] if random else 0, 256):
        chunk = array[start : start + 256]
        chunk[:] = rng.standard_normal(chunk.shape, dtype=np.float32)
    array.flush()


def settings() -> SharedTraining:
    """Return a training that passes through everything that reads betas or tokens."""
    return SharedTraining(
        model=ModelSettings(
            n_tokens=TOKENS[0],
            n_features=TOKENS[1],
            n_latent=256,
            n_blocks=1,
            lowlevel=None,
            prior=PriorSettings(depth=1),
        ),
        per_subject=8,
        n_pca_images=600,
        n_bank=100,
        optimizer=OptimizerSettings(steps=4, max_lr=1e-4),
        prior=PriorTraining(batch_size=16, optimizer=OptimizerSettings(steps=4, max_lr=1e-4)),
    )


def _status_gb(field: str) -> float:
    """Read a memory size of this process from Linux, in GB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    kilobytes = next(line.split()[1] for line in lines if line.startswith(f"{field}:"))
    return int(kilobytes) * 1024 / 1e9


if __name__ == "__main__":
    main()
