import json
import subprocess
import sys

import pytest

from mindeye2.core.artifacts import claim_folder, write_manifest
from mindeye2.core.errors import FolderInUseError
from mindeye2.core.failures import FAILURE, recorded_failure

CLAIM = """
import sys, time
from pathlib import Path
from mindeye2.core.artifacts import claim_folder
claim_folder(Path(sys.argv[1]), resume=True)
print("claimed", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Return a process that fills the folder ``run``."""
    command = [sys.executable, "-c", CLAIM, str(tmp_path / "run")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "claimed\n"
    yield process
    process.kill()
    process.communicate()


def test_a_folder_that_another_process_fills_is_refused_with_its_number(tmp_path, holder):
    folder = tmp_path / "run"
    with pytest.raises(FolderInUseError, match=rf"by process {holder.pid} on .* since 20\d\d-"):
        claim_folder(folder, resume=True)
    attempt = recorded_failure(folder, command="train", resume=True)
    with pytest.raises(FolderInUseError), attempt:
        claim_folder(folder, resume=True)
    assert not (folder / FAILURE).exists()  # the folder is the other's


def test_the_lock_of_a_killed_process_is_stale(tmp_path, holder):
    holder.kill()
    holder.wait()
    assert (tmp_path / "run" / ".lock").exists()
    claim_folder(tmp_path / "run", resume=False)  # its lock is no content either


def test_a_process_may_claim_its_folder_again_and_a_manifest_unlocks_it(tmp_path):
    folder = claim_folder(tmp_path / "run", resume=False)
    claim_folder(folder, resume=True)
    assert set(json.loads((folder / ".lock").read_text())) == {"process", "machine", "since"}
    write_manifest(folder, stage="train", config={})
    assert [p.name for p in folder.iterdir()] == ["manifest.json"]
