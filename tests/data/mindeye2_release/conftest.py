"""MindEye2's published files in small: true names, layouts, types and columns, known content."""

import io
import tarfile
from types import SimpleNamespace

import numpy as np
import pytest

VOXELS = {"subj01": 7, "subj05": 5}
SESSIONS = {"subj01": 3, "subj05": 2}
IMAGES = 40
"""Published are 73,000; the first 8 are shared here."""


def make_trials(subject):
    """Return all trials (17 columns) in the order of presentation, 750 a session."""
    n = 750 * SESSIONS[subject]
    rng = np.random.default_rng(int(subject[-1]))
    shown = np.where(rng.random(n) < 0.1, rng.integers(0, 8, n), rng.integers(8, IMAGES, n))
    lengths = [63, 62] * 6 * SESSIONS[subject]
    run = np.repeat(np.tile(np.arange(1, 13), SESSIONS[subject]), lengths)
    trial = np.concatenate([np.arange(1, length + 1) for length in lengths])
    columns = [
        *(shown, np.full(n, int(subject[-1])), np.arange(n) // 750 + 1, run, trial, np.arange(n)),
        *(rng.integers(0, 9, (7, n)).astype(float)),
        *(np.where(rng.random((3, n)) < 0.1, -1, 1.0)),  # -1 stands for NaN
        shown < 8,
    ]
    return np.stack([np.asarray(c, float) for c in columns], axis=1)


def write_tar(path, rows):
    """Write WebDataset samples: each trial with its neighbours, which are decoys here."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for n, row in enumerate(rows):
            for name, values in (
                ("past_behav.npy", np.full((15, 17), -1.0)),
                ("behav.npy", row[None]),
                ("future_behav.npy", np.full((15, 17), -1.0)),
                ("olds_behav.npy", np.full((3, 17), -1.0)),
            ):
                file = io.BytesIO()
                np.save(file, values)
                member = tarfile.TarInfo(f"sample{n:09d}.{name}")
                member.size = file.tell()
                file.seek(0)
                archive.addfile(member, file)


def write_subject(root, subject, truth):
    """Write betas and tar files of a subject."""
    import h5py

    trials = make_trials(subject)
    betas = np.random.default_rng(3).standard_normal((len(trials), VOXELS[subject])).astype("f4")
    with h5py.File(root / f"betas_all_{subject}_fp32_renorm.hdf5", "w") as file:
        file["betas"] = betas
    own, shared = trials[trials[:, 16] == 0], trials[trials[:, 16] == 1]
    for session in range(1, SESSIONS[subject] + 1):
        write_tar(root / f"wds/{subject}/train/{session - 1}.tar", own[own[:, 2] == session])
    write_tar(root / f"wds/{subject}/new_test/0.tar", shared)
    write_tar(root / f"wds/{subject}/test/0.tar", shared[shared[:, 2] < SESSIONS[subject]])
    truth.trials[subject], truth.betas[subject] = trials, betas


@pytest.fixture
def published(tmp_path):
    """Return the folder and the truth about it."""
    h5py = pytest.importorskip("h5py")
    truth = SimpleNamespace(root=tmp_path, trials={}, betas={}, write_tar=write_tar)
    for subject in VOXELS:
        write_subject(tmp_path, subject, truth)
    truth.images = np.random.default_rng(0).integers(0, 256, (IMAGES, 3, 16, 16))
    with h5py.File(tmp_path / "coco_images_224_float16.hdf5", "w") as file:
        file["images"] = (truth.images / 255).astype(np.float16)
    return truth
