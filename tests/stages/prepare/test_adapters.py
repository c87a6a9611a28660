import pytest
import yaml
from pydantic import TypeAdapter

from mindeye2.core.errors import ArtifactError
from mindeye2.core.settings import load_settings, plain
from mindeye2.stages.prepare import (
    KINDS,
    SETTINGS,
    Kriegeskorte92Preparation,
    PrepareSettings,
    TablePreparation,
    prepare,
)

COMMON = {"kind", "encoders", "encoder_weights", "zscore", "constant_voxels", "processes"}


def test_measured_responses_need_their_file(tmp_path):
    with pytest.raises(ArtifactError, match=r"reads files: give --source kriegeskorte92\.npz"):
        prepare(Kriegeskorte92Preparation(), out=tmp_path)


def test_every_kind_has_an_adapter_and_settings():
    assert set(SETTINGS) == set(KINDS)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"simulated", "scenes"}))
def test_a_kind_that_reads_files_has_one_field_of_its_own_name(kind):
    assert set(SETTINGS[kind].model_fields) == COMMON | {kind}


@pytest.mark.parametrize("kind", KINDS)
def test_the_tag_chooses_the_class_of_recorded_settings(kind):
    settings = SETTINGS[kind]()
    assert TypeAdapter(PrepareSettings).validate_python(plain(settings)) == settings


def test_a_setting_of_another_kind_is_refused():
    with pytest.raises(ValueError, match=r"no setting 'nsd'; here are \[.*'table'"):
        load_settings(TablePreparation(), assignments=["nsd.train_sessions=[1]"])


def test_the_recorded_settings_are_those_of_the_kind(tmp_path, monkeypatch):
    def fail(_settings, _source):
        raise ArtifactError("settings are recorded before the source is read")

    monkeypatch.setitem(KINDS, "table", fail)
    with pytest.raises(ArtifactError, match="before the source is read"):
        prepare(TablePreparation(), out=tmp_path)
    recorded = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert set(recorded) == {"kind", "source", "table", "encoders", "zscore", "constant_voxels"}
