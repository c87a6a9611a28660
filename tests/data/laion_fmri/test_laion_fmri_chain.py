"""The stages on the small download, with published embeddings only and with images."""

import pytest
from typer.testing import CliRunner

from mindeye2.cli import app
from mindeye2.core.artifacts import read_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.data.prepared import open_prepared
from mindeye2.data.prepared.reader import Prepared
from mindeye2.doctor import doctor

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
