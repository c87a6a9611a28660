import pytest
import torch

from mindeye2.core.errors import require
from mindeye2.encoders.evaluation_weights import HUB_MODELS, Download, find_wordnet
from mindeye2.encoders.feature_extractors import FEATURE_EXTRACTORS

SWAV = FEATURE_EXTRACTORS["swav"].download


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """Return PyTorch's cache, which is empty."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints"


def test_a_download_is_announced_and_checked(cache, monkeypatch, capsys):
    fetched = []
    monkeypatch.setattr(
        torch.hub,
        "download_url_to_file",
        lambda url, path, hash_prefix: fetched.append((url, path, hash_prefix)),
    )
    SWAV.fetch()
    message = capsys.readouterr().err
    assert "swav_800ep_pretrain.pth.tar (about 113 MB, SHA-256 not stated" in message
    assert "licence CC BY-NC 4.0" in message
    FEATURE_EXTRACTORS["inception"].download.fetch()
    assert [hashed for *_, hashed in fetched] == [None, "0cc3c7bd"]
    assert fetched[0][1] == str(cache / "swav_800ep_pretrain.pth.tar")


def test_a_file_is_found_in_the_folder_before_the_cache(cache, tmp_path):
    file = Download("https://example.org/a/weights.pth", 1, "not stated", "MIT")
    assert file.find(tmp_path) is None
    cache.mkdir(parents=True)
    (cache / "weights.pth").touch()
    assert file.find(None) == file.find(tmp_path) == cache / "weights.pth"
    (tmp_path / "weights.pth").touch()
    assert file.find(tmp_path) == tmp_path / "weights.pth"


def test_a_hub_model_is_found_in_the_folder_or_the_hubs_cache(monkeypatch, tmp_path, capsys):
    hub = require("huggingface_hub", extra="sdxl", purpose="A test")
    model = HUB_MODELS["clip_b"]
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda *_: None)
    assert model.find(tmp_path) is None
    monkeypatch.setattr(
        hub, "try_to_load_from_cache", lambda _, name: "a" if "safetensors" in name else None
    )
    assert model.find(tmp_path) == "openai/clip-vit-base-patch32"
    (tmp_path / "clip-vit-base-patch32").mkdir()
    assert model.find(tmp_path) == str(tmp_path / "clip-vit-base-patch32")
    assert model.fetch() == "openai/clip-vit-base-patch32"
    assert "about 605 MB, licence MIT" in capsys.readouterr().err


def test_wordnet_is_fetched_only_on_request(monkeypatch, tmp_path, capsys):
    nltk = require("nltk", extra="evaluation", purpose="A test")
    monkeypatch.setattr(nltk.data, "path", [])
    asked = []
    monkeypatch.setattr(nltk, "download", lambda _, download_dir: asked.append(download_dir))
    assert find_wordnet(tmp_path, download=False) is None
    assert asked == []
    assert find_wordnet(tmp_path, download=True) is not None
    assert asked == [str(tmp_path)]
    assert "WordNet 3.0 (11 MB, WordNet licence)" in capsys.readouterr().err
    (tmp_path / "corpora" / "wordnet").mkdir(parents=True)
    find_wordnet(tmp_path, download=True)
    assert len(asked) == 1
