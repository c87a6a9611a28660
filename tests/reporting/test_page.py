import dataclasses
import html
import json
import re

import pytest

from mindeye2.reporting import (
    Column,
    Difference,
    ScoreRow,
    Table,
    TableRow,
    render_page,
)
from mindeye2.reporting.page import IMAGE_BUDGET, _clock


def data(page):
    """Return what the page's script reads."""
    return json.loads(re.search(r'id="gallery-data">(.*?)</script>', page, re.S).group(1))


def text(page):
    """Return what a reader sees without scripts, white space collapsed."""
    body = re.sub(r"<(script|style).*?</\1>", " ", page, flags=re.S)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


@pytest.fixture(scope="module")
def page(content):
    return render_page(content)


def test_the_page_loads_nothing_from_anywhere(page):
    own = re.sub(r"base64,[\w+/=]+", "", page)
    assert not re.search(r"https?:|//[a-z]|url\(|@import|\bfetch\(", own)
    addresses = re.findall(r'(?:src|href|action|data|poster)="([^"]*)"', page)
    assert addresses
    assert all(a.startswith("#") or a == "data:," for a in addresses)
    assert "default-src 'none'" in page


def test_every_score_has_its_interval_chance_floor_and_ceiling(page):
    seen = text(page)
    for numbers in (
        ("Image given brain, top-1", "41.4 %", "32.2 to 50.6 %", "1.0 %", "98.0 %"),
        ("PixCorr, blended", "0.243", "0.217 to 0.268", "0.173", "0.561"),
    ):
        assert all(n in seen for n in numbers)
        pattern = ".*?".join(map(re.escape, numbers))
        assert len(re.findall(pattern, seen)) >= 1


def test_the_badge_says_simulated_and_explains_it(page, content):
    assert 'class="badge simulated"' in page
    assert content.responses.explanation in text(page)
    real = dataclasses.replace(content.responses, label="Real fMRI", simulated=False)
    assert "badge simulated" not in render_page(dataclasses.replace(content, responses=real))


def test_a_paired_difference_gets_a_verdict_from_its_interval(page, content):
    assert "+9.4 points +3.1 to +15.6 points better" in text(page)
    comparison = content.comparisons[0]
    gap = dataclasses.replace(comparison.differences[0], low=-0.01)
    unclear = dataclasses.replace(comparison, differences=[gap])
    assert "tie" in text(render_page(dataclasses.replace(content, comparisons=[unclear])))


def test_for_a_distance_less_is_better(content):
    comparison = content.comparisons[0]
    gap = dataclasses.replace(comparison.differences[0], higher_is_better=False)
    other = dataclasses.replace(comparison, differences=[gap])
    assert "points worse" in text(render_page(dataclasses.replace(content, comparisons=[other])))


@pytest.mark.parametrize(
    ("part", "empty", "sign"),
    [
        ("warnings", (), ">Warnings<"),
        ("headline", (), 'class="cards"'),
        ("items", (), 'id="gallery"'),
        ("columns", {}, "What each image is"),
        ("scores", (), '<h2 id="scores-title"'),
        ("comparisons", (), 'id="comparison"'),
        ("learning", (), "Training curves"),
        ("ceilings", (), 'id="ceilings"'),
        ("notes", (), "How to read this page"),
        ("provenance", {}, 'class="facts"'),
        ("stages", (), 'class="stages"'),
        ("config", "", "All settings of this run"),
    ],
)
def test_a_part_that_is_missing_leaves_no_trace(page, content, part, *, empty, sign):
    changes = {part: empty}
    if part == "columns":
        changes["items"] = [dataclasses.replace(i, images={}) for i in content.items]
    assert sign in page
    assert sign not in render_page(dataclasses.replace(content, **changes))


def test_the_least_content_is_still_a_page(content):
    defaults = {
        f.name: f.default if f.default is not dataclasses.MISSING else f.default_factory()
        for f in dataclasses.fields(content)
        if f.name not in ("title", "summary", "responses")
    }
    page = render_page(dataclasses.replace(content, **defaults))
    assert "<section" not in page
    assert "<h1>Images of eight subjects</h1>" in page


def test_text_cannot_become_markup(content):
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>&"
    item = dataclasses.replace(
        content.items[0], name=evil, caption=evil, scores={evil: 0.5}, retrieved=(), rank=None
    )
    page = render_page(
        dataclasses.replace(
            content, title=evil, summary=evil, config=evil, warnings=[evil], items=[item],
            columns={**content.columns, evil: evil}, provenance={evil: evil},
            scores=[ScoreRow(metric=evil, value=0.5)],
        )
    )  # fmt: skip
    assert "alert(1)</script>" not in page
    assert "<img" not in page
    assert data(page)["items"][0]["caption"] == evil


def test_a_hundred_images_stay_below_ten_megabytes(content):
    items = [
        dataclasses.replace(content.items[n % 14], name=f"image {n}", retrieved=range(5))
        for n in range(100)
    ]
    page = render_page(dataclasses.replace(content, items=items))
    rest = len(page) - sum(map(len, data(page)["images"]))
    assert rest + IMAGE_BUDGET < 10_000_000


@pytest.mark.parametrize(
    ("change", "message"),
    [({"a": "ridge"}, "names the arm 'ridge'"), ({"metric": "SSIM"}, "names the score 'SSIM'")],
)
def test_a_difference_of_something_unknown_is_refused(content, change, message):
    comparison = content.comparisons[0]
    gap: Difference = dataclasses.replace(comparison.differences[0], **change)
    other = dataclasses.replace(comparison, differences=[gap])
    with pytest.raises(ValueError, match=message):
        render_page(dataclasses.replace(content, comparisons=[other]))


def test_durations_are_written_in_two_units():
    assert [_clock(s) for s in (3.42, 59.97, 61.2, 3725)] == [
        "3.4 s", "1 min 00 s", "1 min 01 s", "1 h 02 min",
    ]  # fmt: skip


def test_published_rows_stand_on_the_page_beside_the_run(content, page):
    table = Table(
        caption="Images: mindeye2-2024",
        columns=[
            Column(key="clip", title="CLIP", percent=True),
            Column(key="effnet", title="Eff", higher_is_better=False),
        ],
        rows=[
            TableRow(label="This <run>", values={"clip": 0.8, "effnet": 0.7}, own=True),
            TableRow(label="MindEye2", values={"clip": 0.93}, note="Table 1"),
        ],
        notes=["A note."],
    )
    seen = render_page(dataclasses.replace(content, tables=[table]))
    assert "CLIP Eff lower is better This <run> 80.0 % 0.700 MindEye2 93.0 % A note." in text(seen)
    assert 'href="#published"' in seen
    assert 'href="#published"' not in page


def test_variants_of_retrieval_fold_away(page, content):
    rows = [dataclasses.replace(content.scores[0], metric=f"retrieval {i}") for i in range(4)]
    seen = render_page(dataclasses.replace(content, scores=[*rows, content.scores[1]]))
    main, folded = seen.split('<details class="variants">')
    assert "retrieval 0" in main
    assert "PixCorr, blended" in main
    assert "retrieval 1" not in main
    assert folded.index("retrieval 1") < folded.index("retrieval 3") < folded.index("</details>")
    assert 'class="variants"' not in page


def test_the_statement_stands_before_the_summary_and_arms_are_explained(content):
    comparison = content.comparisons[0]
    arms = [dataclasses.replace(a, explanation=f"how {a.name}") for a in comparison.arms]
    changed = dataclasses.replace(comparison, arms=arms)
    seen = text(
        render_page(
            dataclasses.replace(content, statement="Found in 54 of 100.", comparisons=[changed])
        )
    )
    assert seen.index("Found in 54 of 100.") < seen.index(content.summary)
    assert "pretrained : how pretrained" in seen
