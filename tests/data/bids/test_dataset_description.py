import json

import pytest

from mindeye2.core.errors import ArtifactError
from mindeye2.data.bids.dataset_description import recorded_version

MADE_BY = [
    {"Name": "tedana", "Version": "24.0"},
    {"Name": "GLMsingle", "Version": "1.2", "CodeURL": "https://example.org/tree/1ab54a6"},
]


def test_the_nearest_description_names_version_and_commit(tmp_path):
    inner = tmp_path / "derivatives" / "glm"
    (inner / "sub-01").mkdir(parents=True)
    (tmp_path / "dataset_description.json").write_text('{"GeneratedBy": [{"Name": "glmsingle"}]}')
    assert recorded_version("GLMsingle", start=inner / "sub-01", stop=tmp_path) is None
    (inner / "dataset_description.json").write_text(json.dumps({"GeneratedBy": MADE_BY}))
    found = recorded_version("glmsingle", start=inner / "sub-01", stop=tmp_path)
    assert found == "1.2, https://example.org/tree/1ab54a6"
    assert recorded_version("fMRIPrep", start=inner, stop=tmp_path) is None


def test_a_damaged_description_is_named(tmp_path):
    (tmp_path / "dataset_description.json").write_text("[1]")
    with pytest.raises(ArtifactError, match=r"no description of a BIDS data set"):
        recorded_version("GLMsingle", start=tmp_path, stop=tmp_path)
