import json
import shutil

import pandas as pd
import pytest

from mindeye2.core.artifacts import read_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.stages.train import TargetSettings, train


def test_validation_is_recorded_and_choices_are_made_on_it(pretrained, standard):
    facts = read_manifest(pretrained, stage="train")
    assert set(facts["alphas"]) == set(standard.subjects)
    assert 0 <= facts["validation"]["two_way"] <= 1
    best = max(facts["forward_model"].values())
    chosen = facts["forward_model"]["none"] < best
    assert (pretrained / "expectation.safetensors").exists() == chosen


def test_a_data_set_without_a_validation_split_trains_without_validation(data, standard, tmp_path):
    shutil.copytree(data, tmp_path / "data")
    table = pd.read_parquet(data / "trials.parquet")
    table["split"] = table["split"].replace("validation", "train")
    table.to_parquet(tmp_path / "data" / "trials.parquet", index=False)
    seal = json.loads((data / "manifest.json").read_text())
    size = (tmp_path / "data" / "trials.parquet").stat().st_size
    seal["files"]["trials.parquet"]["bytes"] = size
    (tmp_path / "data" / "manifest.json").write_text(json.dumps(seal))
    train(standard, source=tmp_path / "data", out=tmp_path / "run", device="cpu")
    facts = read_manifest(tmp_path / "run", stage="train")
    assert not {"validation", "forward_model"} & set(facts)


def test_one_subject_without_a_prior_is_the_closed_form_alone(data, standard, tmp_path):
    alone = {"subjects": ("subj01",), "train_prior": False, "train_body": False}
    settings = standard.model_copy(update={**alone, "train_on": ("train", "validation")})
    train(settings, source=data, out=tmp_path, device="cpu")
    facts = read_manifest(tmp_path, stage="train")
    assert not {"validation", "forward_model"} & set(facts)
    assert not (tmp_path / "prior").exists()
    assert not (tmp_path / "steps.jsonl").exists()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"subjects": ("subj09",)}, ValueError, r"subject must be one of .*got 'subj09'"),
        (
            {"sessions": (4,)},
            ArtifactError,
            r"of the splits \['train'\] in the sessions \[4\].*--set train_on=",
        ),
        (
            {"targets": TargetSettings(tokens="clip")},
            ArtifactError,
            r"no targets of the encoder 'clip'",
        ),
    ],
    ids=["subject", "session", "encoder"],
)
def test_what_the_data_set_does_not_have_is_named(
    data, standard, tmp_path, change, error, message
):
    settings = standard.model_copy(update=change)
    with pytest.raises(error, match=message):
        train(settings, source=data, out=tmp_path, device="cpu")
