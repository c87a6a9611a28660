"""Measure the prepare stage on one subject of full width, in the layout of the real release.

Sessions of 750 trials are generated as the Natural Scenes Dataset stores them (int16, HDF5 in
MATLAB's axis order, one chunk a voxel, 81 x 104 x 83 voxels a volume, 15,724 of them in the
region) and prepared with the adapter ``nsd``: reading, z-scoring, reliability, float16, hashes.
Voxels outside the region are empty and use no disk space; ``--whole-volume`` writes them too, as
the real files do, although they are never read. There are few images, and they are not encoded;
``--kill-after`` kills a further run, resumes it and compares the files.

Run: python benchmarks/bench_prepare.py --work /tmp/bench --sessions 10
"""

import argparse
import hashlib
import importlib
import json
import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

SHAPE = (81, 104, 83)
"""Volume of subj01 at 1.8 mm."""

N_IMAGES = 400
"""Distinct images, repeated; 20 of them are shared."""

PREPARE = """
import json, sys, time
from pathlib import Path
from mindeye2.core.runtime import peak_memory_gib
from mindeye2.data.nsd import NsdSettings
from mindeye2.stages.prepare import NsdPreparation, prepare
source, out = map(Path, sys.argv[1:3])
before = peak_memory_gib()
start = time.perf_counter()
settings = NsdPreparation(encoders=(), nsd=NsdSettings(image_size=64))
prepare(settings, source=source, out=out, resume=True)
seconds = time.perf_counter() - start
print(json.dumps({"seconds": seconds, "peak": peak_memory_gib(), "imports": before}))
"""
"""The timed code, run in a new process, because peak memory is per process."""


def write_images(
    path: Path, kid73: "np.ndarray[tuple[int, ...], np.dtype[np.int64]]", rng: np.random.Generator
) -> None:
    """Write noise images at the indices that are shown."""
    path.parent.mkdir(parents=True)
    with importlib.import_module("h5py").File(path, "w") as file:
        brick = file.create_dataset(
            "imgBrick", (73_000, 425, 425, 3), "u1", chunks=(1, 425, 425, 3), compression=1
        )
        for number in np.unique(kid73) - 1:
            brick[number] = rng.integers(0, 256, (425, 425, 1), dtype=np.uint8).repeat(3, axis=2)


def make_source(root: Path, args: argparse.Namespace) -> None:
    """Write a subject with random signal, noise and session offsets in each voxel."""
    h5py = importlib.import_module("h5py")
    rng = np.random.default_rng(args.seed)
    mask = np.full(int(np.prod(SHAPE)), -1.0)
    # In one block at the back of the volume, as nsdgeneral is: neighbours are read together.
    rows = np.indices(SHAPE).reshape(3, -1)
    distance = ((rows - np.array([[40], [20], [41]])) ** 2).sum(axis=0)
    near = np.argsort(distance + 150 * rng.random(distance.size))[: args.voxels]
    mask[near] = 1
    voxels = rows[:, np.sort(near)]
    base = root / "nsddata/ppdata/subj01"
    (base / "func1pt8mm/roi").mkdir(parents=True)
    nibabel = importlib.import_module("nibabel")
    region = nibabel.Nifti1Image(mask.reshape(SHAPE), np.eye(4))
    nibabel.save(region, base / "func1pt8mm/roi/nsdgeneral.nii.gz")

    n_trials = args.sessions * 750
    kid10 = np.where(rng.random(n_trials) < 0.1, rng.integers(1, 21, n_trials), 0)
    kid10 = np.where(kid10 > 0, kid10, 1000 + rng.integers(1, N_IMAGES - 19, n_trials))
    kid73 = np.where(kid10 <= 1000, kid10, kid10 - 980)
    lengths = [63, 62] * 6 * args.sessions
    names = ["TIME", "ISOLD", "ISCORRECT", "RT", "CHANGEMIND", "MEMORYRECENT", "MEMORYFIRST"]
    names += ["ISOLDCURRENT", "ISCORRECTCURRENT", "TOTAL1", "TOTAL2", "BUTTON", "MISSINGDATA"]
    responses = pd.DataFrame(
        {
            "SUBJECT": 1,
            "SESSION": np.repeat(np.arange(1, args.sessions + 1), 750),
            "RUN": np.repeat(np.tile(np.arange(1, 13), args.sessions), lengths),
            "TRIAL": np.concatenate([np.arange(1, n + 1) for n in lengths]),
            "73KID": kid73,
            "10KID": kid10,
            **dict.fromkeys(names, 0.0),
        }
    )
    (base / "behav").mkdir(parents=True)
    responses.to_csv(base / "behav/responses.tsv", sep="\t", index=False)

    write_images(root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5", kid73, rng)
    folder = root / "nsddata_betas/ppdata/subj01/func1pt8mm/betas_fithrf_GLMdenoise_RR"
    folder.mkdir(parents=True)
    signal = rng.standard_normal((1500, args.voxels), dtype=np.float32) * 100
    for session in range(1, args.sessions + 1):
        own = kid73[(session - 1) * 750 : session * 750]
        values = rng.standard_normal((750, args.voxels), dtype=np.float32) * 300 + signal[own]
        stored = np.ascontiguousarray((values + rng.normal(0, 50)).T.astype(np.int16))
        with h5py.File(folder / f"betas_session{session:02d}.hdf5", "w") as file:
            betas = file.create_dataset("betas", (750, *SHAPE[::-1]), "i2", chunks=(750, 1, 1, 1))
            chunks = dict(zip(map(tuple, voxels.T.tolist()), stored, strict=True))
            if args.whole_volume:
                chunks = dict.fromkeys(map(tuple, rows.T.tolist()), stored[0]) | chunks
            for (i, j, k), values_of_voxel in chunks.items():
                betas.id.write_direct_chunk((0, k, j, i), values_of_voxel.tobytes())
        print(f"session {session} of {args.sessions} generated", file=sys.stderr)


def run(source: Path, out: Path, *, stop_after: float | None = None) -> dict[str, float]:
    """Prepare in a new process; kill it after `stop_after` seconds."""
    command = [sys.executable, "-c", PREPARE, str(source), str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        text, _ = process.communicate(timeout=stop_after)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return {}
    if process.returncode != 0:
        raise SystemExit(process.returncode)
    values: dict[str, float] = json.loads(text)
    return values


def digest(folder: Path) -> str:
    """Hash the betas and voxel tables of a prepared data set."""
    total = hashlib.sha256()
    for path in sorted((folder / "betas").iterdir()) + sorted((folder / "voxels").iterdir()):
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--work", type=Path, required=True, help="empty folder, removed afterwards"
    )
    parser.add_argument("--sessions", type=int, default=10)
    parser.add_argument("--voxels", type=int, default=15_724)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--whole-volume", action="store_true", help="write all voxels: 1 GB a session"
    )
    parser.add_argument("--kill-after", type=float, default=None, help="seconds")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.work.mkdir(parents=True)
    try:
        make_source(args.work / "nsd", args)
        measured = []
        for repeat in range(args.repeats):
            measured.append(run(args.work / "nsd", args.work / f"out{repeat}"))
            print(measured[-1], file=sys.stderr)
        same = None
        if args.kill_after is not None:
            run(args.work / "nsd", args.work / "killed", stop_after=args.kill_after)
            kept = len(list((args.work / "killed/state/subj01").glob("*.npz")))
            rest = run(args.work / "nsd", args.work / "killed")
            same = {
                "sessions_kept": kept,
                "seconds_of_the_rest": round(rest["seconds"], 2),
                "same_files": digest(args.work / "killed") == digest(args.work / "out0"),
            }
    finally:
        shutil.rmtree(args.work)
    seconds = sorted(m["seconds"] for m in measured)
    middle = seconds[len(seconds) // 2]
    trials = args.sessions * 750
    print(
        json.dumps(
            {
                "name": "prepare",
                "sessions": args.sessions,
                "voxels": args.voxels,
                "whole_volume": args.whole_volume,
                "seconds": [round(s, 2) for s in seconds],
                "trials_per_second": round(trials / middle, 1),
                "peak_gib": round(max(m["peak"] for m in measured), 3),
                "imports_gib": round(max(m["imports"] for m in measured), 3),
                "killed_and_resumed": same,
                "machine": platform.machine(),
                "cores": os.cpu_count(),
                "load_average": [round(x, 1) for x in os.getloadavg()],
                "numpy": version("numpy"),
                "h5py": version("h5py"),
                "torch": version("torch"),
                "seed": args.seed,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
