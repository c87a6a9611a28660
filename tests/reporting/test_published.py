import csv
from importlib.resources import files

import pytest

from mindeye2.metrics.protocols import PROTOCOLS
from mindeye2.reporting.published import result_tables

SUMMARY = [
    {"name": name, "title": name, "value": 0.5, "low": 0.4, "high": 0.6}
    for name in (
        *("pixcorr_blended", "effnet_blended", "pixcorr_unclip", "image_given_brain_300"),
        *("brain_correlation_V1_blended", "meteor_coco"),
    )
]


def tables(protocol="mindeye2-2024", **given):
    facts = {"subject": "subj01", "n_images": 1000, **given}
    return {
        t.caption.partition(":")[0]: t for t in result_tables(SUMMARY, protocol=protocol, **facts)
    }


def test_rows_of_the_protocol_and_of_the_subject_stand_beside_the_run():
    rows = tables()["Images and retrieval"].rows
    labels = [row.label for row in rows]
    assert labels[:2] == ["This run, blended image", "This run, unCLIP image"]
    assert "MindEye2, 40 sessions, subj01" in labels
    assert "MindEye2, 1 session, mean of subj01, 02, 05, 07" in labels
    assert not any("subj02" in x and "mean" not in x for x in labels)
    assert all(row.note for row in rows[2:])
    later = {row.label: row for row in rows[2:] if not row.note.startswith("Scotti et al. 2024")}
    assert "MindTuner, 1 session, mean of subj01, 02, 05, 07" in later
    assert all("protocol was not checked" in row.note for row in later.values())


def test_directions_of_retrieval_follow_the_published_names():
    first, second, *_ = tables()["Images and retrieval"].rows
    assert (first.values["brain"], first.values["image"]) == (0.5, None)
    assert "brain" not in second.values


@pytest.mark.parametrize(
    "given",
    [{"protocol": "v1"}, {"n_images": 999}, {"protocol": "mindeye1-982", "n_images": 1000}],
)
def test_no_published_row_stands_beside_another_protocol(given):
    for table in tables(**given).values():
        assert not [row.label for row in table.rows if row.note]


def test_a_test_set_of_another_size_is_named():
    table = tables(n_images=8)["Images and retrieval"]
    assert "1000 test images and this run 8" in table.notes[0]


def test_captions_of_another_reference_stand_alone():
    assert len(tables()["Captions"].rows) > 1
    alone = tables("mindeye2-2024-first-caption")
    assert len(alone["Captions"].rows) == 1


def test_the_laptop_protocol_lists_its_scores():
    assert list(tables("laptop")) == ["All scores"]
    assert len(tables("laptop")["All scores"].rows) == len(SUMMARY)


def test_published_numbers_are_those_of_the_papers_tables():
    """A mean over four subjects equals the mean of its own rows, to the digits printed."""
    text = (files("mindeye2") / "assets" / "published" / "results.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    assert {row["protocol"] for row in rows} <= set(PROTOCOLS)
    assert all(row["source"] for row in rows)
    mine = [r for r in rows if r["method"] == "MindEye2" and r["images"] == "blended"]
    numbers = list(rows[0])[6:22]
    for data in ("40 sessions", "1 session"):
        mean, *subjects = sorted(
            (r for r in mine if r["data"] == data), key=lambda r: r["subject"]
        )
        assert [r["subject"] for r in subjects] == ["subj01", "subj02", "subj05", "subj07"]
        for name in numbers:
            want = sum(float(r[name]) for r in subjects) / 4
            assert float(mean[name]) == pytest.approx(want, abs=0.0021), (data, name)
