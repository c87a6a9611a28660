"""A small download in the true layout of the Natural Scenes Dataset, with known content.

What is true to the release: paths, file formats, axis orders, types, packing, counting from 1,
750 trials a session, the sizes of the design and of ``imgBrick``, -1 outside the brain, NaN where
button presses were lost. What is small: the volumes, and how many images are shown.
"""

import copy
import json
import os
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.io import savemat

SHAPES = {"subj01": (6, 5, 4), "subj04": (5, 6, 3)}
SESSIONS = {"subj01": (1, 2, 39), "subj04": (1, 28)}
BETAS = "betas_fithrf_GLMdenoise_RR"
COLUMNS = [
    *("SUBJECT", "SESSION", "RUN", "TRIAL", "73KID", "10KID", "TIME", "ISOLD", "ISCORRECT"),
    *("RT", "CHANGEMIND", "MEMORYRECENT", "MEMORYFIRST", "ISOLDCURRENT", "ISCORRECTCURRENT"),
    *("TOTAL1", "TOTAL2", "BUTTON", "MISSINGDATA"),
]


def save_nifti(path, values):
    """Write a volume as NSD's MATLAB code does: no scaling in the header."""
    import nibabel

    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(values, np.diag([1.8, 1.8, 1.8, 1]))
    image.header["scl_slope"] = 0
    nibabel.save(image, path)


def save_betas(path, values):
    """Write int16 (X, Y, Z, 750) in the format that the name ends in."""
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".hdf5":
        with h5py.File(path, "w") as file:
            file.create_dataset("betas", data=values.T, chunks=(values.shape[3], 1, 1, 1))
    else:
        save_nifti(path, values)


def make_design(rng):
    """Return masterordering (30000) and subjectim (8, 10000), both counted from 1."""
    shared = np.sort(rng.choice(np.arange(1, 73001), 1000, replace=False))
    others = rng.permutation(np.setdiff1d(np.arange(1, 73001), shared)).reshape(8, 9000)
    subjectim = np.concatenate([np.tile(shared, (8, 1)), others], axis=1)
    pool = np.concatenate([np.arange(1, 21), np.arange(1001, 1041)])
    return rng.choice(pool, 30_000), subjectim


def make_responses(subject, order, subjectim):
    """Return the table of all sessions of a subject; some button presses are lost."""
    number, n_sessions = int(subject[-2:]), {"subj01": 40, "subj04": 30}[subject]
    n = 750 * n_sessions
    lengths = [63, 62] * 6 * n_sessions
    table = pd.DataFrame(np.nan, index=range(n), columns=COLUMNS)
    table["SUBJECT"] = number
    table["SESSION"] = np.repeat(np.arange(1, n_sessions + 1), 750)
    table["RUN"] = np.repeat(np.tile(np.arange(1, 13), n_sessions), lengths)
    table["TRIAL"] = np.concatenate([np.arange(1, length + 1) for length in lengths])
    table["10KID"] = order[:n]
    table["73KID"] = subjectim[number - 1, order[:n] - 1]
    table["TIME"], table["ISOLD"], table["MISSINGDATA"] = 0.505, 0, 0
    table["BUTTON"], table["TOTAL1"] = 1.0, 1.0
    table.loc[100:110, ["BUTTON", "TOTAL1", "RT"]] = np.nan
    table.loc[100:110, "MISSINGDATA"] = 1
    return table


def make_info(order, subjectim):
    """Return the table of all 73,000 images, counted from 0, with trials counted from 1."""
    shared = np.zeros(73_000, bool)
    shared[subjectim[0, :1000] - 1] = True
    info = pd.DataFrame({"cocoId": np.arange(73_000) * 7 + 9, "nsdId": np.arange(73_000)})
    info["cocoSplit"] = np.where(np.arange(73_000) % 2, "train2017", "val2017")
    info["shared1000"] = shared
    for number in range(1, 9):
        shown = subjectim[number - 1, order - 1]
        first = pd.Series(np.arange(1, 30_001), index=shown).groupby(level=0)
        for repeat in range(3):
            info[f"subject{number}_rep{repeat}"] = (
                first.nth(repeat).reindex(info["nsdId"] + 1).fillna(0).astype(int).to_numpy()
            )
    return info


def write_subject(root, subject, truth, rng):
    """Write betas, regions and responses of a subject; return what is in them."""
    shape = SHAPES[subject]
    label = np.asarray(rng.choice([-1.0, 0.0, 1.0], shape))
    visual = np.asarray(rng.choice([-1.0, 0.0, 1.0, 2.0, 7.0], shape))
    roi = root / "nsddata/ppdata" / subject / "func1pt8mm/roi"
    save_nifti(roi / "nsdgeneral.nii.gz", label)
    save_nifti(roi / "lh.nsdgeneral.nii.gz", np.ones(shape))
    save_nifti(roi / "prf-visualrois.nii.gz", visual)
    folder = root / "nsddata_betas/ppdata" / subject / "func1pt8mm" / BETAS
    ncsnr = np.where(label >= 0, rng.random(shape), np.nan)
    save_nifti(folder / "ncsnr.nii.gz", ncsnr.astype(np.float32))
    betas = {}
    for session in SESSIONS[subject]:
        betas[session] = rng.integers(-3000, 3000, (*shape, 750)).astype(np.int16)
        save_betas(folder / f"betas_session{session:02d}.hdf5", betas[session])
        save_nifti(folder / f"meanbeta_session{session:02d}.nii.gz", betas[session].mean(-1))
    responses = make_responses(subject, truth.order, truth.subjectim)
    path = root / "nsddata/ppdata" / subject / "behav/responses.tsv"
    path.parent.mkdir(parents=True)
    responses.to_csv(path, sep="\t", index=False, na_rep="NaN", float_format="%.20g")
    truth.subjects[subject] = SimpleNamespace(
        betas=betas, label=label, visual=visual, ncsnr=ncsnr, responses=responses, folder=folder
    )


def write_stimuli(root, truth):
    """Write ``imgBrick``: each shown image in a colour that encodes its row; the rest is empty."""
    import h5py

    path = root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
    path.parent.mkdir(parents=True)
    ids = {int(k) - 1 for s in truth.subjects.values() for k in s.responses["73KID"].unique()}
    with h5py.File(path, "w") as file:
        brick = file.create_dataset(
            "imgBrick", (73_000, 425, 425, 3), "u1", chunks=(1, 425, 425, 3), compression="gzip"
        )
        for number in ids:
            brick[number] = np.full((425, 425, 3), colour(number), np.uint8)


def colour(number):
    """Return the colour of an image."""
    return number // 65_536, number // 256 % 256, number % 256


@pytest.fixture(scope="session")
def original(tmp_path_factory):
    """Return the download and the truth about it; do not change it."""
    pytest.importorskip("h5py")
    pytest.importorskip("nibabel")
    root = tmp_path_factory.mktemp("nsd")
    rng = np.random.default_rng(0)
    order, subjectim = make_design(rng)
    truth = SimpleNamespace(root=root, order=order, subjectim=subjectim, subjects={})
    for subject in SHAPES:
        write_subject(root, subject, truth, rng)
    write_stimuli(root, truth)
    experiment = root / "nsddata/experiments/nsd"
    experiment.mkdir(parents=True)
    # MATLAB packs whole numbers: loadmat returns uint16 here, in which 65535 + 1 is 0.
    arrays = {"masterordering": order[None].astype(np.uint16), "subjectim": subjectim.astype("i4")}
    savemat(experiment / "nsd_expdesign.mat", arrays | {"sharedix": subjectim[:1, :1000]})
    truth.info = make_info(order, subjectim)
    truth.info.to_csv(experiment / "nsd_stim_info_merged.csv")
    labels = root / "nsddata/freesurfer/fsaverage/label/prf-visualrois.mgz.ctab"
    labels.parent.mkdir(parents=True)
    labels.write_text("0 Unknown \t\n1 V1v \n2 V1d\t\n3 V2v\n4 V2d\n5 V3v\n6 V3d\n7 hV4 \n")
    return truth


@pytest.fixture
def tree(original, tmp_path):
    """Return a download that may be changed: files are linked, replace them instead of editing."""
    for path in original.root.rglob("*"):
        target = tmp_path / path.relative_to(original.root)
        if path.is_dir():
            target.mkdir(exist_ok=True)
        else:
            os.link(path, target)
    truth = copy.copy(original)
    truth.root = tmp_path
    truth.save_nifti = lambda name, values: save_nifti(fresh(tmp_path / name), values)
    truth.save_betas = lambda name, values: save_betas(fresh(tmp_path / name), values)
    truth.replace = lambda name, content: fresh(tmp_path / name).write_bytes(content)
    truth.write_captions = lambda folder, ids: write_captions(folder, truth, ids)
    truth.colour = colour
    truth.betas_folder = f"nsddata_betas/ppdata/subj01/func1pt8mm/{BETAS}"
    return truth


def fresh(path):
    """Return a path that holds no linked file."""
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def write_captions(folder, truth, ids):
    """Write COCO's captions of some images: two each, the second one first in the file."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = truth.info.set_index("nsdId").loc[ids]
    for split in ("train2017", "val2017"):
        entries = [
            {"image_id": int(row["cocoId"]), "id": 10 * int(n) + k, "caption": f"{text} {n}.\n"}
            for n, row in rows[rows["cocoSplit"] == split].iterrows()
            for k, text in ((1, "Another of"), (0, "A photo of"))
        ]
        (folder / f"captions_{split}.json").write_text(json.dumps({"annotations": entries}))
