"""Captions against published references, the data set's first and GIT's of the seen images."""

import shutil

import pandas as pd
import pytest

from mindeye2.core.artifacts import read_manifest, write_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.metrics import rouge
from mindeye2.metrics.catalogue import CAPTION_SCORES
from mindeye2.stages.evaluate import EvaluateSettings, evaluate

FIRST, PUBLISHED = "mindeye2-2024-first-caption", "mindeye2-2024"


@pytest.fixture
def score(six, networks, summary, tmp_path):
    """Return a function that scores captions, and gives the summary and what is missing."""
    count = iter(range(9))

    def _score(protocol, *, source=six, folder=networks, **settings):
        out = tmp_path / f"scores{next(count)}"
        chosen = EvaluateSettings(protocol=protocol, networks=folder, n_resamples=100, **settings)
        evaluate(chosen, source=source, out=out, device="cpu")
        return summary(out), read_manifest(out, stage="evaluate")["missing"], out

    return _score


@pytest.fixture
def imported(six, tmp_path):
    """Return reconstructions with published references: each is the decoded caption itself."""
    folder = shutil.copytree(six, tmp_path / "imported")
    items = pd.read_parquet(folder / "items.parquet")
    items["reference"], items["git_caption"] = items["caption"], "a cat"
    items.iloc[::-1].to_parquet(folder / "items.parquet", index=False)
    config = {"source": str(six.parent / "data")}
    write_manifest(
        folder, stage="reconstruct", config=config, subject="subj01", training_images=[6, 7]
    )
    return folder


def test_every_caption_column_is_scored_against_both_references(score, six):
    rows, missing, out = score(FIRST)
    wanted = {
        f"{name}_{which}" for name in CAPTION_SCORES for which in ("coco", "git", "git_coco")
    }
    assert wanted <= set(rows)
    assert not [m for m in missing if "aption" in m]
    table = pd.read_parquet(out / "scores.parquet")
    decoded = pd.read_parquet(six / "items.parquet")["caption"].tolist()
    want = rouge(decoded, decoded[::-1], kind="rouge1")
    assert table["rouge1_coco"].tolist() == pytest.approx(want.tolist())


def test_published_references_are_named_and_matched_by_image(score, imported):
    rows, missing, _ = score(PUBLISHED)
    assert not [name for name in rows if name.endswith("_coco")]
    assert any("all_captions.pt" in m and "first-caption" in m for m in missing)
    rows, _, _ = score(PUBLISHED, references=imported)
    assert rows["sentence_coco"]["value"] == pytest.approx(1)
    assert rows["rougeL_coco"]["value"] == pytest.approx(1)
    assert rows["rouge1_git"]["value"] < 1


def test_references_of_other_images_are_refused(score, imported, six):
    items = pd.read_parquet(imported / "items.parquet")
    items[items["image"] != 3].to_parquet(imported / "items.parquet", index=False)
    write_manifest(
        imported, stage="reconstruct", config={"source": str(six.parent / "data")},
        subject="subj01", training_images=[6, 7],
    )  # fmt: skip
    with pytest.raises(
        ArtifactError, match=r"no caption of 1 of the scored images, e\.g\. of image 3"
    ):
        score(PUBLISHED, references=imported)


def test_missing_encoders_are_named_with_size_and_licence(score, tmp_path, monkeypatch):
    monkeypatch.setattr("mindeye2.encoders.evaluation_weights.HubModel.find", lambda *_: None)
    monkeypatch.setattr("nltk.data.find", _not_found)
    rows, missing, _ = score(FIRST, folder=tmp_path)
    assert {"rouge1_coco", "rougeL_coco"} <= set(rows)
    assert not {"meteor_coco", "sentence_coco", "clip_b_coco", "rouge1_git"} & set(rows)
    text = " ".join(missing)
    for facts in ("WordNet", "about 91 MB, licence Apache-2.0", "git-large-coco", "605 MB"):
        assert facts in text


def _not_found(_):
    raise LookupError
