import re

import numpy as np
import pandas as pd
import pytest

from mindeye2.core.errors import ArtifactError
from mindeye2.data.prepared import open_prepared
from mindeye2.data.prepared.subject_writer import SubjectSource, write_subject
from mindeye2.data.prepared.writer import seal_prepared, write_images
from mindeye2.data.prepared.zscore import zscore_by_session

N_IMAGES = 10
SPLITS = ["train"] * 6 + ["validation"] * 2 + ["test"] * 2


@pytest.fixture
def trials():
    """Return two subjects who saw each image twice, subj02 in reverse order."""
    shown = np.tile(np.arange(N_IMAGES), 2)
    tables = [
        pd.DataFrame(
            {
                "subject": subject,
                "session": np.repeat([1, 2], N_IMAGES),
                "run": 1,
                "trial": np.tile(np.arange(1, N_IMAGES + 1), 2),
                "image": images,
                "source_image": images + 100,
                "repeat": np.repeat([0, 1], N_IMAGES),
                "split": [SPLITS[i] for i in images],
            }
        )
        for subject, images in {"subj01": shown, "subj02": shown[::-1]}.items()
    ]
    return pd.concat(tables, ignore_index=True)


@pytest.fixture
def raw():
    """Return betas by subject before z-scoring."""
    rng = np.random.default_rng(0)
    counts = {"subj01": 5, "subj02": 3}
    return {name: rng.normal(size=(20, n)).astype(np.float32) for name, n in counts.items()}


@pytest.fixture
def write(trials, raw, tmp_path):
    """Return what writes a data set, and gives its folder."""

    def written(captions):
        images = np.random.default_rng(1).integers(0, 256, (N_IMAGES, 8, 8, 3), dtype=np.uint8)
        write_images(tmp_path / "images.npy", images, trials=trials)
        for name, betas in raw.items():
            own = trials[trials["subject"] == name]
            voxels = pd.DataFrame({"i": range(betas.shape[1]), "roi": "V1"})
            write_subject(
                tmp_path, SubjectSource(name=name, betas=betas, trials=own, voxels=voxels)
            )
        (tmp_path / "targets" / "lite0").mkdir(parents=True)
        np.save(tmp_path / "targets" / "lite0" / "values.npy", np.ones((N_IMAGES, 4), np.float16))
        seal_prepared(
            tmp_path,
            trials=trials,
            captions=captions,
            subjects={name: betas.shape[1] for name, betas in raw.items()},
            config={"seed": 0},
        )
        return tmp_path

    return written


@pytest.fixture
def prepared(write):
    return open_prepared(write([f"image {i}" for i in range(N_IMAGES)]))


def test_the_reader_gives_what_the_writer_was_given(prepared, trials, raw):
    assert prepared.n_voxels == {"subj01": 5, "subj02": 3}
    assert prepared.subjects == ["subj01", "subj02"]
    assert prepared.captions == [f"image {i}" for i in range(N_IMAGES)]
    assert prepared.images.shape == (N_IMAGES, 8, 8, 3)
    own = trials[trials["subject"] == "subj02"]
    scaled, _ = zscore_by_session(raw["subj02"], own, subject="subj02")
    np.testing.assert_allclose(prepared.betas("subj02"), scaled, atol=2e-3)
    assert prepared.voxels("subj02")["i"].tolist() == [0, 1, 2]
    assert prepared.targets("lite0").shape == (N_IMAGES, 4)


def test_the_index_of_a_subject_s_trials_is_the_row_of_its_betas(prepared):
    table = prepared.trials_of("subj02", "test", sessions=[2])
    assert table["image"].tolist() == [9, 8]
    assert table.index.tolist() == [10, 11]


def test_a_split_has_its_own_images(prepared):
    assert [prepared.images_of(s).tolist() for s in ("train", "validation", "test")] == [
        [0, 1, 2, 3, 4, 5],
        [6, 7],
        [8, 9],
    ]


def test_large_arrays_stay_on_disk(prepared):
    assert isinstance(prepared.betas("subj01"), np.memmap)
    assert isinstance(prepared.images, np.memmap)


def test_a_data_set_without_captions_has_none(write):
    assert open_prepared(write(None)).captions is None


@pytest.mark.parametrize("call", ["trials_of", "betas", "voxels"])
def test_an_unknown_subject_is_refused_with_the_known_ones(prepared, call):
    with pytest.raises(
        ValueError, match=r"subject must be one of \['subj01', 'subj02'\], got 'sub"
    ):
        getattr(prepared, call)("sub01")


def test_an_encoder_that_was_not_run_is_refused_with_the_command_that_runs_it(prepared):
    prepared.manifest["config"] = {"kind": "table", "source": "../betas"}
    folder = prepared.folder
    command = (
        f"mindeye2 prepare table --source {folder.parent / 'betas'} --out {folder} --resume "
        "--set 'encoders=[clip]'"
    )
    known = "no targets of the encoder 'clip', only ['lite0']"
    with pytest.raises(ArtifactError, match=f"{re.escape(known)}.*{re.escape(command)}"):
        prepared.targets("clip")
    with pytest.raises(ArtifactError, match=r"encoders 'a', 'b', only.*'encoders=\[a,b\]'"):
        prepared.require_targets(["lite0", "b", "a"])


def test_published_embeddings_are_not_called_encoders_to_run(prepared):
    with pytest.raises(
        ArtifactError, match=r"laion-clip are no encoders .* laion_fmri.embeddings"
    ):
        prepared.targets("laion-clip")


def test_a_truncated_array_is_named_when_it_is_opened(prepared):
    path = prepared.folder / "betas" / "subj01.npy"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ArtifactError, match=r"subj01\.npy has \d+ bytes, but \d+ bytes were"):
        open_prepared(prepared.folder)
    with pytest.raises(ArtifactError, match=r"subj01\.npy is truncated or not a NumPy array"):
        prepared.betas("subj01")


def test_a_missing_array_is_named(prepared):
    (prepared.folder / "images.npy").unlink()
    with pytest.raises(ArtifactError, match=r"images\.npy is missing"):
        _ = prepared.images
