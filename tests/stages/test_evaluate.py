import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from mindeye2.core.artifacts import read_manifest, write_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.stages.evaluate import METRICS, evaluate

N = 60
"""Images of forged reconstructions; chance levels need more than the tiny world has."""


def summary(folder):
    return {row["name"]: row for row in json.loads((folder / "summary.json").read_text())}


@pytest.fixture
def score(data, judging, tmp_path):
    """Return a function that scores forged tokens of images 0 to 59."""

    def _score(predicted, true, *, training_images=range(60, 82)):
        bank = torch.randn(22, 4, 6, generator=torch.Generator().manual_seed(9))
        tokens = {"backbone": predicted, "retrieval": predicted, "prior": predicted}
        tokens |= {"true": true, "expected": true.clone()}
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
        return summary(tmp_path / "scores")

    return _score


def test_true_tokens_are_found_by_every_metric(score, rng):
    true = torch.randn(N, 4, 6, generator=rng)
    rows = score(true, true)
    for name in ("image_top1", "image_top5", "brain_top1", "image_top1_raw", "two_way_prior"):
        assert rows[name]["value"] == 1, name


def test_shuffled_predictions_score_at_the_chance_levels_of_the_table(score, rng):
    """Predictions that belong to other images, here those of the next one, are guesses."""
    true, predicted = torch.randn(2, N, 4, 6, generator=rng)
    predicted = (0.5 * true + predicted).roll(1, dims=0)
    rows = score(predicted, true)
    assert rows["two_way_tokens"]["chance"] == 0.5
    assert rows["two_way_tokens"]["value"] == pytest.approx(0.5, abs=4 * 0.29 / N**0.5)
    for name, chance in (("image_top1", 1 / N), ("brain_top1", 1 / N), ("image_top5", 5 / N)):
        assert rows[name]["chance"] == pytest.approx(chance)
        assert rows[name]["value"] <= chance + 4 * (chance / N) ** 0.5


def test_predictions_that_are_all_alike_score_at_chance_and_not_as_hits(score, rng):
    """Each image then fits every brain equally: all are tied, and none is found."""
    true = torch.randn(N, 4, 6, generator=rng)
    rows = score(torch.ones(N, 4, 6), true)
    assert rows["brain_top1_raw"]["value"] == pytest.approx(1 / N)
    assert rows["brain_top1"]["value"] == pytest.approx(1 / N)
    assert rows["image_top5"]["value"] == pytest.approx(5 / N)


def test_captions_are_compared_by_meaning_where_an_encoder_is_given(
    decoded, judging, tmp_path, monkeypatch
):
    """With a stand-in that embeds a caption as what letter it begins with."""

    def load(name):
        assert name == "some folder"
        return lambda texts: torch.eye(128)[[ord(t[0]) for t in texts]]

    monkeypatch.setattr("mindeye2.stages.evaluate.load_sentences", load)
    settings = judging.model_copy(update={"sentence_encoder": "some folder"})
    evaluate(settings, source=decoded, out=tmp_path / "scores")
    items = pd.read_parquet(decoded / "items.parquet")
    row = summary(tmp_path / "scores")["caption_meaning"]
    table = pd.read_parquet(tmp_path / "scores" / "scores.parquet")
    assert set(table["caption_meaning"]) <= {0.0, 1.0}
    assert row["value"] == pytest.approx(table["caption_meaning"].mean())
    assert len(items) == row["n"]


def test_a_constant_guess_of_the_kind_scores_its_share(score, prepared, rng):
    kinds = prepared.categories
    row = score(*torch.randn(2, N, 4, 6, generator=rng))["category"]
    assert row["value"] == pytest.approx(np.mean([k == kinds[60] for k in kinds[:N]]))
    known = kinds[60:82]
    guesses = [known.count(k) / len(known) for k in kinds[:N]]
    assert row["chance"] == pytest.approx(np.mean(guesses))


def test_a_gallery_with_training_images_is_refused(score, rng):
    with pytest.raises(ValueError, match=r"2 of the 60 images in the gallery were trained on"):
        score(*torch.randn(2, N, 4, 6, generator=rng), training_images=[58, 59, 60])


def test_every_score_has_an_interval_around_it(scores):
    rows = summary(scores)
    assert set(rows) <= set(METRICS)
    for name, row in rows.items():
        assert row["low"] <= row["value"] <= row["high"], name
        assert row["n"] == 10
    assert rows["image_top1"]["chance"] == 0.1
    assert rows["pixcorr_blended"]["ceiling"] == rows["pixcorr_ceiling"]["value"]
    assert rows["pixcorr_blended"]["floor"] == rows["pixcorr_floor"]["value"]


def test_there_is_one_number_per_image_whose_mean_is_the_score(scores):
    table, rows = pd.read_parquet(scores / "scores.parquet"), summary(scores)
    assert table["image"].tolist() == list(range(72, 82))
    for name, row in rows.items():
        assert table[name].mean() == pytest.approx(row["value"], rel=1e-5)
    assert table["rank"].between(1, 10).all()
    hits = (table["rank"] == 1).mean()
    assert hits == pytest.approx(rows["image_top1"]["value"])


def test_pixcorr_is_numpy_s_correlation_with_the_seen_picture(scores, decoded, prepared):
    drawn = np.load(decoded / "lowlevel.npy")[3].astype(np.float64)
    seen = torch.tensor(np.array(prepared.images[75])).permute(2, 0, 1)[None].double()
    seen = torch.nn.functional.interpolate(seen, drawn.shape[:2], mode="area")[0]
    expected = np.corrcoef(drawn.ravel(), seen.permute(1, 2, 0).numpy().ravel())[0, 1]
    table = pd.read_parquet(scores / "scores.parquet")
    # The published scores are of pictures enlarged to 425 pixels, which changes little.
    assert table["pixcorr_lowlevel"][3] == pytest.approx(expected, abs=0.02)


def test_the_best_candidates_are_rows_of_the_test_set(scores):
    retrieved = np.load(scores / "retrieved.npy")
    assert retrieved.shape == (10, 5)
    assert all(len(set(row)) == 5 and max(row) < 10 for row in retrieved.tolist())


def test_tokens_alone_are_scored_without_pictures(decoded, judging, tmp_path):
    tokens = shutil.copytree(decoded, tmp_path / "tokens", ignore=shutil.ignore_patterns("*.npy"))
    manifest = read_manifest(decoded, stage="reconstruct")
    facts = {k: manifest[k] for k in ("config", "subject", "label", "training_images")}
    write_manifest(tokens, stage="reconstruct", **facts)
    evaluate(judging, source=tokens, out=tmp_path / "scores")
    assert {METRICS[n].group for n in summary(tmp_path / "scores")} == {
        "Retrieval",
        "Identification",
        "Captions",
    }


def test_what_did_not_finish_is_not_scored(judging, data, tmp_path):
    with pytest.raises(ArtifactError, match=r"comes from the stage 'prepare'.*'reconstruct'"):
        evaluate(judging, source=data, out=tmp_path / "out")
    (tmp_path / "cut").mkdir()
    with pytest.raises(ArtifactError, match=r"the stage 'reconstruct' did not finish there"):
        evaluate(judging, source=tmp_path / "cut", out=tmp_path / "out")
