"""Getting a published file: said before it is done; a hub that is played by a small object."""

import hashlib
from types import SimpleNamespace

import pytest

from mindeye2.core.errors import ArtifactError
from mindeye2.released import download, room
from mindeye2.released.download import fetch
from mindeye2.released.files import PUBLISHED

CONTENT = b"weights"


class Hub:
    """Answers as huggingface_hub does."""

    def __init__(self, folder, *, online=True, sha256=None):
        self.folder, self.online = folder, online
        self.sha256 = sha256 or hashlib.sha256(CONTENT).hexdigest()
        self.constants = SimpleNamespace(HF_HUB_CACHE=str(folder))
        self.got = []

    def HfApi(self):  # noqa: N802 - the library's name
        return self

    def get_paths_info(self, repository, paths, repo_type):  # noqa: ARG002
        if not self.online:
            raise ConnectionError("no route")
        return [SimpleNamespace(size=len(CONTENT), lfs=SimpleNamespace(sha256=self.sha256))]

    def repo_info(self, repository, repo_type):  # noqa: ARG002
        return SimpleNamespace(card_data=SimpleNamespace(license="mit"))

    def try_to_load_from_cache(self, **where):
        path = self.folder / where["filename"]
        return str(path) if path.exists() else None

    def hf_hub_download(self, **where):
        path = self.folder / where["filename"]
        path.write_bytes(CONTENT)
        self.got.append(where)
        return str(path)


@pytest.fixture
def play(monkeypatch, tmp_path):
    def use(**options):
        hub = Hub(tmp_path, **options)
        monkeypatch.setattr(download, "require", lambda *_, **__: hub)
        return hub

    return use


def test_what_it_is_is_said_and_nothing_is_downloaded_without_consent(play, tmp_path):
    hub, said = play(), []
    with pytest.raises(ValueError, match=r"nothing was downloaded\. Add --yes"):
        fetch(PUBLISHED["bigG_to_L"], out=tmp_path, agreed=False, say=said.append)
    assert hub.got == []
    for part in ("7 bytes", "licence", "'mit'", "sha256", "free on the disk"):
        assert part in said[0]


def test_with_consent_it_is_downloaded_once_and_checked(play, tmp_path):
    hub = play()
    for _ in range(2):
        path = fetch(PUBLISHED["bigG_to_L"], out=tmp_path, agreed=True, say=lambda _: None)
        assert path.read_bytes() == CONTENT
    assert len(hub.got) == 1


def test_a_damaged_download_is_refused(play, tmp_path):
    play(sha256="0" * 64)
    with pytest.raises(ArtifactError, match="another sha256 than the hub says"):
        fetch(PUBLISHED["bigG_to_L"], out=tmp_path, agreed=True, say=lambda _: None)


def test_without_internet_it_says_which_file_to_put_where(play, tmp_path):
    play(online=False)
    message = r"cannot be reached.*resolve/main/gnet_multisubject.pt.*mindeye2 import gnet_multi"
    with pytest.raises(ArtifactError, match=message):
        fetch(PUBLISHED["gnet"], out=tmp_path, agreed=True)


def test_a_full_disk_is_said_before_the_download(play, tmp_path, monkeypatch):
    hub = play()
    monkeypatch.setattr(room, "free_disk", lambda _: 3)
    with pytest.raises(ArtifactError, match="needs 7 bytes on the disk"):
        fetch(PUBLISHED["unclip6"], out=tmp_path, agreed=True, say=lambda _: None)
    assert hub.got == []


def test_what_is_used_as_it_is_goes_into_the_folder(play, tmp_path):
    hub = play()
    fetch(PUBLISHED["zavychromaxl"], out=tmp_path / "own", agreed=True, say=lambda _: None)
    assert hub.got[0]["local_dir"] == str(tmp_path / "own")
