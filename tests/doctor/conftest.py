"""A small data set without errors, which the tests corrupt."""

import copy

import numpy as np
import pandas as pd
import pytest

SPLITS = np.array(["train"] * 60 + ["validation"] * 8 + ["test"] * 12)


def _images(rng):
    """Return noise with the spectrum of photographs: amplitude falls with frequency."""
    across = np.hypot(np.fft.fftfreq(32)[:, None], np.fft.rfftfreq(32)[None])
    spectrum = np.fft.rfft2(rng.normal(size=(80, 3, 32, 32))) / np.maximum(across, 1 / 32)
    images = np.fft.irfft2(spectrum).transpose(0, 2, 3, 1)
    return (128 + 40 * images / images.std()).clip(0, 255).astype(np.uint8)


def _session(rng):
    """Return which images one session shows: 48 that are not test, and the 12 test images."""
    shown = np.concatenate([rng.choice(68, 48, replace=False), np.arange(68, 80)])
    return rng.permutation(shown)


def _table(subject, rng):
    images = np.concatenate([_session(rng) for _ in range(3)])
    table = pd.DataFrame(
        {
            "subject": subject,
            "session": np.repeat([1, 2, 3], 60),
            "run": np.tile(np.repeat([1, 2], 30), 3),
            "trial": np.tile(np.arange(1, 31), 6),
            "image": images,
            "source_image": images + 1000,
            "split": SPLITS[images],
        }
    )
    return table.assign(repeat=table.groupby("image").cumcount())


@pytest.fixture(scope="session")
def sound_dataset():
    """Return images, trials and raw betas of two subjects whose voxels respond to colours."""
    rng = np.random.default_rng(0)
    images = _images(rng)
    tables = {s: _table(s, rng) for s in ("subj01", "subj02")}
    colours = images.reshape(80, 4, 8, 4, 8, 3).mean(axis=(2, 4)).reshape(80, -1)
    colours = (colours - colours.mean(axis=0)) / colours.std(axis=0)
    betas = {}
    for subject, n_voxels in (("subj01", 30), ("subj02", 40)):
        signal = colours[tables[subject]["image"]] @ rng.normal(size=(48, n_voxels)) / 7
        noise = rng.normal(size=signal.shape)
        betas[subject] = (2 + signal + noise).astype(np.float32)
    return {
        "images": images,
        "trials": pd.concat(tables.values(), ignore_index=True),
        "betas": betas,
    }


@pytest.fixture
def dataset(sound_dataset):
    """Return a copy of the sound data set, to be changed."""
    return copy.deepcopy(sound_dataset)


@pytest.fixture
def write_dataset(tmp_path):
    """Return a function that z-scores and writes a data set, and returns its folder."""
    from mindeye2.data.prepared.writer import seal_prepared, write_subject_tables
    from mindeye2.data.prepared.zscore import zscore_by_session

    def written(dataset, *, corrupt=None, scaled=None, config=None, **facts):
        """Write; `corrupt` changes the z-scored betas of subj01, `scaled` gives them whole."""
        folder = tmp_path / "data"
        folder.mkdir()
        np.save(folder / "images.npy", dataset["images"])
        (folder / "betas").mkdir()
        betas, scalers = {}, {}
        for subject, raw in dataset["betas"].items():
            own = dataset["trials"][dataset["trials"]["subject"] == subject]
            betas[subject], scalers[subject] = zscore_by_session(raw, own, subject=subject)
        if corrupt:
            corrupt(betas["subj01"])
        betas |= scaled or {}
        scalers |= facts.pop("scalers", {})
        for subject, values in betas.items():
            np.save(folder / "betas" / f"{subject}.npy", values.astype(np.float16))
            voxels = pd.DataFrame({"i": range(values.shape[1])})
            write_subject_tables(folder, subject, voxels=voxels, scaler=scalers[subject])
        seal_prepared(
            folder,
            trials=dataset["trials"],
            captions=None,
            subjects={subject: values.shape[1] for subject, values in betas.items()},
            config={"kind": "table", "source": "lab", **(config or {})},
            **facts,
        )
        return folder

    return written


@pytest.fixture
def open_view(write_dataset):
    """Return a function that writes and opens a data set, with the statistics of subj01."""
    from mindeye2.doctor.dataset_view import open_dataset, scan_betas
    from mindeye2.doctor.integrity import read_damaged_manifest

    def opened(dataset, **given):
        folder = write_dataset(dataset, **given)
        view, findings = open_dataset(folder, read_damaged_manifest(folder))
        assert findings == []
        return view, scan_betas(view, "subj01")

    return opened


@pytest.fixture
def wrong():
    """Return a function that lists level, check and location of each error and warning."""
    return lambda findings: [(f.level, f.check, f.where) for f in findings if f.is_wrong]
