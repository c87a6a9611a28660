import functools
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skimage.transform
import sklearn.metrics
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from mindeye2.cli import app
from mindeye2.core.artifacts import read_manifest, write_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.metrics.catalogue import CAPTION_SCORES, METRICS
from mindeye2.metrics.protocols import REGIONS
from mindeye2.stages.evaluate import evaluate

N = 60
"""Images of forged reconstructions; chance levels need more than the tiny world has."""


def read_summary(folder):
    return {row["name"]: row for row in json.loads((folder / "summary.json").read_text())}


@pytest.fixture
def score(data, judging, tmp_path):
    """Return a function that scores forged tokens of images 0 to 59."""

    def _score(preds, targets, *, retrieval=None, training_images=range(60, 82)):
        bank = torch.randn(22, 4, 6, generator=torch.Generator().manual_seed(9))
        tokens = {"backbone": preds, "retrieval": preds if retrieval is None else retrieval}
        tokens |= {"prior": preds, "true": targets, "expected": targets.clone()}
        tokens |= {
            f"training_{n}": bank + 0.1 * i for i, n in enumerate(("backbone", "true", "expected"))
        }
        folder = tmp_path / "forged"
        folder.mkdir()
        save_file(
            {k: v.contiguous().clone() for k, v in tokens.items()}, folder / "tokens.safetensors"
        )
        items = pd.DataFrame({"image": range(N), "nearest_training_image": [60] * N})
        items.to_parquet(folder / "items.parquet", index=False)
        write_manifest(
            folder,
            stage="reconstruct",
            config={"source": str(data)},
            subject="subj01",
            training_images=list(training_images),
        )
        evaluate(judging, source=folder, out=tmp_path / "scores")
        return read_summary(tmp_path / "scores")

    return _score


def test_true_tokens_are_found_by_every_metric(score, rng):
    targets = torch.randn(N, 4, 6, generator=rng)
    rows = score(targets, targets)
    perfect = ("image_top1", "image_top5", "image_two_way", "brain_top1", "image_top1_raw")
    for name in (*perfect, "two_way_prior"):
        assert rows[name]["value"] == 1, name


def test_shuffled_predictions_score_at_the_chance_levels_of_the_table(score, rng):
    """Predictions that belong to other images, here those of the next one, are guesses."""
    targets, noise = torch.randn(2, N, 4, 6, generator=rng)
    rows = score((0.5 * targets + noise).roll(1, dims=0), targets)
    assert rows["two_way_tokens"]["chance"] == 0.5
    for name in ("two_way_tokens", "image_two_way"):
        assert rows[name]["value"] == pytest.approx(0.5, abs=4 * 0.29 / N**0.5)
    for name, chance in (("image_top1", 1 / N), ("brain_top1", 1 / N), ("image_top5", 5 / N)):
        assert rows[name]["chance"] == pytest.approx(chance)
        assert rows[name]["value"] <= chance + 4 * (chance / N) ** 0.5


def test_predictions_that_are_all_alike_score_at_chance_and_not_as_hits(score, rng):
    """Each image then fits every brain sample equally: all are tied, and none is found."""
    rows = score(torch.ones(N, 4, 6), torch.randn(N, 4, 6, generator=rng))
    assert rows["brain_top1_raw"]["value"] == pytest.approx(1 / N)
    assert rows["brain_top1"]["value"] == pytest.approx(1 / N)
    assert rows["image_top5"]["value"] == pytest.approx(5 / N)
    assert rows["image_two_way"]["value"] == pytest.approx(0.5)


def test_captions_are_compared_by_meaning_where_an_encoder_is_given(
    decoded, judging, tmp_path, monkeypatch
):
    """With a stand-in that embeds a caption as its first letter."""

    def load(name):
        assert name == "some folder"
        return lambda texts: torch.eye(128)[[ord(t[0]) for t in texts]]

    monkeypatch.setattr("mindeye2.stages.evaluate.caption_scores.load_sentences", load)
    settings = judging.model_copy(update={"sentence_encoder": "some folder"})
    evaluate(settings, source=decoded, out=tmp_path / "scores")
    items = pd.read_parquet(decoded / "items.parquet")
    row = read_summary(tmp_path / "scores")["caption_meaning"]
    table = pd.read_parquet(tmp_path / "scores" / "scores.parquet")
    assert set(table["caption_meaning"]) <= {0.0, 1.0}
    assert row["value"] == pytest.approx(table["caption_meaning"].mean())
    assert len(items) == row["n"]


def test_the_retrieval_head_is_scored_by_raw_cosine_in_both_directions(score, rng):
    """An offset of all test predictions must count: removing their mean uses the test set."""
    targets, noise = torch.randn(2, N, 4, 6, generator=rng)
    retrieval = targets + noise + 3 * torch.randn(1, 4, 6, generator=rng)
    rows = score(noise, targets, retrieval=retrieval)
    cosine = sklearn.metrics.pairwise.cosine_similarity(retrieval.flatten(1), targets.flatten(1))
    for name, similarity in (("image", cosine), ("brain", cosine.T)):
        hits = (similarity.argmax(axis=1) == range(N)).mean()
        assert 1 / N < hits < 0.9
        assert rows[f"{name}_top1_retrieval_head"]["value"] == pytest.approx(hits)


def test_a_constant_category_scores_its_frequency(score, prepared, rng):
    categories = prepared.categories
    row = score(*torch.randn(2, N, 4, 6, generator=rng))["category"]
    assert row["value"] == pytest.approx(np.mean([c == categories[60] for c in categories[:N]]))
    training = categories[60:82]
    guesses = [training.count(c) / len(training) for c in categories[:N]]
    assert row["chance"] == pytest.approx(np.mean(guesses))


def test_a_gallery_with_training_images_is_refused(score, rng):
    with pytest.raises(ValueError, match=r"2 of the 60 images in the gallery were trained on"):
        score(*torch.randn(2, N, 4, 6, generator=rng), training_images=[58, 59, 60])


def test_every_score_has_an_interval_around_it(scores):
    rows = read_summary(scores)
    assert set(rows) <= set(METRICS)
    for name, row in rows.items():
        assert row["low"] <= row["value"] <= row["high"], name
        assert row["n"] == 10
    assert rows["image_top1"]["chance"] == 0.1
    assert rows["pixcorr_blended"]["ceiling"] == rows["pixcorr_ceiling"]["value"]
    assert rows["pixcorr_blended"]["floor"] == rows["pixcorr_floor"]["value"]


def test_scores_of_tokens_stand_beside_their_noise_ceilings(scores, page):
    rows = read_summary(scores)
    bounded = {n for n, row in rows.items() if row["noise_ceiling_high"] is not None}
    assert bounded == {"image_top1", "image_top5", "image_two_way", "two_way_tokens"}
    for name in bounded:
        assert 0 <= rows[name]["noise_ceiling_low"] <= rows[name]["noise_ceiling_high"] <= 1
    assert "noise ceiling from | to |" in (scores / "table.md").read_text()
    html = (page / "index.html").read_text()
    assert "Noise ceiling: " in html
    assert "only the noise of the measurement were left" in html


def test_there_is_one_number_per_image_whose_mean_is_the_score(scores):
    table, rows = pd.read_parquet(scores / "scores.parquet"), read_summary(scores)
    assert table["image"].tolist() == list(range(72, 82))
    for name, row in rows.items():
        assert table[name].mean() == pytest.approx(row["value"], rel=1e-5)
    assert table["rank"].between(1, 10).all()
    hits = (table["rank"] == 1).mean()
    assert hits == pytest.approx(rows["image_top1"]["value"])


def test_pixcorr_resizes_the_seen_image_bilinearly_as_published(scores, decoded, prepared):
    resize = functools.partial(skimage.transform.resize, order=1, mode="edge", anti_aliasing=False)
    preds = np.load(decoded / "lowlevel.npy")[3].astype(np.float64)
    targets = resize(np.array(prepared.images[75], dtype=np.float64), preds.shape)
    assert prepared.images.shape[1] < preds.shape[0]  # where "area" would repeat pixels
    large = [resize(x, (425, 425, 3)).ravel() for x in (preds, targets)]
    table = pd.read_parquet(scores / "scores.parquet")
    assert table["pixcorr_lowlevel"][3] == pytest.approx(np.corrcoef(*large)[0, 1], abs=1e-6)


@pytest.fixture
def refined(decoded, data, adapted, tmp_path):
    """Return a copy of the reconstructions with images that a refinement made."""
    folder = shutil.copytree(decoded, tmp_path / "refined")
    images = np.load(folder / "unclip.npy")
    np.save(folder / "refined.npy", 255 - images)
    manifest = read_manifest(decoded, stage="reconstruct")
    facts = {k: manifest[k] for k in ("subject", "label", "training_images")}
    config = {**manifest["config"], "source": str(data), "init": str(adapted)}
    write_manifest(folder, stage="reconstruct", config=config, **facts)
    return folder


def test_refined_images_are_scored(refined, judging, tmp_path):
    evaluate(judging, source=refined, out=tmp_path / "scores")
    rows = read_summary(tmp_path / "scores")
    table = pd.read_parquet(tmp_path / "scores" / "scores.parquet")
    np.testing.assert_allclose(table["pixcorr_refined"], -table["pixcorr_unclip"], atol=0.02)
    assert {"ssim_refined", "two_way_refined"} <= set(rows)


def test_folders_are_found_from_any_working_directory(decoded, judging, tmp_path, monkeypatch):
    monkeypatch.chdir(decoded.parent)
    evaluate(judging, source=Path(decoded.name), out=Path("scores elsewhere"))
    monkeypatch.chdir(tmp_path)
    config = read_manifest(decoded.parent / "scores elsewhere", stage="evaluate")["config"]
    assert (config["source"], config["data"]) == ("../decoded", "../data")


def test_a_data_set_that_moved_is_given(decoded, data, judging, tmp_path):
    moved = shutil.copytree(data, tmp_path / "moved")
    lost = shutil.copytree(decoded, tmp_path / "lost")
    manifest = read_manifest(decoded, stage="reconstruct")
    facts = {k: manifest[k] for k in ("subject", "label", "training_images")}
    write_manifest(lost, stage="reconstruct", config={"source": "../nowhere"}, **facts)
    with pytest.raises(ArtifactError, match=r"nowhere does not exist"):
        evaluate(judging, source=lost, out=tmp_path / "scores")
    evaluate(judging, source=lost, out=tmp_path / "scores", data=moved)
    config = read_manifest(tmp_path / "scores", stage="evaluate")["config"]
    assert config["data"] == "../moved"


def test_retrieved_images_are_rows_of_the_test_set(scores):
    retrieved = np.load(scores / "retrieved.npy")
    assert retrieved.shape == (10, 5)
    assert all(len(set(row)) == 5 and max(row) < 10 for row in retrieved.tolist())


def test_tokens_alone_are_scored_without_images(decoded, data, judging, tmp_path):
    tokens = shutil.copytree(decoded, tmp_path / "tokens", ignore=shutil.ignore_patterns("*.npy"))
    manifest = read_manifest(decoded, stage="reconstruct")
    facts = {k: manifest[k] for k in ("config", "subject", "label", "training_images")}
    write_manifest(tokens, stage="reconstruct", **facts)
    evaluate(judging, source=tokens, out=tmp_path / "scores", data=data)
    assert {METRICS[n].group for n in read_summary(tmp_path / "scores")} == {
        "Retrieval",
        "Identification",
        "Reliability of the responses",
        "Captions",
    }


def test_unfinished_folders_are_not_scored(judging, data, tmp_path):
    with pytest.raises(ArtifactError, match=r"made by 'mindeye2 prepare'.*mindeye2 reconstruct"):
        evaluate(judging, source=data, out=tmp_path / "out")
    (tmp_path / "cut").mkdir()
    with pytest.raises(ArtifactError, match=r"the stage 'reconstruct' did not finish there"):
        evaluate(judging, source=tmp_path / "cut", out=tmp_path / "out")


@pytest.mark.usefixtures("pooling")
def test_one_command_scores_every_column_of_the_papers_tables(six, files, tmp_path):
    """With networks of the published classes, small and filled; UMAP is an extra of its own."""
    items = pd.read_parquet(six / "items.parquet")
    references = shutil.copytree(six, tmp_path / "references")
    items.assign(reference=items["caption"]).to_parquet(references / "items.parquet")
    write_manifest(references, stage="reconstruct", config={}, subject="", training_images=[])
    done = CliRunner().invoke(
        app,
        [
            *("evaluate", "--source", str(six), "--out", str(tmp_path / "scores")),
            *("--set", "protocol=mindeye2-2024", "--set", f"networks={files}"),
            *("--set", f"references={references}", "--set", "n_resamples=100"),
            *("--device", "cpu"),
        ],
    )
    assert done.exit_code == 0, done.output
    rows = read_summary(tmp_path / "scores")
    kinds = ("unclip", "refined", "blended", "lowlevel")
    images = ("pixcorr", "ssim", "alexnet2", "alexnet5", "inception", "clip", "effnet", "swav")
    brain = [f"brain_correlation_{region}" for region in REGIONS]
    captions = {f"{name}_{k}" for name in CAPTION_SCORES for k in ("coco", "git", "git_coco")}
    assert set(rows) == {
        *("image_given_brain_300", "brain_given_image_300", "pixcorr_floor", "ssim_floor"),
        *(f"{column}_{kind}" for column in (*images, *brain) for kind in kinds),
        *captions,
    }
    table = pd.read_parquet(tmp_path / "scores" / "scores.parquet")
    assert len(table) == 6
    assert all(r["low"] - 1e-6 <= r["value"] <= r["high"] + 1e-6 for r in rows.values())
    missing = read_manifest(tmp_path / "scores", stage="evaluate")["missing"]
    assert [m for m in missing if "umap" not in m] == []
    text = (tmp_path / "scores" / "table.md").read_text()
    assert "## Captions: mindeye2-2024, subj01, 6 images" in text
    assert "Scotti" not in text  # the protocol has 1,000 images
    assert r"\toprule" in (tmp_path / "scores" / "table.tex").read_text()


@pytest.mark.slow
def test_two_processes_decode_a_run_and_score_it(adapted, tmp_path, launch_command):
    words = ["evaluate", "--source", adapted, "--set", "n_resamples=100"]
    for setting in ("images=false", "captions=false", "prior_samples=1", "prior_steps=2"):
        words += ["--decoding", setting]
    for n in (1, 2):
        out, decoded = tmp_path / f"scores{n}", tmp_path / f"decoded{n}"
        codes, errors = launch_command(n, *words, "--decoded", decoded, "--out", out)
        assert codes == [0] * n, errors
    files = [
        [(tmp_path / f"{name}{n}" / file).read_bytes() for n in (1, 2)]
        for name, file in (("scores", "scores.parquet"), ("decoded", "tokens.safetensors"))
    ]
    assert files[0][0] == files[0][1]
    assert files[1][0] == files[1][1]
