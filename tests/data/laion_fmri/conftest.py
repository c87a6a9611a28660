"""A small download in the layout of LAION-fMRI, with known content.

What is true to the release, as its documentation gives it: paths, names of images, columns and
labels of tables, one volume per trial, counting from 0, sessions of different lengths, NaN at the
edge of the brain, float16 embeddings in another order than the images, images as the bytes of
image files in the order of the metadata. What is small: the volumes, the trials and the images.
"""

import io
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mindeye2.data.laion_fmri import LaionFmriSettings, read_laion_fmri

SHAPE = (5, 4, 4)
LENGTHS = {"sub-01": {1: 44, 2: 48, 5: 40}, "sub-03": {1: 44}}
RUNS = 4


def image_names():
    """Return the names of 12 shared images, 3 out of distribution, 24 of each subject."""
    return [
        *(f"shared_12rep_LAION_cluster_{n}_i0.jpg" for n in range(12)),
        *(f"shared_4rep_OOD_{kind}.png" for kind in ("shape_0", "shape_1", "illusion-natural_2")),
        *(
            f"unique_LAION_initial_cluster_{n}_i1_p{s}.jpg"
            for s in ("01", "03")
            for n in range(24)
        ),
    ]


def save_nifti(path, values):
    import nibabel

    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([1.778, 1.778, 1.778, 1])), path)


def stem(subject, session):
    folder = f"derivatives/glmsingle-tedana/{subject}/ses-{session:02d}/func"
    return f"{folder}/{subject}_ses-{session:02d}_task-images"


def betas_name(subject, session):
    return f"{stem(subject, session)}_space-T1w_stat-effect_desc-SingletrialBetas_statmap.nii.gz"


def trials_name(subject, session):
    return f"{stem(subject, session)}_desc-SingletrialBetas_trials.tsv"


def write_subject(root, subject, truth, rng):
    names = [
        n for n in truth.names if n.startswith("shared_") or n.endswith(f"p{subject[-2:]}.jpg")
    ]
    inside = np.zeros(SHAPE, bool)
    inside[1:4, :, 1:3] = True
    evc = np.zeros(SHAPE, bool)
    evc[1:3, :, 1:3] = True
    v1 = np.zeros(SHAPE, bool)
    v1[1, :, 1:3] = True
    for category, label, mask in (
        ("visual", "laion-general", inside),
        ("retinotopy", "EVC", evc),
        ("retinotopy", "V1v", v1),
    ):
        file = f"{category}/{subject}_space-T1w_res-1pt8_label-{label}_mask.nii.gz"
        save_nifti(root / f"derivatives/rois/{subject}" / file, mask.astype("u1"))
    ceiling = np.where(inside, rng.uniform(0, 60, SHAPE), 0).astype("f4")
    folder = root / "derivatives/glmsingle-tedana" / subject
    for kind in ("4rep", "12rep", "Allrep"):
        file = f"{subject}_task-images_space-T1w_desc-Noiseceiling{kind}_statmap.nii.gz"
        save_nifti(folder / file, ceiling)
    weights = rng.normal(size=(8, *SHAPE))
    betas, labels = {}, {}
    for session, n in LENGTHS[subject].items():
        shown = [*rng.permutation(names), *rng.choice(names, n)][:n]
        signal = np.stack([truth.features[name] for name in shown])
        values = np.tensordot(weights, signal, (0, 1)) + rng.normal(0, 0.3, (*SHAPE, n))
        if session == 2:
            values[3, 0, 1] = np.nan  # at the edge of the brain
        betas[session], labels[session] = values.astype("f4"), shown
        save_nifti(root / betas_name(subject, session), betas[session])
        table = pd.DataFrame(
            {
                "session": f"ses-{session:02d}",
                "run": [f"run-{1 + RUNS * i // n:02d}" for i in range(n)],
                "beta_index": range(n),
                "label": shown,
            }
        )
        table.to_csv(root / trials_name(subject, session), sep="\t", index=False)
    truth.subjects[subject] = SimpleNamespace(
        betas=betas, labels=labels, inside=inside, ceiling=ceiling
    )


def write_stimuli(folder, truth, rng):
    import h5py

    folder.mkdir(parents=True)
    # Images are 4 x 4 blocks of one colour each, so that resizing keeps their colours.
    pd.DataFrame({"image_name": truth.names, "dataset": "LAION-natural"}).to_csv(
        folder / "task-images_metadata.csv", index=False
    )
    captions = pd.DataFrame(
        [
            (n, k, s, f"{s} {k} of {n}")
            for n in truth.names
            for k, s in ((0, "ai"), (2, "human"), (1, "human"))
        ],
        columns=["image_name", "caption_idx", "source", "caption"],
    )
    captions.to_csv(folder / "task-images_desc-captions.csv", index=False)
    order = rng.permutation(truth.names)
    width = 1024
    expand = rng.normal(size=(8, width))
    truth.embedding = {n: truth.features[n] @ expand for n in truth.names}
    with h5py.File(folder / "task-images_desc-CLIP_embeddings.h5", "w") as file:
        rows = np.stack([truth.embedding[n] for n in order])
        file["embedding"] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype("f2")
        file.create_dataset("image_ids", data=list(order), dtype=h5py.string_dtype())
        file["valid"] = np.ones(len(order), bool)
    with h5py.File(folder / "task-images_stimuli.h5", "w") as file:
        stored = file.create_dataset("images", (len(truth.names),), h5py.vlen_dtype(np.uint8))
        for row in range(len(truth.names)):
            blocks = rng.integers(0, 255, (4, 4, 3)).astype("u1")
            pixels = blocks.repeat(25, axis=0).repeat(25, axis=1)
            content = io.BytesIO()
            Image.fromarray(pixels).save(content, format="PNG")
            stored[row] = np.frombuffer(content.getvalue(), np.uint8)
            truth.corner[truth.names[row]] = blocks[0, 0]


def write_splits(folder, truth):
    shared = [n for n in truth.names if n.startswith("shared_12rep")]
    ood = [n for n in truth.names if "_OOD_" in n]
    for pool in ("shared", "sub-01", "sub-03"):
        own = shared + [n for n in truth.names if n.endswith(f"p{pool[-2:]}.jpg")]
        # Subjects disagree on the shared images of `tau`, as in the release.
        test = own[:4] if pool != "sub-03" else own[4:8]
        sides = {"tau": (test, own), "ood": (ood, own)}
        for name, (test_ids, members) in sides.items():
            train_ids = [n for n in members if n not in test_ids]
            variant = {"variant_id": 0, "train_ids": train_ids, "test_ids": test_ids}
            text = f"{pool} full pool" if pool != "shared" else "LAION non-OOD shared"
            record = {"name": name, "pool": text, "variants": [variant]}
            (folder / pool).mkdir(parents=True, exist_ok=True)
            (folder / pool / f"{name}.json").write_text(json.dumps(record))


@pytest.fixture(scope="session")
def laion(tmp_path_factory):
    """Return the download and the truth about it; do not change it."""
    pytest.importorskip("h5py")
    pytest.importorskip("nibabel")
    root = tmp_path_factory.mktemp("laion")
    rng = np.random.default_rng(0)
    names = image_names()
    features = dict(zip(names, rng.normal(size=(len(names), 8)), strict=True))
    truth = SimpleNamespace(root=root, names=names, features=features, subjects={}, corner={})
    for subject in LENGTHS:
        write_subject(root, subject, truth, rng)
    write_stimuli(root / "stimuli", truth, rng)
    truth.splits = root / "splits"
    write_splits(truth.splits, truth)
    made_by = {"GeneratedBy": [{"Name": "GLMsingle", "Version": "1.2"}]}
    path = root / "derivatives/glmsingle-tedana/dataset_description.json"
    path.write_text(json.dumps(made_by))
    return truth


@pytest.fixture
def download(laion, tmp_path):
    """Return a download that may be changed: files are linked, replace them instead of editing."""
    root = tmp_path / "download"
    shutil.copytree(laion.root, root, copy_function=os.link)

    def replace(name, content):
        (root / name).unlink(missing_ok=True)
        (root / name).write_bytes(content)

    def trials(subject, session, change):
        name = trials_name(subject, session)
        table = change(pd.read_csv(root / name, sep="\t"))
        replace(name, table.to_csv(sep="\t", index=False).encode())

    return SimpleNamespace(
        root=root,
        truth=laion,
        replace=replace,
        change_trials=trials,
        betas=lambda *which: Path(root / betas_name(*which)),
        trials=lambda *which: Path(root / trials_name(*which)),
    )


def read_laion(root, **settings):
    """Read the download with some settings."""
    settings = {"image_size": 32, **settings}
    return read_laion_fmri(root, settings=LaionFmriSettings(**settings))


@pytest.fixture
def read():
    """Return a function that reads a download with some settings."""
    return read_laion
