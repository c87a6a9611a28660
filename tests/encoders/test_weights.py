"""Imported weights: read by kind, and refused by name."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from mindeye2.core.artifacts import write_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.encoders.weights import WeightsFile, is_imported


@pytest.fixture
def folder(tmp_path):
    facts = {"kind": "clip_converter", "source_sha256": "ab" * 32}
    state = nn.Linear(2, 3).state_dict()
    save_file(state, tmp_path / "clip_converter.safetensors", metadata=facts)
    write_manifest(tmp_path, stage="import", config={})
    return tmp_path


def test_a_folder_and_its_file_give_the_same_weights(folder):
    for path in (folder, folder / "clip_converter.safetensors"):
        file = WeightsFile(path, kind="clip_converter")
        with torch.device("meta"):
            network = nn.Linear(2, 3)
        file.fill(network)
        assert network.weight.device.type == "cpu"
        assert file.key == "ab" * 8
        assert is_imported(path)


def test_weights_of_another_kind_or_shape_are_refused(folder):
    with pytest.raises(ArtifactError, match=r"holds \['clip_converter.*but gnet.safetensors is"):
        WeightsFile(folder, kind="gnet")
    with pytest.raises(ArtifactError, match="holds 'clip_converter', but 'gnet' is needed"):
        WeightsFile(folder / "clip_converter.safetensors", kind="gnet")
    file = WeightsFile(folder, kind="clip_converter")
    with pytest.raises(ArtifactError, match=r"\['weight'\] differ"):
        file.fill(nn.Linear(5, 3))


def test_what_was_not_imported_is_refused(tmp_path):
    assert not is_imported(tmp_path)
    (tmp_path / "config.yaml").write_text("precision: stored\n")
    assert is_imported(tmp_path)
    with pytest.raises(ArtifactError, match="did not finish"):
        WeightsFile(tmp_path, kind="gnet")
    (tmp_path / "text.safetensors").write_text("no")
    with pytest.raises(ArtifactError, match="not a safetensors file"):
        WeightsFile(tmp_path / "text.safetensors", kind="gnet")
    assert not is_imported(tmp_path / "text.safetensors")
