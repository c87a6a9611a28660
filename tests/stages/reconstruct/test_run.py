import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from mindeye2.core.artifacts import read_manifest, write_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.metrics.retrieval import fit_calibration, similarity
from mindeye2.models.checkpoint import load_run
from mindeye2.stages.reconstruct import inference, reconstruct


@pytest.fixture
def run(data, adapted, decoding, tmp_path):
    """Return a function that reconstructs with some settings changed."""

    def _run(name="out", **changes):
        settings = decoding.model_copy(update={"images": False, **changes})
        out = tmp_path / name
        reconstruct(settings, source=data, init=adapted, out=out, device="cpu")
        return load_file(out / "tokens.safetensors"), pd.read_parquet(out / "items.parquet")

    return _run


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-2)  # stored as float16


def test_tokens_are_the_model_s_for_the_mean_of_an_image_s_presentations(
    decoded, prepared, adapted
):
    tokens = load_file(decoded / "tokens.safetensors")
    table, betas = prepared.trials_of("subj03", "test"), prepared.betas("subj03")
    rows = table.index[table["image"] == 74]
    mean = torch.tensor(np.asarray(betas[rows], np.float32)).mean(dim=0, keepdim=True)
    with torch.no_grad():
        expected = load_run(adapted).model(mean, subject="subj03").backbone_tokens[0]
    close(tokens["backbone"][2].float(), expected)
    true = np.asarray(prepared.targets("lite0")[72:82], np.float32)
    close(tokens["true"].float(), torch.from_numpy(true))


def test_the_batch_size_changes_no_token_and_no_image(decoded, run, tmp_path):
    """A reconstruction depends on the responses to its image and on its seed alone."""
    whole = load_file(decoded / "tokens.safetensors")
    single, items = run(images=True, batch_size=1)
    for name, values in whole.items():
        close(single[name].float(), values.float())
    pd.testing.assert_frame_equal(items, pd.read_parquet(decoded / "items.parquet"))
    for name in ("unclip", "refined", "ceiling", "lowlevel", "blended"):
        images = [np.load(f / f"{name}.npy").astype(int) for f in (decoded, tmp_path / "out")]
        assert np.abs(images[0] - images[1]).max() <= 2, name


def test_the_seed_decides_the_prior_s_samples_only(decoded, run):
    first, (second, items) = load_file(decoded / "tokens.safetensors"), run(seed=1)
    assert torch.equal(first["backbone"], second["backbone"])
    assert not torch.allclose(first["prior"], second["prior"], atol=1e-2)
    assert items["seed"].is_unique


def test_only_the_first_presentations_are_used_where_a_number_is_given(run, prepared, adapted):
    tokens, items = run(n_repeats=1)
    assert items["n_repeats"].tolist() == [1] * 10
    table = prepared.trials_of("subj03", "test")
    first = table.index[table["image"] == 72][0]
    betas = torch.tensor(np.asarray(prepared.betas("subj03")[first], np.float32))[None]
    with torch.no_grad():
        expected = load_run(adapted).model(betas, subject="subj03").backbone_tokens[0]
    close(tokens["backbone"][0].float(), expected)


def test_halves_are_decoded_from_every_second_presentation(decoded, run, prepared, adapted):
    tokens = load_file(decoded / "tokens.safetensors")
    table, betas = prepared.trials_of("subj03", "test"), prepared.betas("subj03")
    rows = table.index[table["image"] == 74]
    model = load_run(adapted).model
    for name, own in (("first", rows[::2]), ("second", rows[1::2])):
        mean = torch.tensor(np.asarray(betas[own], np.float32)).mean(dim=0, keepdim=True)
        with torch.no_grad():
            expected = model(mean, subject="subj03").backbone_tokens[0]
        close(tokens[f"{name}_half_backbone"][2].float(), expected)
    assert "first_half_backbone" not in run(n_repeats=1)[0]


def test_outputs_can_be_averaged_instead_of_betas(run, prepared, adapted):
    tokens, _ = run(average="outputs")
    table = prepared.trials_of("subj03", "test")
    rows = table.index[table["image"] == 80]
    betas = torch.tensor(np.asarray(prepared.betas("subj03")[rows], np.float32))
    with torch.no_grad():
        single = load_run(adapted).model(betas, subject="subj03")
    close(tokens["backbone"][8].float(), single.backbone_tokens.mean(dim=0))
    close(tokens["retrieval"][8].float(), single.retrieval_tokens.mean(dim=0))


def test_without_scenes_captions_are_those_of_the_nearest_training_images(run, prepared):
    _, items = run(references="none")
    assert "reference_scene" not in items
    nearest = items["nearest_training_image"].tolist()
    assert max(nearest) < 72  # test images are 72 to 81
    assert items["caption"].tolist() == [prepared.captions[i] for i in nearest]
    assert items["image"].tolist() == list(range(72, 82))


def test_without_images_none_are_written(run, tmp_path):
    run()
    assert not list((tmp_path / "out").glob("*.npy"))


@pytest.mark.parametrize(
    ("subject", "message"),
    [
        (
            "subj08",
            r"trained on \['subj01', .*'subj03'\], not on 'subj08'\. Choose .*--recipe adapt",
        ),
        ("subj01", r"was trained on \['subj03'\], not on 'subj01'"),
    ],
    ids=["unknown", "not adapted to"],
)
def test_an_unknown_subject_is_answered_with_those_that_can_be_decoded(run, subject, message):
    with pytest.raises(ArtifactError, match=message):
        run(subject=subject)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"subj03": 5}, r"trained on \d+ voxels of subj03, the data set .* has 5\. .* of another"),
        ({"subj01": 5}, r"the data set .* has \['subj01'\], not 'subj03'"),
    ],
    ids=["voxels", "subjects"],
)
def test_a_run_of_another_data_set_is_refused(data, adapted, decoding, tmp_path, counts, message):
    other = shutil.copytree(data, tmp_path / "other")
    manifest = read_manifest(other, stage="prepare")
    config = manifest["config"]
    write_manifest(other, stage="prepare", config=config, subjects=counts, label="")
    with pytest.raises(ArtifactError, match=message):
        reconstruct(decoding, source=other, init=adapted, out=tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()


def test_a_run_of_other_images_of_the_same_subjects_is_refused(data, adapted, decoding, tmp_path):
    """Their voxels alone would not show it."""
    other = shutil.copytree(data, tmp_path / "other")
    np.save(other / "images.npy", np.load(other / "images.npy")[::-1])
    manifest = read_manifest(other, stage="prepare")
    facts = {k: manifest[k] for k in ("config", "subjects", "label")}
    write_manifest(other, stage="prepare", **facts)
    with pytest.raises(ArtifactError, match=r"trained on other images than .*data set.*--source"):
        reconstruct(decoding, source=other, init=adapted, out=tmp_path / "out", device="cpu")


def test_images_of_other_settings_are_not_kept(decoded, data, adapted, decoding):
    other = decoding.model_copy(update={"images": False})
    with pytest.raises(ArtifactError, match=r"started with other settings: \['images'\] differ"):
        reconstruct(other, source=data, init=adapted, out=decoded, resume=True, device="cpu")


def test_a_run_that_did_not_finish_is_refused(data, decoding, tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(ArtifactError, match=r"the stage 'train' did not finish there.*--resume"):
        reconstruct(decoding, source=data, init=tmp_path / "run", out=tmp_path / "out")


@pytest.mark.parametrize("images", [True, False], ids=["images", "tokens only"])
def test_an_interrupted_run_resumes_at_the_first_missing_image(
    data, adapted, decoding, tmp_path, monkeypatch, images
):
    changes = {"split": "train", "n_images": 12, "images": images}
    settings = decoding.model_copy(update=changes)
    given = {"source": data, "init": adapted, "device": "cpu"}
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    reconstruct(settings, out=whole, **given)
    sample, batches = inference.sample_prior, []

    def stop_at_the_second(*args, **kwargs):
        batches.append(len(kwargs["seeds"]))
        if len(batches) == 2:
            raise KeyboardInterrupt
        return sample(*args, **kwargs)

    monkeypatch.setattr(inference, "sample_prior", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        reconstruct(settings, out=stopped, **given)
    assert not (stopped / "manifest.json").exists()
    for _ in range(2):  # what is finished is left as it is
        reconstruct(settings, out=stopped, resume=True, **given)
    assert batches == [4, 4, 4, 4]  # the first is not computed again
    found = [read_manifest(f, stage="reconstruct")["files"] for f in (whole, stopped)]
    assert found[0] == found[1]
    assert len(found[0]) == (8 if images else 3)
    assert {p.name for p in stopped.iterdir()} == {*found[0], "manifest.json"}


@pytest.mark.parametrize("missing", ["targets", "image decoder"])
def test_what_is_missing_is_said_before_anything_is_computed(
    data, adapted, decoding, tmp_path, monkeypatch, missing
):
    def fail(*_, **__):
        raise AssertionError("computed")

    monkeypatch.setattr("mindeye2.stages.reconstruct.run.predict", fail)
    source, settings = data, decoding
    if missing == "targets":
        source = shutil.copytree(data, tmp_path / "data")
        shutil.move(source / "targets" / "lite0", source / "targets" / "other")
        manifest = read_manifest(data, stage="prepare")
        facts = {k: v for k, v in manifest.items() if k in {"config", "subjects", "label"}}
        write_manifest(source, stage="prepare", **facts)
    else:
        settings = decoding.model_copy(update={"decoder": tmp_path})
    with pytest.raises(ArtifactError, match=r"has no targets of|holds no unclip"):
        reconstruct(settings, source=source, init=adapted, out=tmp_path / "out", device="cpu")


def test_data_set_run_and_decoder_are_recorded_relative_to_the_folder(decoded):
    config = read_manifest(decoded, stage="reconstruct")["config"]
    assert [config[n] for n in ("source", "init")] == ["../data", "../adapted"]
    assert config["decoder"] == "../decoder"


@pytest.mark.slow
def test_several_processes_write_the_same_files(
    decoded, data, adapted, decoding, tmp_path, launch_command
):
    """One of two is killed, three go on."""
    (tmp_path / "settings.yaml").write_text(json.dumps(decoding.model_dump(mode="json")))
    options = {"source": data, "init": adapted, "config": tmp_path / "settings.yaml"}
    words = ["reconstruct", *(w for name, v in options.items() for w in (f"--{name}", v))]
    out = decoded.parent / "of-several"  # beside it, so that recorded paths are the same
    codes, errors = launch_command(2, *words, "--out", out, killed=(1, 1))
    assert codes == [3, -9], errors
    assert "another process ended" in errors[0]
    assert len(list((out / "state").glob("*-*.json"))) == 2  # of 3 batches
    codes, errors = launch_command(3, *words, "--out", out, "--resume")
    assert codes == [0, 0, 0], errors
    files = [read_manifest(f, stage="reconstruct")["files"] for f in (decoded, out)]
    assert files[0] == files[1]


def test_what_is_compared_is_stored_whitened_where_the_run_knows_its_errors(
    data, adapted, decoding, tmp_path, plant_whitening
):
    own = shutil.copytree(adapted, tmp_path / "run")
    _, whiten = plant_whitening(own)
    settings = decoding.model_copy(update={"images": False})
    out = reconstruct(settings, source=data, init=own, out=tmp_path / "out", device="cpu").parent
    tokens = {
        name: values.float() for name, values in load_file(out / "tokens.safetensors").items()
    }
    halves = ("first_half_backbone", "second_half_backbone")
    for name in ("backbone", "expected", "training_backbone", "training_expected", *halves):
        want = whiten(tokens[name])
        error = tokens[f"{name}_whitened"] - want
        assert error.square().mean() < 1e-4 * want.square().mean(), name
    near = similarity(
        tokens["backbone_whitened"],
        tokens["training_expected_whitened"],
        fit_calibration(
            tokens["training_backbone_whitened"], tokens["training_expected_whitened"]
        ),
    )
    images = read_manifest(out, stage="reconstruct")["training_images"]
    best = [images[row] for row in near.argmax(dim=1)]
    nearest = pd.read_parquet(out / "items.parquet")["nearest_training_image"]
    assert (nearest == best).mean() >= 0.9  # float16 decides near ties


def test_without_a_whitening_nothing_is_stored_twice(data, adapted, decoding, tmp_path, reseal):
    own = shutil.copytree(adapted, tmp_path / "run")
    manifest = read_manifest(own, stage="train")
    (own / "expectation.safetensors").unlink(missing_ok=True)
    reseal(own, manifest)
    settings = decoding.model_copy(update={"images": False})
    out = reconstruct(settings, source=data, init=own, out=tmp_path / "out", device="cpu").parent
    assert not any("whitened" in name for name in load_file(out / "tokens.safetensors"))
