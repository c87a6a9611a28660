"""Evaluations that are interrupted, or run by several processes, give the same files."""

import json
import shutil

import pandas as pd
import pytest

from mindeye2.core.artifacts import read_manifest, write_manifest
from mindeye2.stages.evaluate import EvaluateSettings, evaluate, image_scores


def files_of(folder):
    return read_manifest(folder, stage="evaluate")["files"]


@pytest.fixture
def settings(files):
    return EvaluateSettings(
        protocol="mindeye2-2024-first-caption", networks=files, n_resamples=100, batch_size=2
    )


@pytest.fixture
def whole(six, settings, pooling, tmp_path):  # noqa: ARG001
    """Return the folder of an evaluation that was not interrupted."""
    evaluate(settings, source=six, out=tmp_path / "whole", device="cpu")
    return tmp_path / "whole"


def interrupt(settings, six, out, monkeypatch, *, at):
    """Interrupt an evaluation where a network is loaded; return the networks that were."""
    load, loaded = image_scores.load_feature_extractor, []

    def stopping(name, **options):
        if name == at:
            raise KeyboardInterrupt
        loaded.append(name)
        return load(name, **options)

    monkeypatch.setattr(image_scores, "load_feature_extractor", stopping)
    if at is None:
        evaluate(settings, source=six, out=out, resume=True, device="cpu")
    else:
        with pytest.raises(KeyboardInterrupt):
            evaluate(settings, source=six, out=out, device="cpu")
    monkeypatch.setattr(image_scores, "load_feature_extractor", load)
    return loaded


def test_finished_networks_are_not_computed_again(six, settings, whole, tmp_path, monkeypatch):
    out = tmp_path / "stopped"
    assert interrupt(settings, six, out, monkeypatch, at="effnet") == [
        "alexnet2", "inception", "clip",
    ]  # fmt: skip
    assert not (out / "scores.parquet").exists()
    assert interrupt(settings, six, out, monkeypatch, at=None) == ["effnet", "swav"]
    assert files_of(out) == files_of(whole)
    assert not (out / "state").exists()


def test_a_batch_that_is_interrupted_is_computed_again(
    six, settings, whole, tmp_path, monkeypatch
):
    """Other batches of the network are kept."""
    compute, left = image_scores.layer_features, iter(range(100))

    def stopping(*words, **options):
        if next(left) == 5:
            raise KeyboardInterrupt
        return compute(*words, **options)

    monkeypatch.setattr(image_scores, "layer_features", stopping)
    with pytest.raises(KeyboardInterrupt):
        evaluate(settings, source=six, out=tmp_path / "stopped", device="cpu")
    records = sorted(p.name for p in (tmp_path / "stopped/state/alexnet2-seen/state").glob("*-*"))
    assert len(records) == 3
    evaluate(settings, source=six, out=tmp_path / "stopped", resume=True, device="cpu")
    assert files_of(tmp_path / "stopped") == files_of(whole)


def test_scores_of_other_reconstructions_are_forgotten(six, settings, tmp_path, monkeypatch):
    folder = shutil.copytree(six.parent, tmp_path / "copy") / "decoded"
    out = tmp_path / "copy" / "scores"
    interrupt(settings, folder, out, monkeypatch, at="alexnet2")
    shutil.copy(folder / "lowlevel.npy", folder / "unclip.npy")
    manifest = json.loads((folder / "manifest.json").read_text())
    facts = {k: manifest[k] for k in ("config", "subject", "training_images")}
    write_manifest(folder, stage="reconstruct", **facts)
    monkeypatch.setattr(image_scores, "PAPER", ())
    evaluate(settings, source=folder, out=out, resume=True, device="cpu")
    table = pd.read_parquet(out / "scores.parquet")
    assert (table["pixcorr_unclip"] == table["pixcorr_lowlevel"]).all()


@pytest.mark.usefixtures("pooling")
def test_a_finished_folder_is_computed_again_only_where_scores_were_missing(
    six, settings, tmp_path, monkeypatch
):
    monkeypatch.setattr(image_scores, "PAPER", (("alexnet2",),))
    out, few = tmp_path / "scores", settings.model_copy(update={"networks": tmp_path / "none"})
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "hub"))
    evaluate(few, source=six, out=out, device="cpu")
    assert "alexnet2_unclip" not in pd.read_parquet(out / "scores.parquet")
    before = read_manifest(out, stage="evaluate")["missing"]
    assert interrupt(settings, six, out, monkeypatch, at=None) == ["alexnet2"]
    assert len(read_manifest(out, stage="evaluate")["missing"]) < len(before)


@pytest.mark.slow
def test_several_processes_write_the_same_files(six, networks, tmp_path, launch_command):
    """One of two is killed, three go on."""
    settings = {
        "protocol": "mindeye2-2024-first-caption", "networks": str(networks),
        "n_resamples": 100, "batch_size": 2,
    }  # fmt: skip
    out = six.parent
    evaluate(EvaluateSettings(**settings), source=six, out=out / "one", device="cpu")
    (tmp_path / "settings.yaml").write_text(json.dumps(settings))
    words = ["evaluate", "--source", six, "--config", tmp_path / "settings.yaml"]
    codes, errors = launch_command(2, *words, "--out", out / "several", killed=(1, 2))
    assert codes == [3, -9], errors
    assert (out / "several" / "state" / "pixels").exists()
    codes, errors = launch_command(3, *words, "--out", out / "several", "--resume")
    assert codes == [0, 0, 0], errors
    assert files_of(out / "several") == files_of(out / "one")
    assert "clip_blended" in pd.read_parquet(out / "several" / "scores.parquet")
