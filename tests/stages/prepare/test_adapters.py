import pytest

from mindeye2.core.errors import ArtifactError
from mindeye2.stages.prepare import KINDS, PrepareSettings, prepare


def test_an_unknown_adapter_meets_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match=r"kind must be one of .*got 'simulate'.*'simulated'"):
        prepare(PrepareSettings(kind="simulate"), out=tmp_path)


def test_real_responses_need_their_file(tmp_path):
    with pytest.raises(ArtifactError, match=r"reads files: give --source kriegeskorte92\.npz"):
        prepare(PrepareSettings(kind="kriegeskorte92"), out=tmp_path)


def test_an_adapter_has_settings_of_its_name_or_none():
    fields = PrepareSettings.model_fields
    assert {kind for kind in KINDS if kind not in fields} == {"simulated", "scenes"}
