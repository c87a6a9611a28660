import json
import shutil

import numpy as np
import pytest

from mindeye2.core.errors import ArtifactError
from mindeye2.models.model_settings import LowLevelSettings
from mindeye2.stages.train import train


def test_a_model_without_a_low_level_head_needs_no_low_level_targets(data, standard, tmp_path):
    shutil.copytree(data, tmp_path / "data", ignore=shutil.ignore_patterns("lowlevel"))
    seal = json.loads((data / "manifest.json").read_text())
    seal["files"] = {k: v for k, v in seal["files"].items() if "lowlevel" not in k}
    (tmp_path / "data" / "manifest.json").write_text(json.dumps(seal))
    model = standard.model.model_copy(update={"lowlevel": None})
    settings = standard.model_copy(update={"model": model, "train_prior": False})
    train(settings, source=tmp_path / "data", out=tmp_path / "run", device="cpu")
    last = json.loads((tmp_path / "run" / "steps.jsonl").read_text().splitlines()[-1])
    assert "lowlevel" not in last


def test_targets_of_other_shapes_than_the_model_s_are_refused_before_training(
    data, standard, tmp_path
):
    published = LowLevelSettings(channels=4, coarse_channels=64)
    for change, message in (
        ({"lowlevel": published}, r"latents of shape \(4, 28, 28\).* have shape \(64, 7, 7\)"),
        ({"n_tokens": 256}, r"tokens of shape \(256, 128\).* 'lite0' .* have shape \(49, 128\)"),
    ):
        model = standard.model.model_copy(update=change)
        settings = standard.model_copy(update={"model": model})
        with pytest.raises(ArtifactError, match=message):
            train(
                settings, source=data, out=tmp_path / str(len(change)), resume=True, device="cpu"
            )
        assert not (tmp_path / str(len(change)) / "steps.jsonl").exists()


def test_targets_that_lack_images_are_refused_before_training(data, standard, tmp_path):
    other = shutil.copytree(data, tmp_path / "data")
    values = other / "targets/lite0/values.npy"
    np.save(values, np.load(values)[:-3])
    seal = json.loads((other / "manifest.json").read_text())
    seal["files"]["targets/lite0/values.npy"]["bytes"] = values.stat().st_size
    (other / "manifest.json").write_text(json.dumps(seal))
    message = (
        r"targets 'lite0' of .*data are of 79 images, the data set has 82: .* remove the folder "
        r".*lite0 and run: mindeye2 prepare"
    )
    with pytest.raises(ArtifactError, match=message):
        train(standard, source=other, out=tmp_path / "run", device="cpu")
    assert not (tmp_path / "run/steps.jsonl").exists()


def test_feature_maps_need_a_model_that_predicts_them(data, standard, tmp_path):
    losses = standard.losses.model_copy(update={"maps": 0.05})
    settings = standard.model_copy(update={"losses": losses})
    message = r"losses.maps=0.05 needs feature maps.* Set model.lowlevel.n_maps"
    with pytest.raises(ArtifactError, match=message):
        train(settings, source=data, out=tmp_path / "run", device="cpu")
