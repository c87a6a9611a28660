"""Folders for the hub: equal decoding after a copy, a card that the hub reads, messages."""

import shutil

import huggingface_hub
import pytest
import torch
from huggingface_hub import ModelCard
from huggingface_hub.errors import HfHubHTTPError
from typer.testing import CliRunner

from mindeye2 import Decoder
from mindeye2.cli import app
from mindeye2.core.artifacts import write_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.released import hub
from mindeye2.released.hub import export_folder, pretrained_folder


@pytest.fixture
def run(untrained_run, tmp_path):
    """Return the folder of an untrained run, with more than its manifest lists."""
    folder = shutil.copytree(untrained_run, tmp_path / "run")
    write_manifest(folder, stage="train", config={"task": "shared", "recipe": "laptop"})
    (folder / "state").mkdir()
    (folder / "state" / "moments.bin").write_bytes(b"not for others")
    return folder


def test_a_copy_decodes_as_the_run_and_leaves_out_training_state(tmp_path, run, rng):
    out = tmp_path / "hub" / "model"
    done = CliRunner().invoke(app, ["export", str(run), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "Decoder.from_pretrained" in done.output
    betas = torch.randn(2, 30, generator=rng).numpy()
    tokens = [
        d.predict(betas, subject="subj01")
        for d in (Decoder.from_run(run, device="cpu"), Decoder.from_pretrained(out, device="cpu"))
    ]
    torch.testing.assert_close(*tokens, rtol=0, atol=0)
    assert not (out / "state").exists()
    card = ModelCard.load(out / "README.md")
    assert card.data.library_name == "mindeye2"
    assert "recipe `laptop`" in card.text
    assert "| subj01 | 30 |" in card.text
    assert "terms of the data set" in card.text


def test_a_repository_is_downloaded_and_opened(tmp_path, run, monkeypatch):
    asked = []

    def download(name, revision):
        asked.append((name, revision))
        return str(shutil.copytree(run, tmp_path / "cache"))

    monkeypatch.setattr(hub.huggingface_hub, "snapshot_download", download)
    decoder = Decoder.from_pretrained("lab/decoder", revision="v1", device="cpu")
    assert decoder.subjects == ["subj01"]
    assert asked == [("lab/decoder", "v1")]


def test_what_is_neither_folder_nor_repository_is_named(monkeypatch):
    with pytest.raises(ArtifactError, match=r"is neither a folder nor the name of a repository"):
        pretrained_folder("no such / name", revision=None)

    def fail(*_, **__):
        raise HfHubHTTPError(
            "404 Client Error",
            response=huggingface_hub.utils.httpx.Response(
                404, request=huggingface_hub.utils.httpx.Request("GET", "https://example.org")
            ),
        )

    monkeypatch.setattr(hub.huggingface_hub, "snapshot_download", fail)
    with pytest.raises(ArtifactError, match=r"lab/decoder is no folder here, and could not be"):
        pretrained_folder("lab/decoder", revision=None)


def test_folders_that_hold_files_are_not_overwritten(tmp_path, run):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(ArtifactError, match=r"--out .* exists and is not overwritten"):
        export_folder(run, out=tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["notes.txt"]


def test_an_upload_creates_a_private_repository(tmp_path, run, monkeypatch):
    calls = []

    class Api:
        def create_repo(self, name, *, private, exist_ok):
            calls.append(("create", name, private, exist_ok))

        def upload_folder(self, *, repo_id, folder_path):
            calls.append(("upload", repo_id, sorted(p.name for p in folder_path.iterdir())))
            return "https://hub/lab/decoder"

    monkeypatch.setattr(hub.huggingface_hub, "HfApi", Api)
    words = ["export", str(run), "--out", str(tmp_path / "out"), "--push", "lab/decoder"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "https://hub/lab/decoder" in done.output
    assert calls[0] == ("create", "lab/decoder", True, True)
    assert {"README.md", "model.safetensors", "manifest.json"} <= set(calls[1][2])
    decoder = Decoder.from_run(run, device="cpu")
    address = decoder.push_to_hub("lab/decoder", out=tmp_path / "again")
    assert address == "https://hub/lab/decoder"
    assert calls[2:] == calls[:2]


def test_a_failed_upload_keeps_the_folder_and_says_how_to_go_on(tmp_path, run, monkeypatch):
    class Api:
        def create_repo(self, *_, **__):
            raise OSError("no connection")

    monkeypatch.setattr(hub.huggingface_hub, "HfApi", Api)
    words = ["export", str(run), "--out", str(tmp_path / "out"), "--push", "lab/decoder"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert "hf upload lab/decoder" in done.output
    assert (tmp_path / "out" / "README.md").exists()
