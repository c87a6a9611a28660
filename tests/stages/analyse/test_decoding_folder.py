import json

import pytest
import torch

from mindeye2.core.artifacts import read_manifest, write_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.stages.analyse.decoding_folder import open_decoding


def test_trials_are_the_presentations_that_were_decoded(decoded, prepared):
    found = open_decoding(decoded)
    trials = found.trials()
    want = prepared.trials_of("subj03", "test")
    assert sorted(trials.images.tolist()) == sorted(want["image"].tolist())
    assert found.tokens("true").shape[0] == len(found.images)


def test_first_presentations_alone_where_these_were_decoded(decoded):
    manifest = read_manifest(decoded, stage="reconstruct")
    config = {**manifest["config"], "n_repeats": 1}
    found = open_decoding(decoded)
    limited = type(found)(found.folder, found.prepared, {**manifest, "config": config})
    assert len(limited.trials()) == len(found.images)
    assert limited.trials().images.sort().values.tolist() == found.images.sort().values.tolist()


def test_training_trials_have_no_test_image(decoded):
    found = open_decoding(decoded)
    assert not torch.isin(found.training_trials().images, found.images).any()


def test_imported_outputs_have_no_brain_decoder(data, tmp_path):
    folder = tmp_path / "outputs"
    folder.mkdir()
    config = {"source": str(data), "init": "evals"}
    write_manifest(folder, stage="reconstruct", config=config, source_files={"a": "b"})
    assert json.loads((folder / "manifest.json").read_text())["stage"] == "reconstruct"
    with pytest.raises(ArtifactError, match="imported outputs, which have no brain decoder"):
        _ = open_decoding(folder).run
