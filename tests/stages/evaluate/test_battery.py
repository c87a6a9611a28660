"""The battery on forged runs, each with one planted artefact, and through the command."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import scipy.ndimage
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from mindeye2.cli import app
from mindeye2.core.artifacts import read_manifest, write_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.metrics import two_way_identification
from mindeye2.metrics.ranking import cosine_similarity
from mindeye2.stages.evaluate import EvaluateSettings, evaluate

N, N_TRAINING = 40, 60
SETTINGS = EvaluateSettings(battery=True, extractor_size=64, n_resamples=2000, bottlenecks=(2,))


def smooth_images(n, seed):
    noise = np.random.default_rng(seed).uniform(0, 255, (n, 48, 48, 3))
    smooth = scipy.ndimage.gaussian_filter(noise, (0, 4, 4, 0), mode="wrap")
    return ((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.uint8)


def draw(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class World:
    """A data set of 40 test and 60 training images, with a sound decoder of its tokens."""

    def __init__(self, folder):
        self.folder = folder
        self.images = smooth_images(N + N_TRAINING, seed=0)
        self.true = draw(N + N_TRAINING, 4, 6, seed=1)
        self.whiten = None
        self.predicted = 0.6 * self.true + 0.5 * draw(N + N_TRAINING, 4, 6, seed=2) + 0.4
        blurry = scipy.ndimage.gaussian_filter(self.images[:N], (0, 3, 3, 0))
        self.shown = (0.7 * blurry + 0.3 * smooth_images(N, seed=3)).astype(np.uint8)

    def write(self):
        data, decoded = self.folder / "data", self.folder / "decoded"
        (data / "targets" / "lite0").mkdir(parents=True)
        decoded.mkdir()
        np.save(data / "images.npy", self.images)
        np.save(data / "targets" / "lite0" / "values.npy", self.true.half().numpy())
        trials = pd.DataFrame({"image": range(N + N_TRAINING), "subject": "subj01"})
        trials["split"] = ["test"] * N + ["train"] * N_TRAINING
        trials.to_parquet(data / "trials.parquet")
        write_manifest(data, stage="prepare", config={}, subjects={"subj01": 3}, label="")
        tokens = dict.fromkeys(("backbone", "retrieval", "prior"), self.predicted[:N])
        tokens |= {"true": self.true[:N], "expected": self.true[:N]}
        tokens |= {"training_backbone": self.predicted[N:], "training_true": self.true[N:]}
        tokens["training_expected"] = self.true[N:]
        if self.whiten is not None:
            compared = ("backbone", "expected", "training_backbone", "training_expected")
            tokens |= {f"{name}_whitened": self.whiten(tokens[name]) for name in compared}
        values = {k: v.contiguous().clone() for k, v in tokens.items()}
        save_file(values, decoded / "tokens.safetensors")
        near = cosine_similarity((self.predicted[:N] - 0.4).flatten(1), self.true[N:].flatten(1))
        items = {"image": range(N), "nearest_training_image": N + near.argmax(dim=1).numpy()}
        pd.DataFrame(items).to_parquet(decoded / "items.parquet", index=False)
        np.save(decoded / "unclip.npy", self.shown)
        write_manifest(
            decoded, stage="reconstruct", config={"source": "../data", "init": "../gone"},
            subject="subj01", encoder="lite0", training_images=[*range(N, N + N_TRAINING)],
        )  # fmt: skip
        return decoded

    def battery(self, decode=None):
        out = self.folder / "scores"
        evaluate(SETTINGS, source=self.write(), out=out, decode=decode)
        return json.loads((out / "battery.json").read_text())


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def findings(result, level):
    return {f["check"]: f["text"] for f in result["findings"] if f["level"] == level}


def means(result, control):
    (row,) = (c for c in result["controls"] if c["name"] == control)
    return {metric: score["mean"] for metric, score in row["scores"].items()}


def test_a_sound_run_gets_no_warning(world):
    result = world.battery()
    assert findings(result, "warning") == {}
    sound = {"brain", "nearest training image", "clusters", "dimensions", "copies"}
    assert set(findings(result, "ok")) == sound
    assert result["missing"][0].startswith("Random betas and bottlenecks need the model")


def test_controls_are_scored_by_the_metrics_of_the_run(world):
    result = world.battery()
    table = pd.read_parquet(world.folder / "scores" / "scores.parquet")
    for name, column in (("pixcorr", "pixcorr_unclip"), ("two_way", "two_way_unclip")):
        assert means(result, "run")[name] == pytest.approx(table[column].mean(), abs=1e-6)
    assert means(result, "run")["image_top1"] == pytest.approx(table["image_top1"].mean())
    nearest = pd.read_parquet(world.folder / "decoded" / "items.parquet")["nearest_training_image"]
    preds, targets = world.true[nearest.tolist()], world.true[:N]
    mean = world.predicted[N:].half().float().mean(dim=0)
    want = two_way_identification((preds - mean).flatten(1), targets.flatten(1)).mean()
    found = means(result, "nearest_training_image")["two_way_tokens"]
    assert found == pytest.approx(float(want), abs=2e-3)
    pixels = [world.images[i].ravel() for i in (0, nearest[0])]
    shown = pd.read_parquet(world.folder / "scores" / "battery.parquet")
    row = shown[(shown["control"] == "nearest_training_image") & (shown["image"] == 0)]
    assert row["pixcorr"].item() == pytest.approx(np.corrcoef(*pixels)[0, 1], abs=0.02)


def test_controls_are_compared_by_what_the_run_is(world, tmp_path):
    """Rotated tokens are as near to each other as tokens are."""
    (tmp_path / "rotated").mkdir()
    other = World(tmp_path / "rotated")
    rotation = torch.linalg.qr(draw(24, 24, seed=5)).Q
    other.whiten = lambda tokens: tokens.flatten(1) @ rotation
    results = [w.battery() for w in (world, other)]
    for control in ("run", "nearest_training_image", "shuffled"):
        scores = [means(r, control) for r in results]
        assert scores[0]["image_top1"] == pytest.approx(scores[1]["image_top1"], abs=0.03), control
        assert scores[0]["two_way_tokens"] == scores[1]["two_way_tokens"]


def test_shuffled_betas_score_at_chance(world):
    scores = means(world.battery(), "shuffled")
    assert scores["two_way_tokens"] == pytest.approx(0.5, abs=4 * 0.29 / N**0.5)
    assert scores["two_way"] == pytest.approx(0.5, abs=4 * 0.29 / N**0.5)
    assert scores["image_top1"] <= 4 / N


def test_a_generator_that_ignores_the_brain_is_found(world):
    world.predicted[:N] = 0.8 * draw(N, 4, 6, seed=11) + 0.4
    world.shown = smooth_images(N, seed=12)
    warnings = findings(world.battery(), "warning")
    assert "ignores the brain" in warnings["brain"]
    assert {"nearest training image", "clusters"} <= set(warnings)


def test_rows_in_another_order_are_told_from_noise(world):
    world.predicted[:N], world.shown = world.predicted[:N].roll(1, 0), np.roll(world.shown, 1, 0)
    warnings = findings(world.battery(), "warning")
    assert "another order" in warnings["brain"]


def test_test_images_among_the_training_images_are_found(world):
    world.images[N + 7] = world.images[3]
    world.images[N + 9] = world.images[5] * 0.8 + 20
    world.images[N + 2] = world.images[8][:, ::-1]
    result = world.battery()
    text = findings(result, "warning")["copies"]
    assert text.startswith("3 of 40 test images have a copy among the training images: 3 (exactly")
    assert [(c["test"], c["training"], c["how"]) for c in result["copies"]] == [
        (3, N + 7, "exactly the same"), (5, N + 9, "nearly the same"), (8, N + 2, "mirrored")
    ]  # fmt: skip
    table = pd.read_parquet(world.folder / "scores" / "scores.parquet").drop(index=[3, 5, 8])
    without = result["without_copies"]["pixcorr"]
    assert without == pytest.approx(table["pixcorr_unclip"].mean())


def test_collapsed_output_is_found(world):
    line = draw(1, 4, 6, seed=4)
    along = (world.true * line).sum(dim=(1, 2), keepdim=True)
    world.predicted = along * line + 0.01 * draw(N + N_TRAINING, 4, 6, seed=5)
    result = world.battery()
    assert "has collapsed" in findings(result, "warning")["dimensions"]
    assert result["dimensions"]["backbone"]["participation_ratio"] == pytest.approx(1, abs=0.01)


def test_a_decoder_of_the_kind_of_image_alone_is_found(world):
    kinds = torch.arange(N + N_TRAINING) % 5
    centres = 3 * draw(5, 1, 6, seed=6)[kinds]
    world.true = centres + draw(N + N_TRAINING, 4, 6, seed=7)
    world.predicted = centres + draw(N + N_TRAINING, 4, 6, seed=8)
    result = world.battery()
    assert "at most the kind of image is decoded" in findings(result, "warning")["clusters"]
    assert result["clusters"]["across"] > 0.9
    assert result["clusters"]["same_cluster"] == 1
    assert sorted(c["all_images"] for c in result["clusters"]["clusters"]) == [20] * 5


def test_output_that_is_the_same_for_random_betas_is_found(world):
    def decode(folder, changes):
        assert changes in ({"betas": "random", "n_images": N}, {"bottleneck": 2, "n_images": N})
        shutil.copytree(world.folder / "decoded", folder)

    result = world.battery(decode)
    assert "the scores are the generator's" in findings(result, "warning")["random betas"]
    assert ": 2 for PixCorr; 2 for SSIM" in findings(result, "ok")["bottleneck"]
    assert means(result, "random_betas") == means(result, "run")


def test_a_model_that_is_gone_leaves_its_controls_out_and_says_so(world):
    def decode(*_):
        raise ArtifactError("../gone does not exist")

    result = world.battery(decode)
    assert result["missing"] == [
        "Random betas: ../gone does not exist", "Bottleneck of 2: ../gone does not exist"
    ]  # fmt: skip
    assert [c["name"] for c in result["controls"]] == ["run", "nearest_training_image", "shuffled"]


def test_known_images_are_refused_before_anything_is_scored(world):
    decoded = world.write()
    facts = {"subjects": {"subj01": 3}, "label": "", "design": "known_images"}
    write_manifest(world.folder / "data", stage="prepare", config={}, **facts)
    with pytest.raises(ValueError, match="battery and gallery are for test images that were not"):
        evaluate(SETTINGS, source=decoded, out=world.folder / "scores")
    assert not (world.folder / "scores" / "scores.parquet").exists()


def test_the_command_decodes_again_with_the_model_of_the_run(decoded, tmp_path):
    """More dimensions than the ridge has are left out, with the reason."""
    out = tmp_path / "scores"
    options = ["battery=true", "bottlenecks=[0,17]", "n_resamples=200", "extractor_size=64"]
    arguments = ["evaluate", "--source", str(decoded), "--out", str(out), "--device", "cpu"]
    arguments += [x for option in options for x in ("--set", option)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    result = json.loads((out / "battery.json").read_text())
    names = [c["name"] for c in result["controls"]]
    want = ["run", "nearest_training_image", "shuffled", "random_betas", "bottleneck_0"]
    assert names == want
    assert "must be at most 16" in result["missing"][0]
    images = np.load(out / "battery" / "bottleneck_0" / "lowlevel.npy").astype(int)
    assert np.abs(images - images[:1]).max() <= 1
    assert not (out / "state").exists()


@pytest.mark.slow
def test_two_processes_write_the_same_battery(decoded, tmp_path, launch_command):
    """The second waits while the first reconstructs anew."""
    settings = {"battery": True, "bottlenecks": [2], "n_resamples": 200, "extractor_size": 64}
    (tmp_path / "settings.yaml").write_text(json.dumps(settings))
    words = ["evaluate", "--source", decoded, "--config", tmp_path / "settings.yaml"]
    outs = [decoded.parent / f"battery-of-{n}" for n in (1, 2)]
    for n, out in enumerate(outs, 1):
        codes, errors = launch_command(n, *words, "--out", out)
        assert codes == [0] * n, errors
    one, two = (
        # Manifests of the controls record the memory that was used.
        {name: facts for name, facts in files.items() if not name.endswith("manifest.json")}
        for files in (read_manifest(out, stage="evaluate")["files"] for out in outs)
    )
    assert {"battery.json", "battery/bottleneck_2/unclip.npy"} <= set(one)
    assert one == two
    assert json.loads((outs[1] / "battery.json").read_text())["missing"] == []
