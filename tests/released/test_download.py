"""Download of published files, from a stand-in for the hub."""

import hashlib
import shutil
from types import SimpleNamespace

import pytest

from mindeye2.core.errors import ArtifactError
from mindeye2.released import download
from mindeye2.released.download import check_disk, fetch
from mindeye2.released.published_files import PUBLISHED

CONTENT = b"weights"


class Hub:
    """Stand-in for huggingface_hub."""

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
def use_hub(monkeypatch, tmp_path):
    def use(**options):
        hub = Hub(tmp_path, **options)
        monkeypatch.setattr(download, "require", lambda *_, **__: hub)
        return hub

    return use


def test_facts_are_shown_and_nothing_is_downloaded_without_consent(use_hub, tmp_path):
    hub, shown = use_hub(), []
    with pytest.raises(ValueError, match=r"nothing was downloaded\. Add --yes"):
        fetch(PUBLISHED["bigG_to_L"], out=tmp_path, agreed=False, echo=shown.append)
    assert hub.got == []
    for part in ("7 bytes", "licence", "'mit'", "sha256", "free on the disk"):
        assert part in shown[0]


def test_with_consent_it_is_downloaded_once_and_checked(use_hub, tmp_path):
    hub = use_hub()
    for _ in range(2):
        path = fetch(PUBLISHED["bigG_to_L"], out=tmp_path, agreed=True, echo=lambda _: None)
        assert path.read_bytes() == CONTENT
    assert len(hub.got) == 1


def test_a_damaged_download_is_refused(use_hub, tmp_path):
    use_hub(sha256="0" * 64)
    with pytest.raises(ArtifactError, match="another sha256 than the hub gives"):
        fetch(PUBLISHED["bigG_to_L"], out=tmp_path, agreed=True, echo=lambda _: None)


def test_without_internet_the_message_names_the_file_and_the_command(use_hub, tmp_path):
    use_hub(online=False)
    message = r"cannot be reached.*resolve/main/gnet_multisubject.pt.*mindeye2 import gnet_multi"
    with pytest.raises(ArtifactError, match=message):
        fetch(PUBLISHED["gnet"], out=tmp_path, agreed=True)


def test_a_full_disk_is_reported_before_the_download(use_hub, tmp_path, monkeypatch):
    hub = use_hub()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=3))
    with pytest.raises(ArtifactError, match="needs 7 bytes on the disk"):
        fetch(PUBLISHED["unclip6"], out=tmp_path, agreed=True, echo=lambda _: None)
    assert hub.got == []


def test_files_that_are_used_as_published_go_into_the_folder(use_hub, tmp_path):
    hub = use_hub()
    fetch(PUBLISHED["zavychromaxl"], out=tmp_path / "own", agreed=True, echo=lambda _: None)
    assert hub.got[0]["local_dir"] == str(tmp_path / "own")


def test_a_full_disk_is_named_with_both_sizes(tmp_path):
    inside = tmp_path / "not" / "there" / "yet"
    check_disk(inside, 1, what="importing")
    with pytest.raises(ArtifactError, match=r"importing needs 1.0 EB.*yet, but \S+ .B are free"):
        check_disk(inside, 10**18, what="importing")
    assert not (tmp_path / "not").exists()
