"""A small THINGS-fMRI in table format, with known content.

What is true to the release, as its usage notes show it: names of files, columns and trial types,
the blocks of the HDF5 file that pandas writes. What is small: voxels, trials, images.
"""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

N_VOXELS, SESSIONS = 30, 3
ROIS = ["V1", "V2", "lFFA", "IT"]


def write_responses(path, values, *, name="ResponseData"):
    """Write what pandas writes of a table with a column voxel_id and one for each trial."""
    import h5py

    with h5py.File(path, "w") as file:
        group = file.create_group(name)
        group["axis1"] = np.arange(len(values))
        group["block0_values"] = values
        group["block1_values"] = np.arange(len(values))[:, None]


def write_subject(folder, subject, rng):
    concepts = [f"thing_{i}" for i in range(12)]
    rows = []
    for session in range(1, SESSIONS + 1):
        train = [(c, f"{c}_{session:02d}s.jpg", "train") for c in concepts]
        test = [(c, f"{c}_99s.jpg", "test") for c in concepts[:4]]
        order = rng.permutation(16)
        rows += [(*[*train, *test][i], session, 1 + k // 8) for k, i in enumerate(order)]
    table = pd.DataFrame(rows, columns=["concept", "stimulus", "trial_type", "session", "run"])
    table["trial_id"], table["subject_id"] = np.arange(len(table)), int(subject[-2:])
    table.to_csv(folder / f"{subject}_StimulusMetadata.csv", index=False)
    voxels = pd.DataFrame({"voxel_id": np.arange(N_VOXELS), "subject_id": 1})
    voxels["voxel_x"], voxels["voxel_y"] = voxels["voxel_id"] // 6, voxels["voxel_id"] % 6
    voxels["voxel_z"] = 3
    voxels["nc_singletrial"] = rng.uniform(0, 40, N_VOXELS)
    voxels["nc_testset"] = rng.uniform(0, 90, N_VOXELS)
    voxels["prf-size"] = 1.0
    for k, name in enumerate(ROIS):
        voxels[name] = (np.arange(N_VOXELS) // 6 == k).astype(int)
    voxels["glasser-V1"] = voxels["V1"]
    voxels.to_csv(folder / f"{subject}_VoxelMetadata.csv", index=False)
    values = rng.normal(size=(N_VOXELS, len(table)))
    write_responses(folder / f"{subject}_ResponseData.h5", values)
    return SimpleNamespace(table=table, voxels=voxels, values=values)


@pytest.fixture
def things(tmp_path):
    """Return the folder and the truth about it."""
    pytest.importorskip("h5py")
    rng = np.random.default_rng(0)
    folder = tmp_path / "betas_csv"
    folder.mkdir()
    truth = SimpleNamespace(
        root=tmp_path, folder=folder, write_responses=write_responses, colours={}
    )
    truth.subjects = {s: write_subject(folder, s, rng) for s in ("sub-01", "sub-02")}
    for concept, name in truth.subjects["sub-01"].table[["concept", "stimulus"]].to_numpy():
        path = tmp_path / "object_images" / concept / name
        path.parent.mkdir(parents=True, exist_ok=True)
        truth.colours[name] = tuple(rng.integers(0, 255, 3).tolist())
        Image.new("RGB", (40, 40), truth.colours[name]).save(path, format="PNG")
    return truth
