import numpy as np
import pytest
from typer.testing import CliRunner

from mindeye2.cli import app
from mindeye2.core.artifacts import read_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.data.laion_fmri import LaionFmriSettings
from mindeye2.data.prepared import open_prepared
from mindeye2.data.prepared.reader import Prepared
from mindeye2.doctor import doctor
from mindeye2.stages.prepare import LaionFmriPreparation, prepare


def test_betas_are_those_of_the_volumes_of_every_trial(laion, read):
    dataset = read(laion.root, subjects=("sub-01",))
    own, voxels = laion.subjects["sub-01"], dataset.voxels["sub-01"]
    ijk = tuple(voxels[["i", "j", "k"]].to_numpy().T)
    assert (3, 0, 1) not in list(zip(*ijk, strict=True))  # NaN in session 2
    assert len(voxels) == own.inside.sum() - 1
    expected = np.concatenate([own.betas[s][ijk].T for s in (1, 2, 5)])
    np.testing.assert_array_equal(dataset.betas["sub-01"][:], expected)
    np.testing.assert_array_equal(dataset.betas["sub-01"][40:60], expected[40:60])
    assert dataset.trials["source_image"].tolist() == [
        name for shown in own.labels.values() for name in shown
    ]
    assert dataset.trials.groupby("session")["run"].max().tolist() == [4, 4, 4]


def test_every_image_has_its_pixels_embedding_and_best_human_caption(laion, read):
    dataset = read(laion.root, subjects=("sub-03",))
    shown = dataset.trials.drop_duplicates("image").sort_values("image")
    embedding = dataset.embeddings["laion-clip"].values[:]
    for row in (0, 7, len(shown) - 1):
        name = shown["source_image"].iloc[row]
        true = laion.embedding[name]
        np.testing.assert_allclose(embedding[row, 0], true / np.linalg.norm(true), atol=1e-3)
        assert dataset.captions[row] == f"human 1 of {name}"
        image = dataset.images[row : row + 1][0]
        np.testing.assert_array_equal(image[2, 2], laion.corner[name])
    # Rows in another order than the file's.
    some = np.array([0, 5, 9])
    np.testing.assert_array_equal(dataset.embeddings["laion-clip"].values[some], embedding[some])


def test_without_a_split_the_images_that_all_subjects_saw_are_the_test(laion, read):
    trials = read(laion.root).trials
    test = trials["source_image"].str.startswith("shared_")
    assert ((trials["split"] == "test") == test).all()
    assert trials.groupby("image")["split"].nunique().max() == 1
    assert set(trials["split"]) == {"train", "validation", "test"}


def test_scaled_integers_are_read_as_what_they_mean(download, read):
    import nibabel

    path = download.betas("sub-03", 1)
    values = download.truth.subjects["sub-03"].betas[1]
    image = nibabel.Nifti1Image(np.rint(values * 1000).astype("i2"), np.eye(4))
    image.header.set_slope_inter(0.001, 0.5)
    path.unlink()
    nibabel.save(image, path)
    dataset = read(download.root, subjects=("sub-03",))
    ijk = tuple(dataset.voxels["sub-03"][["i", "j", "k"]].to_numpy().T)
    stored = nibabel.load(path).get_fdata()[ijk].T
    np.testing.assert_allclose(dataset.betas["sub-03"][:], stored, atol=1e-5)


def test_an_unknown_label_and_a_truncated_file_are_named(download, read):
    def rename(table):
        return table.assign(label=table["label"].where(table.index != 3, "elsewhere.jpg"))

    download.change_trials("sub-01", 5, rename)
    message = r"ses-05.*shows 1 images that .*metadata\.csv does not list, .*'elsewhere\.jpg'"
    with pytest.raises(ArtifactError, match=message):
        read(download.root)
    path = download.betas("sub-03", 1)
    name = path.relative_to(download.root)
    download.replace(name, path.read_bytes()[: path.stat().st_size // 2])
    dataset = read(download.root, subjects=("sub-03",))  # its header and first volume are whole
    with pytest.raises(ArtifactError, match=r"ses-01.*was not downloaded to its end: EOFError"):
        dataset.betas["sub-03"][:]
    download.replace(name, path.read_bytes()[:200])
    with pytest.raises(ArtifactError, match=r"\(200 bytes\) is damaged or was not downloaded"):
        read(download.root, subjects=("sub-03",))


def test_what_is_there_is_reported(laion, read):
    dataset = read(laion.root)
    notes = " ".join(dataset.notes)
    assert "sub-01: sessions 3, 4, 6, " in notes
    assert "(3 of 30 are here)" in notes
    assert (
        "aws s3 sync --no-sign-request s3://laion-fmri/derivatives/glmsingle-tedana/sub-01 "
        in notes
    )
    assert (
        "NaN in a session, at the edge of the brain: 1 in session 2; 23 voxels are left" in notes
    )
    assert dataset.facts["counts"]["sub-01"]["nan_voxels_by_session"] == {"2": 1}
    assert dataset.facts["glmsingle"] == "1.2"


def test_a_download_becomes_a_data_set_z_scored_by_session(laion, tmp_path, capsys):
    settings = LaionFmriPreparation(
        laion_fmri=LaionFmriSettings(subjects=("sub-01",), image_size=32)
    )
    prepare(settings, source=laion.root, out=tmp_path)
    assert "cite Zerbe" in capsys.readouterr().err
    prepared = open_prepared(tmp_path)
    own, voxels = laion.subjects["sub-01"], prepared.voxels("sub-01")
    ijk = tuple(voxels[["i", "j", "k"]].to_numpy().T)
    trials = prepared.trials_of("sub-01")
    for session, n in ((1, 44), (2, 48), (5, 40)):
        rows = trials.index[trials["session"] == session]
        assert len(rows) == n
        values = own.betas[session][ijk].T
        fitted = values[(trials.loc[rows, "split"] != "test").to_numpy()]
        scaled = (values - fitted.mean(0)) / fitted.std(0)
        np.testing.assert_allclose(prepared.betas("sub-01")[rows], scaled, atol=4e-3)
    targets = prepared.targets("laion-clip").astype(np.float32)
    np.testing.assert_allclose((targets**2).mean(axis=-1), 1, atol=1e-2)
    assert read_manifest(tmp_path, stage="prepare")["image_split"] == "shared"
    levels = {f.check: f.level for f in doctor(tmp_path).findings}
    assert "error" not in levels.values()


def test_a_late_nan_is_refused_with_its_trial(download):
    """The first volume shows voxels that were never fitted, not single values."""
    import nibabel

    values = download.truth.subjects["sub-03"].betas[1].copy()
    values[1, 0, 1, 9] = np.nan
    path = download.betas("sub-03", 1)
    path.unlink()
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    settings = LaionFmriPreparation(
        laion_fmri=LaionFmriSettings(subjects=("sub-03",), image_size=32)
    )
    with pytest.raises(ArtifactError, match=r"betas of sub-03 hold 1 .*NaN"):
        prepare(settings, source=download.root, out=download.root / "out")


def test_training_and_test_sessions_are_chosen_apart(laion, read):
    """Sessions of which only test trials are kept are still z-scored on their other trials."""
    trials = read(laion.root, subjects=("sub-01",), train_sessions=(1,)).trials
    kept = trials[trials["split"] != "scaling"]
    assert set(kept.loc[kept["split"] != "test", "session"]) == {1}
    assert set(kept.loc[kept["split"] == "test", "session"]) == {1, 2, 5}
    assert set(trials.loc[trials["split"] == "scaling", "session"]) == {2, 5}
    assert not trials.loc[trials["split"] == "scaling", "source_image"].str.startswith("sh").any()


TINY = [
    *("model.n_latent=16", "model.n_blocks=1", "optimizer.steps=3", "per_subject=8"),
    "train_prior=false",
]


def run(*words, settings=(), code=0):
    """Run a command with settings and return what it prints."""
    options = [word for s in settings for word in ("--set", s)]
    done = CliRunner().invoke(app, [*map(str, words), *options])
    assert done.exit_code == code, done.output
    return done.output


def decode(folder, *, recipe, subject):
    """Train, decode tokens, score them, and return the page."""
    data, model, decoded, scores = (folder / n for n in ("data", "run", "rec", "scores"))
    run("train", "--recipe", recipe, "--source", data, "--out", model, settings=TINY)
    words = ("reconstruct", "--source", data, "--init", model, "--out", decoded)
    run(*words, "--subject", subject, settings=["images=false"])
    run("evaluate", "--source", decoded, "--out", scores)
    run("report", "--source", scores, "--out", folder / "page")
    return (folder / "page" / "index.html").read_text()


@pytest.mark.slow
def test_embeddings_alone_lead_to_retrieval_and_a_page(download, tmp_path):
    (download.root / "stimuli/task-images_stimuli.h5").unlink()
    chosen = ["laion_fmri.subjects=[sub-01]", "laion_fmri.split=tau"]
    chosen.append(f"laion_fmri.splits_file={download.root / 'splits'}")
    words = ("prepare", "laion_fmri", "--source", download.root, "--out", tmp_path / "data")
    assert "--recipe embeddings" in run(*words, settings=chosen)
    page = decode(tmp_path, recipe="embeddings", subject="sub-01")
    assert "split tau (pool subject)" in page
    assert "by its name (without images, copies" in page
    scores = read_manifest(tmp_path / "scores", stage="evaluate")
    assert scores["image_split"] == "tau (pool subject)"
    findings = doctor(tmp_path / "data").findings
    assert [f for f in findings if f.level == "error"] == []
    assert "trial order" in {f.check for f in findings}
    words = ("reconstruct", "--source", tmp_path / "data", "--init", tmp_path / "run")
    refused = run(*words, "--subject", "sub-01", "--out", tmp_path / "pictures", code=2)
    assert "generates pictures from tokens of 'laion-clip'" in " ".join(refused.split())


@pytest.mark.slow
def test_images_lead_to_tokens_of_an_encoder_and_a_page(laion, tmp_path):
    chosen = ["laion_fmri.subjects=[sub-03]", "laion_fmri.image_size=64"]
    chosen.append("encoders=[lite0,lowlevel]")
    words = ("prepare", "laion_fmri", "--source", laion.root, "--out", tmp_path / "data")
    run(*words, settings=chosen)
    assert open_prepared(tmp_path / "data").images.shape[1:] == (64, 64, 3)
    assert "split shared" in decode(tmp_path, recipe="laptop", subject="sub-03")


def test_encoders_are_refused_without_images(download, tmp_path):
    (download.root / "stimuli/task-images_stimuli.h5").unlink()
    words = ("prepare", "laion_fmri", "--source", download.root, "--out", tmp_path / "data")
    refused = run(*words, settings=["encoders=[lite0]", "laion_fmri.subjects=[sub-03]"], code=2)
    assert "encode images, and the source has none, only" in " ".join(refused.split())


def test_a_data_set_without_images_counts_them_and_refuses_to_show_them(tmp_path):
    prepared = Prepared(folder=tmp_path, manifest={"has_images": False, "n_images": 7})
    assert prepared.n_images == 7
    with pytest.raises(ArtifactError, match=r"prepared without images.*nothing that shows"):
        _ = prepared.images
