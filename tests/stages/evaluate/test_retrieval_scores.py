"""Variants of retrieval through the stage, on the tiny world."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from mindeye2.core.artifacts import read_manifest, write_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.metrics import top_k_hits
from mindeye2.metrics.retrieval import fit_calibration, similarity
from mindeye2.stages.evaluate import evaluate, retrieval_scores


@pytest.fixture
def variants(decoded, judging, tmp_path):
    """Return a function that scores variants, and gives the result and its table."""
    count = iter(range(9))

    def _variants(source=decoded, **settings):
        out = tmp_path / f"scores{next(count)}"
        evaluate(judging.model_copy(update=settings), source=source, out=out)
        result = json.loads((out / "retrieval.json").read_text())
        return result, pd.read_parquet(out / "retrieval.parquet"), out

    return _variants


def test_variants_agree_with_the_table_of_scores(variants):
    result, table, out = variants(pools=(4, 900), top_k=(1, 3))
    scores = pd.read_parquet(out / "scores.parquet")
    pairs = (("calibrated", "image_top1"), ("raw", "image_top1_raw"),
             ("head", "image_top1_retrieval_head"))  # fmt: skip
    for mine, theirs in pairs:
        np.testing.assert_allclose(table[f"{mine}_top1_of_10"], scores[theirs], atol=1e-6)
    assert {row["pool"] for row in result["rows"]} == {4, 10}
    assert {row["k"] for row in result["rows"]} == {1, 3}
    assert result["training_images"] == 0
    for row in result["rows"]:
        assert row["low"] <= row["mean"] <= row["high"]
        assert row["mean"] == pytest.approx(table[row["name"]].mean())
    small, whole = (table[f"raw_top1_of_{n}"].mean() for n in (4, 10))
    assert small >= whole


@pytest.fixture
def whitened(data, adapted, decoded, tmp_path, plant_whitening):
    """Return the folder of reconstructions by a run that whitens, and its two maps."""
    run = shutil.copytree(adapted, tmp_path / "run")
    expect, whiten = plant_whitening(run)
    folder = shutil.copytree(decoded, tmp_path / "decoded")
    tokens = {k: v.float() for k, v in load_file(decoded / "tokens.safetensors").items()}
    tokens |= {"expected": expect(tokens["true"])}
    tokens |= {"training_expected": expect(tokens["training_true"])}
    halves = ("first_half_backbone", "second_half_backbone")
    names = ("backbone", "expected", "training_backbone", "training_expected", *halves)
    tokens |= {f"{name}_whitened": whiten(tokens[name]) for name in names}
    save_file({k: v.contiguous() for k, v in tokens.items()}, folder / "tokens.safetensors")
    manifest = read_manifest(decoded, stage="reconstruct")
    facts = {k: manifest[k] for k in ("subject", "label", "training_images", "encoder")}
    config = {**manifest["config"], "source": str(data), "init": str(run)}
    write_manifest(folder, stage="reconstruct", config=config, **facts)
    return folder, expect, whiten


def test_a_larger_gallery_is_read_in_blocks_and_counts_training_images(
    variants, data, whitened, prepared, monkeypatch
):
    """The data set itself as gallery: 10 test images among all its 82."""
    folder, expect, whiten = whitened
    results = []
    for block in (1, 2**25):
        monkeypatch.setattr(retrieval_scores, "BLOCK", block)
        results.append(variants(folder, gallery=data))
    (result, table, out), (_, again, _) = results
    assert result["n_gallery"] == 82
    seen = {*prepared.images_of("train"), *prepared.images_of("validation")}
    assert result["training_images"] == len(seen)
    pd.testing.assert_frame_equal(table, again)
    tokens = load_file(folder / "tokens.safetensors")
    bank = torch.from_numpy(np.asarray(prepared.targets("lite0")[:72], np.float32))
    calibration = fit_calibration(
        whiten(tokens["training_backbone"]), whiten(tokens["training_expected"])
    )
    queries, own = whiten(tokens["backbone"]), whiten(tokens["expected"])
    for name, preds, gallery, known in (
        ("calibrated", queries, torch.cat([own, whiten(expect(bank))]), calibration),
        ("raw", tokens["backbone"], torch.cat([tokens["true"], bank]), None),
    ):
        want = top_k_hits(similarity(preds, gallery, known), k=5)
        np.testing.assert_allclose(table[f"{name}_top5_of_82"], want, atol=1e-6)
    near = similarity(queries, own, calibration)
    scores = pd.read_parquet(out / "scores.parquet")
    for name, directed in (("image_top1", near), ("brain_top1", near.T)):
        np.testing.assert_allclose(scores[name], top_k_hits(directed, k=1), atol=1e-6)


def test_another_encoder_ranks_the_gallery_in_its_space(
    variants, data, decoded, adapted, tmp_path
):
    """A bank that is a rotation of the tokens must give what centred tokens give, nearly."""
    other = shutil.copytree(data, tmp_path / "data")
    tokens = np.load(other / "targets" / "lite0" / "values.npy").reshape(82, -1)
    (other / "targets" / "dinov2-giant").mkdir()
    order = np.random.default_rng(0).permutation(tokens.shape[1])
    np.save(other / "targets" / "dinov2-giant" / "values.npy", tokens[:, None, order])
    manifest = read_manifest(data, stage="prepare")
    facts = {k: manifest[k] for k in ("subjects", "label", "simulated") if k in manifest}
    write_manifest(other, stage="prepare", config=manifest["config"], **facts)
    source = shutil.copytree(decoded, tmp_path / "decoded")
    manifest = read_manifest(decoded, stage="reconstruct")
    facts = {k: manifest[k] for k in ("subject", "label", "training_images", "encoder")}
    config = {**manifest["config"], "source": "../data", "init": str(adapted)}
    write_manifest(source, stage="reconstruct", config=config, **facts)
    result, table, _ = variants(source, gallery_encoder="dinov2-giant", gallery=other)
    names = [row["name"] for row in result["rows"]]
    assert "dinov2-giant_calibrated_top5_of_82" in names
    assert "dinov2-giant_raw_top1_of_82" in names
    assert table["dinov2-giant_calibrated_top5_of_82"].between(0, 1).all()
    with pytest.raises(ArtifactError, match=r"no targets of the encoder 'dinov2-giant'"):
        variants(gallery_encoder="dinov2-giant")
