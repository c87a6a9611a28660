import os
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from mindeye2.core.errors import ArtifactError
from mindeye2.core.settings import build_settings
from mindeye2.data.kriegeskorte92.kriegeskorte92_files import (
    ADDRESSES,
    PUBLISHED,
    TERMS,
    download_published,
    load_kriegeskorte92,
)
from mindeye2.data.kriegeskorte92.kriegeskorte92_reader import (
    Kriegeskorte92Settings,
    coordinates,
    read_kriegeskorte92,
    split_images,
)
from mindeye2.data.prepared.consistency import check_trials

ROOT = Path(__file__).parents[3]
LABELS = ["human face", "natural inanimate"]


def real_file():
    shared = Path(os.environ.get("MINDEYE2_SHARED", ROOT.parent / "shared"))
    path = shared / "data" / "kriegeskorte92.npz"
    if not path.exists():
        pytest.skip(
            f"the real responses are not at {path}: set MINDEYE2_SHARED to the folder above "
            "data/kriegeskorte92.npz"
        )
    return path


def distances(patterns):
    """1 - Pearson correlation, by NumPy's own function."""
    return 1 - np.corrcoef(patterns)


@pytest.fixture
def patterns():
    """Return responses of 2 subjects in 2 sessions to 24 images, 60 voxels each."""
    return np.random.default_rng(0).standard_normal((2, 2, 24, 60))


@pytest.fixture
def arrays(patterns):
    rng = np.random.default_rng(1)
    return {
        "images": rng.integers(0, 256, (24, 20, 20, 3), dtype=np.uint8),
        "rdm": np.array([[distances(p) for p in subject] for subject in patterns], np.float32),
        "category": np.array(LABELS * 12),
    }


@pytest.fixture
def write(tmp_path, arrays):
    """Return a function that writes a file with some arrays changed or, if None, left out."""

    def save(**changes):
        path = tmp_path / "responses.npz"
        kept = {k: v for k, v in (arrays | changes).items() if v is not None}
        np.savez(path, **kept)
        return path

    return save


def test_coordinates_are_the_patterns_but_for_a_rotation(patterns):
    """Against the patterns themselves, centred over voxels and brought to norm 1."""
    own = patterns[0, 0]
    own = own - own.mean(axis=1, keepdims=True)
    own = own / np.linalg.norm(own, axis=1, keepdims=True)
    found = coordinates(distances(patterns[0, 0]), rng=np.random.default_rng(0), name="a")
    np.testing.assert_allclose(found @ found.T, own @ own.T, atol=1e-10)


def test_coordinates_share_the_variance_evenly(patterns):
    """One strong pattern in all images must not become one strong coordinate."""
    strong = patterns[0, 0] + 5 * np.outer(np.linspace(-1, 1, 24), np.arange(60) % 7)
    found = coordinates(distances(strong), rng=np.random.default_rng(0), name="a")
    variance = found.var(axis=0)
    assert variance.max() < 0.5 * variance.sum()


def test_ridge_on_coordinates_predicts_as_ridge_on_patterns(patterns):
    own = patterns[1, 0]
    own = own - own.mean(axis=1, keepdims=True)
    own = own / np.linalg.norm(own, axis=1, keepdims=True)
    found = coordinates(distances(patterns[1, 0]), rng=np.random.default_rng(3), name="a")
    target = np.random.default_rng(4).standard_normal((18, 5))

    def predict(x):
        weights = np.linalg.solve(x[:18].T @ x[:18] + 0.1 * np.eye(x.shape[1]), x[:18].T @ target)
        return x[18:] @ weights

    np.testing.assert_allclose(predict(found), predict(own), atol=1e-8)


def test_each_session_of_each_subject_is_a_subject(write):
    dataset = read_kriegeskorte92(write(), settings=Kriegeskorte92Settings())
    names = [f"subj{p:02d}-session{s}" for p in (1, 2) for s in (1, 2)]
    assert list(dataset.betas) == names
    assert set(dataset.trials["subject"]) == set(names)
    check_trials(dataset.trials, n_images=24)
    assert set(dataset.captions) == {"a human face", "a natural inanimate object"}


def test_one_scale_per_subject_from_the_images_outside_the_test_split(write):
    dataset = read_kriegeskorte92(write(), settings=Kriegeskorte92Settings())
    fitted = (dataset.trials["split"] != "test").to_numpy()[:24]
    assert 0 < fitted.sum() < 24
    for betas in dataset.betas.values():
        np.testing.assert_allclose(betas[fitted].mean(axis=0), 0, atol=1e-6)
        np.testing.assert_allclose(betas[fitted].std(), 1, rtol=1e-5)
        assert np.ptp(betas[fitted].std(axis=0)) > 0.01  # not coordinate by coordinate


def test_betas_keep_the_distances_of_the_file(write, arrays):
    dataset = read_kriegeskorte92(write(), settings=Kriegeskorte92Settings())
    for subject, rdm in zip(dataset.betas, arrays["rdm"].reshape(4, 24, 24), strict=True):
        own = dataset.betas[subject] / dataset.facts["scale"][subject]
        images = dataset.trials.loc[dataset.trials["subject"] == subject, "image"].to_numpy()
        squared = ((own[:, None] - own[None]) ** 2).sum(axis=2)
        np.testing.assert_allclose(squared, 2 * rdm[np.ix_(images, images)], atol=1e-5)


def test_splits_and_labels_follow_the_image(write, arrays):
    settings = Kriegeskorte92Settings()
    trials = read_kriegeskorte92(write(), settings=settings).trials
    split = np.array(split_images(24, settings=settings))
    assert (trials["split"].to_numpy() == split[trials["image"]]).all()
    assert (trials["category"].to_numpy() == arrays["category"][trials["image"]]).all()


def test_the_first_trials_are_a_fair_sample(write):
    """The file is sorted by category; its order would make the first trials all of one kind."""
    trials = read_kriegeskorte92(
        write(category=np.repeat(LABELS, 12)), settings=Kriegeskorte92Settings()
    ).trials
    assert set(trials["category"][:8]) == set(LABELS)
    assert trials["trial"].tolist() == list(range(1, 25)) * 4


def test_folds_hold_out_every_image_once():
    splits = [split_images(92, settings=Kriegeskorte92Settings(fold=f)) for f in range(4)]
    tested = [[i for i, s in enumerate(split) if s == "test"] for split in splits]
    assert sorted(i for images in tested for i in images) == list(range(92))
    assert {len(t) for t in tested} == {23}
    assert all(split.count("validation") == 8 for split in splits)


def test_the_seed_changes_the_folds_and_nothing_else_does():
    first = split_images(92, settings=Kriegeskorte92Settings(seed=0))
    assert first == split_images(92, settings=Kriegeskorte92Settings(seed=0))
    assert first != split_images(92, settings=Kriegeskorte92Settings(seed=1))


def test_a_fold_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match=r"fold=4 must be below n_folds=4"):
        build_settings(Kriegeskorte92Settings, {"fold": 4})


def test_published_files_are_read_as_the_one_file_is(tmp_path, write, arrays):
    """The MATLAB files have struct arrays of shape (1, subjects, sessions) and (1, images)."""
    distances = np.zeros((1, 2, 2), [("RDM", object), ("name", object)])
    for index in np.ndindex(2, 2):
        distances[(0, *index)] = (arrays["rdm"][index].astype(np.float64), "hIT | AA | session 1")
    stimuli = np.zeros((1, 24), [("image", object), ("category", object)])
    for i in range(24):
        stimuli[0, i] = (arrays["images"][i], str(arrays["category"][i]))
    savemat(tmp_path / PUBLISHED[0], {"RDMs": distances})
    savemat(tmp_path / PUBLISHED[1], {"stimuli_92objs": stimuli})
    one, published = load_kriegeskorte92(write()), load_kriegeskorte92(tmp_path)
    np.testing.assert_array_equal(one.images, published.images)
    np.testing.assert_array_equal(one.rdm, published.rdm)
    assert one.category == published.category


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Return contents of files that stand for the published ones, at addresses on this disk."""
    (tmp_path / "web").mkdir()
    contents = {name: name.encode() * 50 for name in PUBLISHED}
    for name, content in contents.items():
        path = tmp_path / "web" / name
        path.write_bytes(content)
        monkeypatch.setitem(ADDRESSES, name, path.as_uri())
    return contents


def test_published_files_are_downloaded_after_their_terms_were_shown(tmp_path, published):
    said, folder = [], tmp_path / "here"
    download_published(folder, log=lambda text: said.append((text, folder.exists())))
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == published
    assert said[0] == (f"{TERMS}\n", False)
    assert "0.0 MB" in said[1][0]
    assert str(folder / PUBLISHED[0]) in said[1][0]


def test_files_that_are_there_are_not_downloaded_again(tmp_path, published):
    (tmp_path / PUBLISHED[0]).write_bytes(b"mine")
    download_published(tmp_path, log=lambda _: None)
    assert (tmp_path / PUBLISHED[0]).read_bytes() == b"mine"
    assert (tmp_path / PUBLISHED[1]).read_bytes() == published[PUBLISHED[1]]
    said = []
    download_published(tmp_path, log=said.append)
    assert said == []


@pytest.mark.usefixtures("published")
def test_a_file_needs_no_download(tmp_path):
    file = tmp_path / "mine.npz"
    file.touch()
    said = []
    download_published(file, log=said.append)
    assert said == []


def test_without_internet_the_address_and_the_folder_are_named(tmp_path, published):
    (tmp_path / "web" / PUBLISHED[1]).unlink()
    with pytest.raises(
        ArtifactError, match=r"supplementalData\.mat cannot be reached.*put it into"
    ):
        download_published(tmp_path / "here", log=lambda _: None)
    # What came is kept; the second try asks for the rest only.
    assert [p.name for p in (tmp_path / "here").iterdir()] == [PUBLISHED[0]]
    assert published


def test_something_large_is_not_downloaded(tmp_path, published, monkeypatch):
    monkeypatch.setattr("mindeye2.data.kriegeskorte92.kriegeskorte92_files._LARGEST", 100)
    with pytest.raises(ArtifactError, match=f"has {len(published[PUBLISHED[0]])} bytes"):
        download_published(tmp_path / "here", log=lambda _: None)
    assert list((tmp_path / "here").iterdir()) == []


def test_addresses_name_a_commit_and_the_file():
    for name, address in ADDRESSES.items():
        assert address.startswith("https://")
        assert address.endswith(f"/demos/92imageData/{name}")
        assert any(len(part) == 40 for part in address.split("/"))


def test_nothing_is_downloaded_unasked(tmp_path, published):
    with pytest.raises(ArtifactError, match=r"does not exist.*kriegeskorte92\.download=true"):
        read_kriegeskorte92(tmp_path, settings=Kriegeskorte92Settings())
    with pytest.raises(ArtifactError, match="damaged or of another kind"):  # it was asked for
        read_kriegeskorte92(tmp_path, settings=Kriegeskorte92Settings(download=True))
    assert published


def test_a_missing_file_is_named_with_its_public_source(tmp_path):
    with pytest.raises(ArtifactError, match=r"nothing\.npz does not exist.*rsagroup/rsatoolbox"):
        load_kriegeskorte92(tmp_path / "nothing.npz")


def test_a_folder_says_which_published_file_is_missing(tmp_path):
    (tmp_path / PUBLISHED[0]).touch()
    with pytest.raises(ArtifactError, match=r"supplementalData\.mat does not exist") as caught:
        load_kriegeskorte92(tmp_path)
    assert f"{tmp_path / PUBLISHED[0]} and" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 truncated"])
def test_a_damaged_file_is_refused(tmp_path, content):
    path = tmp_path / "responses.npz"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match="damaged or of another kind"):
        load_kriegeskorte92(path)


def test_damaged_published_files_are_refused(tmp_path):
    for name in PUBLISHED:
        (tmp_path / name).write_bytes(b"no MATLAB file" * 20)
    with pytest.raises(ArtifactError, match="damaged or of another kind"):
        load_kriegeskorte92(tmp_path)


def test_a_missing_array_is_named(write):
    with pytest.raises(ArtifactError, match=r"has no array 'category'"):
        load_kriegeskorte92(write(category=None))


def test_arrays_that_do_not_fit_each_other_are_refused(write, arrays):
    with pytest.raises(ArtifactError, match=r"'rdm'.*shape \(2, 2, 23, 23\).*24 images"):
        load_kriegeskorte92(write(rdm=arrays["rdm"][:, :, 1:, 1:]))


def test_images_of_another_type_are_refused(write, arrays):
    with pytest.raises(ArtifactError, match=r"'images'.*float32; it must be uint8"):
        load_kriegeskorte92(write(images=arrays["images"].astype(np.float32)))


def test_nan_is_refused_with_its_position(write, arrays):
    rdm = arrays["rdm"].copy()
    rdm[1, 0, 3, 5] = np.nan
    with pytest.raises(ArtifactError, match=r"subj02-session1 holds 1 .*between images 3 and 5"):
        read_kriegeskorte92(write(rdm=rdm), settings=Kriegeskorte92Settings())


def test_distances_without_patterns_are_refused(write, arrays):
    """An image at distance 0 from two others that are far apart."""
    rdm = arrays["rdm"].copy()
    rdm[0, 1, 0, 1:3] = rdm[0, 1, 1:3, 0] = 0
    with pytest.raises(ArtifactError, match=r"subj01-session2 is no Gram matrix"):
        read_kriegeskorte92(write(rdm=rdm), settings=Kriegeskorte92Settings())


def test_similarities_are_refused(write, arrays):
    with pytest.raises(ArtifactError, match=r"not a matrix of correlation distances"):
        read_kriegeskorte92(write(rdm=1 - arrays["rdm"]), settings=Kriegeskorte92Settings())


def test_the_real_file_is_what_was_published():
    dataset = read_kriegeskorte92(real_file(), settings=Kriegeskorte92Settings())
    check_trials(dataset.trials, n_images=92)
    assert dataset.images.shape == (92, 175, 175, 3)
    assert {b.shape for b in dataset.betas.values()} == {(92, 92)}
    assert len(dataset.betas) == 8
    counts = dataset.trials.groupby("subject")["category"].value_counts()
    assert counts["subj01-session1"].to_dict() == {
        "natural inanimate": 23,
        "artificial inanimate": 21,
        "human bodypart": 12,
        "human face": 12,
        "nonhuman bodypart": 12,
        "nonhuman face": 12,
    }


def test_real_sessions_of_a_subject_agree_more_than_subjects_do():
    """The order of subjects and sessions in the file, checked by the responses themselves."""
    rdm = load_kriegeskorte92(real_file()).rdm
    above = np.triu_indices(92, 1)
    flat = rdm[:, :, above[0], above[1]].reshape(8, -1)
    similarity = np.corrcoef(flat)
    within = np.mean([similarity[2 * p, 2 * p + 1] for p in range(4)])
    between = np.mean([similarity[i, j] for i in range(8) for j in range(8) if i // 2 != j // 2])
    assert within > between > 0.1
