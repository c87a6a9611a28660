"""Decode eight categories from volumes of Haxby et al. 2001, one slice, through `prepare bids`.

Run: python benchmarks/haxby.py --source ../shared/data/haxby2001_slice
The source holds ``bold.nii.gz`` and ``attributes_literal.txt``, as PyMVPA's ``mvpa2/data`` does
(CC BY-SA 3.0). Its 12 runs are written as a BIDS folder; a block of 9 volumes is a trial. Betas
are estimated by the adapter, z-scored within each run, and decoded by a ridge to eight categories,
one run held out at a time, alpha chosen within the other runs. Chance is .125. The last line is
one JSON object.
"""

import argparse
import json
import platform
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from mindeye2.core.errors import require
from mindeye2.core.runtime import available_cores, generator, peak_memory_gib
from mindeye2.core.settings import build_settings
from mindeye2.data.bids import BidsSettings, read_responses
from mindeye2.data.bids.single_trial_glm import GlmSettings
from mindeye2.models.closed_form import fit_ridge

TR_SECONDS = 2.5
ALPHAS = (1.0, 10.0, 100.0, 1000.0)


def write_bids(source: Path, root: Path) -> Path:
    """Write the slice as a BIDS folder with derivatives; `stim_file` is the category."""
    nibabel: Any = require("nibabel", extra="data", purpose="Writing volumes")
    volumes = np.asarray(nibabel.load(source / "bold.nii.gz").dataobj)
    table = pd.read_csv(
        source / "attributes_literal.txt", sep=" ", header=None, names=["category", "run"]
    )
    inside = (volumes > 0).all(axis=3)
    folder = root / "sub-1" / "func"
    derived = root / "derivatives" / "fmriprep" / "sub-1" / "func"
    folder.mkdir(parents=True)
    derived.mkdir(parents=True)
    for run, rows in table.groupby("run"):
        stem = f"sub-1_task-objects_run-{int(str(run)) + 1:02d}"
        category = rows["category"].reset_index(drop=True)
        block = (category != category.shift()).cumsum()
        events = category.groupby(block).agg(stim_file="first", duration="size")
        events["onset"] = TR_SECONDS * category.index.to_series().groupby(block).first()
        events["duration"] *= TR_SECONDS
        shown = events[events["stim_file"] != "rest"]
        shown.to_csv(folder / f"{stem}_events.tsv", sep="\t", index=False)
        image = nibabel.Nifti1Image(volumes[..., rows.index], np.eye(4))
        image.header.set_zooms((3.1, 3.75, 3.75, TR_SECONDS))
        nibabel.save(image, derived / f"{stem}_desc-preproc_bold.nii.gz")
        mask = nibabel.Nifti1Image(inside.astype(np.uint8), np.eye(4))
        nibabel.save(mask, derived / f"{stem}_desc-brain_mask.nii.gz")
    return root


def responses(
    root: Path, glm: GlmSettings
) -> tuple[Float[Tensor, "trials voxels"], Int[Tensor, " trials"], Int[Tensor, " trials"]]:
    """Return betas z-scored within each run, the category of each trial, and its run."""
    settings = build_settings(BidsSettings, {"confounds": [], "glm": glm.model_dump()})
    found = read_responses(root, settings=settings)
    betas = torch.from_numpy(found.betas["sub-1"][:]).double()
    runs = torch.tensor(found.trials["run"].tolist())
    category = torch.tensor(found.trials["image"].astype("category").cat.codes.tolist())
    for run in runs.unique():
        own = betas[runs == run]
        betas[runs == run] = (own - own.mean(dim=0)) / own.std(dim=0, correction=0)
    return betas, category, runs


def decode(
    betas: Float[Tensor, "trials voxels"],
    category: Int[Tensor, " trials"],
    runs: Int[Tensor, " trials"],
) -> float:
    """Return the fraction of trials whose category is decoded by a ridge fitted to other runs."""
    targets = F.one_hot(category).to(betas)

    def n_correct(fitted: Tensor, held_out: Tensor) -> Tensor:
        ridge = fit_ridge(betas[fitted], targets[fitted])
        preds = torch.stack([ridge.predict(betas[held_out], a).argmax(dim=1) for a in ALPHAS])
        return (preds == category[held_out]).double().sum(dim=1)

    total = 0.0
    for run in runs.unique():
        rest = runs != run
        inner = [n_correct(rest & (runs != other), runs == other) for other in runs[rest].unique()]
        best = int(torch.stack(inner).sum(dim=0).argmax())
        total += float(n_correct(rest, ~rest)[best])
    return total / len(category)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--permutations", type=int, default=60)
    args = parser.parse_args()
    began = time.monotonic()
    accuracy, chance, sizes = {}, [0.0], (0, 0)
    with tempfile.TemporaryDirectory() as folder:
        root = write_bids(args.source, Path(folder))
        for name, glm in {
            "lsa": GlmSettings(),
            "lss": GlmSettings(model="lss"),
            "lsa, ar1": GlmSettings(noise="ar1"),
            "lsa, spm": GlmSettings(hrf="spm"),
            "lsa, first slice": GlmSettings(slice_time=0.0),
            "lsa, no drift": GlmSettings(drift="none"),
        }.items():
            betas, category, runs = responses(root, glm)
            accuracy[name] = round(decode(betas, category, runs), 3)
            sizes = (betas.shape[0], betas.shape[1])
            print(name, accuracy[name])
            if name == "lsa":
                chance = [
                    decode(betas, category[_within(runs, seed)], runs)
                    for seed in range(args.permutations)
                ]
    print(
        json.dumps(
            {
                "name": "haxby",
                "accuracy": accuracy,
                "permuted": {
                    "mean": round(float(np.mean(chance)), 3),
                    "max": round(max(chance), 3),
                    "n": len(chance),
                },
                "chance": 0.125,
                "trials": sizes[0],
                "voxels": sizes[1],
                "seconds": round(time.monotonic() - began),
                "peak_gib": round(peak_memory_gib(), 2),
                "machine": platform.machine(),
                "cores": available_cores(),
                "torch": torch.__version__,
                "nilearn": version("nilearn"),
            }
        )
    )


def _within(runs: Int[Tensor, " trials"], seed: int) -> Int[Tensor, " trials"]:
    """Shuffle trials inside their runs."""
    order = torch.arange(len(runs))
    for run in runs.unique():
        own = order[runs == run]
        shuffled = torch.randperm(len(own), generator=generator(seed, "permuted", int(run)))
        order[runs == run] = own[shuffled]
    return order


if __name__ == "__main__":
    main()
