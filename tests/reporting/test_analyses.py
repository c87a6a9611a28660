"""Findings of analyses on the page, from folders as the stage leaves them."""

import base64
import dataclasses

import pytest

from mindeye2.core.artifacts import write_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.reporting import read_analyses, render_page

SVG = '<svg xmlns="http://www.w3.org/2000/svg"><text>V1 &amp; V2</text></svg>'


@pytest.fixture
def folder(tmp_path):
    """Return the folder of an analysis of subj08."""
    (tmp_path / "figure.svg").write_text(SVG)
    write_manifest(
        tmp_path,
        stage="analyse",
        config={},
        title="Regions",
        lines=["V1 carries <all>"],
        subject="subj08",
    )
    return tmp_path


def test_findings_and_figure_stand_on_the_page(folder, content):
    found = read_analyses([folder], subject="subj08")
    page = render_page(dataclasses.replace(content, analyses=found))
    assert '<a href="#analyses">Analyses</a>' in page
    assert "V1 carries &lt;all&gt;" in page
    assert base64.b64encode(SVG.encode()).decode() in page
    assert 'id="analyses"' not in render_page(content)


def test_an_analysis_of_another_subject_is_refused(folder):
    with pytest.raises(ArtifactError, match=r"analyses subj08, the page is about subj01"):
        read_analyses([folder], subject="subj01")
