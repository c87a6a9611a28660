import json
import re
import shutil

import pandas as pd
import pytest

from mindeye2.core.artifacts import read_manifest, write_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.doctor import doctor
from mindeye2.stages.report import ReportSettings, report


@pytest.fixture(scope="session")
def html(page):
    return (page / "index.html").read_text()


def test_the_page_says_whose_brains_they_are(html):
    assert "Three people" in html
    assert "no person was scanned" in html


def test_every_score_is_on_the_page(html, scores):
    for row in json.loads((scores / "summary.json").read_text()):
        assert row["title"] in html


def test_the_page_needs_nothing_beside_it(html):
    links = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert [u[:40] for u in links if not u.startswith(("data:", "#"))] == []


def test_every_test_image_is_shown_with_both_captions(html, decoded, prepared):
    captions = pd.read_parquet(decoded / "items.parquet")["caption"]
    for image, caption in zip(range(72, 82), captions, strict=True):
        assert f"image {image}" in html
        assert prepared.captions[image] in html
        assert caption in html


def test_fewer_images_are_drawn_by_the_seed(scores, tmp_path):
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


def test_scores_whose_pictures_are_gone_are_refused(scores, tmp_path):
    other = shutil.copytree(scores, tmp_path / "other")
    config = {"source": str(tmp_path / "nowhere")}
    write_manifest(other, stage="evaluate", config=config, subject="subj03", label="")
    with pytest.raises(ArtifactError, match=r"nowhere is not a folder.*'mindeye2 reconstruct'"):
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
