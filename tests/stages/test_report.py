import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from mindeye2.core.artifacts import read_manifest, write_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.doctor import doctor
from mindeye2.stages.evaluate import evaluate
from mindeye2.stages.report import ReportSettings, report


@pytest.fixture(scope="session")
def html(page):
    return (page / "index.html").read_text()


def test_the_badge_follows_the_data_set_and_not_its_label(scores, data, html, tmp_path):
    assert "Three subjects" in html
    assert 'class="badge simulated"' in html
    measured = shutil.copytree(data, tmp_path / "measured")
    facts = read_manifest(data, stage="prepare")
    kept = {k: v for k, v in facts.items() if k not in ("schema", "stage", "mindeye2", "files")}
    write_manifest(measured, stage="prepare", **{**kept, "simulated": False})
    report(ReportSettings(), source=scores, out=tmp_path / "page", data=measured)
    page = (tmp_path / "page" / "index.html").read_text()
    assert 'class="badge simulated"' not in page
    assert "Simulated responses test the software" not in page


def test_every_score_is_on_the_page(html, scores):
    for row in json.loads((scores / "summary.json").read_text()):
        assert row["title"] in html


def test_the_page_is_self_contained(html):
    links = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert [u[:40] for u in links if not u.startswith(("data:", "#"))] == []


def test_every_test_image_is_shown_with_both_captions(html, decoded, prepared):
    captions = pd.read_parquet(decoded / "items.parquet")["caption"]
    for image, caption in zip(range(72, 82), captions, strict=True):
        assert f"image {image}" in html
        assert prepared.captions[image] in html
        assert caption in html


def test_fewer_images_are_sampled_by_the_seed(scores, tmp_path):
    def shown(name, seed):
        settings = ReportSettings(max_images=4, seed=seed)
        report(settings, source=scores, out=tmp_path / name)
        return set(re.findall(r"image (\d{2})\b", (tmp_path / name / "index.html").read_text()))

    first, again, other = shown("a", 0), shown("b", 0), shown("c", 1)
    assert len(first) == 4
    assert first == again != other


def test_scores_of_other_images_cannot_be_compared(scores, tmp_path):
    other = shutil.copytree(scores, tmp_path / "other")
    table = pd.read_parquet(other / "scores.parquet")
    table[table["image"] != 75].to_parquet(other / "scores.parquet", index=False)
    config = read_manifest(scores, stage="evaluate")["config"]
    write_manifest(other, stage="evaluate", config=config, subject="subj03", label="")
    settings = ReportSettings(compare={"other": other})
    with pytest.raises(ArtifactError, match=r"lacks scores of 1 images .* e\.g\. of image 75"):
        report(settings, source=scores, out=tmp_path / "page")


def test_scores_that_did_not_finish_are_refused(scores, tmp_path):
    (tmp_path / "cut").mkdir()
    with pytest.raises(ArtifactError, match=r"the stage 'evaluate' did not finish there"):
        report(ReportSettings(), source=tmp_path / "cut", out=tmp_path / "page")
    settings = ReportSettings(compare={"cut": tmp_path / "cut"})
    with pytest.raises(ArtifactError, match=r"cut has no manifest\.json"):
        report(settings, source=scores, out=tmp_path / "page")


def test_scores_without_their_reconstructions_are_refused(scores, tmp_path):
    other = shutil.copytree(scores, tmp_path / "other")
    config = {"source": str(tmp_path / "nowhere")}
    write_manifest(other, stage="evaluate", config=config, subject="subj03", label="")
    with pytest.raises(ArtifactError, match=r"nowhere does not exist"):
        report(ReportSettings(), source=other, out=tmp_path / "page")


def test_the_doctor_raises_no_alarm_on_the_folders_of_the_stages(
    home, data, pretrained, adapted, decoded, page
):
    """Scores apart: those of five training steps are not above chance."""
    findings = [
        f
        for folder in (data, pretrained, adapted, decoded, page, home)
        for f in doctor(folder).findings
    ]
    assert [f for f in findings if f.is_wrong and f.check not in {"environment", "scores"}] == []


@pytest.fixture
def published(decoded, data, judging, tmp_path):
    """Return scores of refined reconstructions that imported weights made, without blending."""
    for kind in ("mindeye", "unclip"):
        folder = tmp_path / "weights" / kind
        folder.mkdir(parents=True)
        facts = {"kind": kind, "source": f"{kind}.pth", "sha256": "f" * 64, "licence": "MIT"}
        write_manifest(folder, stage="import", config={"precision": "float32"}, **facts)
    folder = shutil.copytree(decoded, tmp_path / "decoded")
    (folder / "blended.npy").rename(folder / "refined.npy")
    manifest = read_manifest(decoded, stage="reconstruct")
    facts = {k: manifest[k] for k in ("subject", "label", "training_images")}
    config = {"source": str(data), "init": "../weights"}
    write_manifest(folder, stage="reconstruct", config=config, **facts)
    evaluate(judging, source=folder, out=tmp_path / "scores")
    return tmp_path / "scores"


def test_published_weights_are_reported_with_their_origin(published, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    report(ReportSettings(), source=Path("..") / published.name, out=Path("page"))
    page = Path("page/index.html").read_text()
    for kind in ("mindeye", "unclip"):
        assert f"{kind}.pth, sha256 ffffffffffff, MIT" in page
    assert "precision: float32" in page


def test_compared_runs_are_explained_on_the_first_screen(published, scores, tmp_path):
    """A run by its training, imported weights by their files, a run that moved as such."""
    moved = shutil.copytree(scores, tmp_path / "moved" / "scores")
    compare = {"imported": published, "lost": moved}
    report(ReportSettings(compare=compare), source=scores, out=tmp_path / "page")
    page = (tmp_path / "page" / "index.html").read_text()
    first_screen = page[: page.index("</header>")].replace("\N{NO-BREAK SPACE}", " ")
    for line in (
        "<b>adapt</b>: trained on two other subjects, adapted to subj03 with",
        "<b>imported</b>: imported, not trained here: mindeye.pth, unclip.pth;",
        "<b>lost</b>: its run is not where it was; Image given brain, top-1:",
        "a tie with adapt (0.0 to 0.0 points)",
    ):
        assert line in first_screen


def test_refined_images_stand_on_the_page(published, tmp_path):
    report(ReportSettings(), source=published, out=tmp_path / "page")
    page = (tmp_path / "page" / "index.html").read_text()
    gallery = json.loads(re.search(r'id="gallery-data">(.*?)</script>', page, re.S).group(1))
    assert [c["label"] for c in gallery["columns"]][:2] == ["Refined", "unCLIP"]
    assert "PixCorr, refined image" in page
    assert all(item["scores"][0] is not None for item in gallery["items"])
