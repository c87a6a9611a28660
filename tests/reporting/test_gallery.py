"""The gallery's values, and what the page's script makes of them in a real browser."""

import csv
import dataclasses
import html
import io
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from mindeye2.reporting import GalleryItem, ImageScore, render_page
from mindeye2.reporting.gallery import gallery_values

WIDTHS = (1280, 768, 390)
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
SWITCHES = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--window-size=1400,900",
    "--dump-dom",
)

# Runs beside the page's own script, inside a frame of the width asked for: a window of headless
# Chromium is never narrower than 500 pixels.
QUESTIONS = """
const ask = (frame) => {
  const page = frame.contentDocument, view = frame.contentWindow, answer = {};
  const $ = (id) => page.getElementById(id);
  const names = () => [...page.querySelectorAll(".tile")].map((t) => t.getAttribute("aria-label"));
  const press = (node, key) => node.dispatchEvent(new view.KeyboardEvent("keydown", { key }));
  answer.state = { ...page.documentElement.dataset };
  answer.overflow = page.documentElement.scrollWidth - page.documentElement.clientWidth;
  answer.random = names();
  answer.nameless = [...page.querySelectorAll("img")].filter((i) => !i.alt).length;
  page.querySelector("input[value=worst]").click();
  answer.worst = names();
  $("more-all").click();
  answer.all = names().length;
  page.querySelectorAll(".tile")[1].click();
  const title = () => $("drill-title").textContent;
  answer.drill = [$("drill").open, title()];
  press($("drill"), "ArrowRight"); answer.drill.push(title());
  press($("drill"), "ArrowLeft"); answer.drill.push(title());
  answer.drillOverflow = $("drill").scrollWidth - $("drill").clientWidth;
  $("drill-close").click();
  $("filter").value = "caption 7"; $("filter").dispatchEvent(new view.Event("input"));
  answer.filtered = names();
  view.Blob = class { constructor(parts) { answer.csv = parts[0]; } };
  view.URL.createObjectURL = () => "#";
  $("blind-open").click();
  page.querySelector("#blind-body button.accent").click();
  for (let i = 0; page.querySelector(".choices"); i++) {
    press($("blind"), i % 3 ? "ArrowLeft" : "ArrowRight");
  }
  answer.result = $("blind-body").textContent;
  page.querySelector("#blind-body button.accent").click();
  answer.errors = page.documentElement.dataset.errors || 0;
  return answer;
};
addEventListener("load", () => {
  const answers = [...document.querySelectorAll("iframe")].map((frame) => {
    try { return ask(frame); } catch (error) { return { failure: String(error.stack) }; }
  });
  document.body.textContent = "ANSWERS" + JSON.stringify(answers) + "END";
});
"""


def values(content, *, image_budget=10**7):
    """Return the values as the script gets them: through JSON."""
    return json.loads(json.dumps(gallery_values(content, image_budget=image_budget)))


def test_an_item_needs_only_its_image(content):
    bare = GalleryItem(name="image 00", seen=content.items[0].seen)
    read = values(dataclasses.replace(content, items=[bare]))
    assert read["items"][0]["images"] == [None, None]
    assert read["scores"] == []


def test_equal_images_are_stored_once(content):
    read = values(content)
    used = {i["seen"] for i in read["items"]} | set(read["pool"])
    for i in read["items"]:
        used |= set(i["images"]) | {n for _, n in i["variants"]}
    # 14 seen, 14 reconstructions, 3 training images, 14 variants; the pool is the seen ones again.
    assert len(read["images"]) == len(set(read["images"])) == len(used) == 45


def test_a_pool_beyond_the_items_says_which_candidate_was_seen(content):
    pool = [np.full((8, 8, 3), v, np.uint8) for v in range(20)]
    item = dataclasses.replace(content.items[0], retrieved=[19, 7], target=7)
    read = values(dataclasses.replace(content, pool=pool, items=[item]))
    assert (len(read["pool"]), read["items"][0]["target"]) == (20, 7)
    unknown = dataclasses.replace(item, target=None)
    read = values(dataclasses.replace(content, pool=pool, items=[unknown]))
    assert read["items"][0]["target"] is None


def test_scores_that_no_item_has_are_not_offered_and_nan_is_null(content):
    scores = {"PixCorr": float("nan"), "other": 0.5}
    item = dataclasses.replace(content.items[0], scores=scores, retrieved=(), rank=None)
    listed = [*content.image_scores, ImageScore(name="nowhere")]
    read = values(dataclasses.replace(content, items=[item], image_scores=listed))
    assert [s["name"] for s in read["scores"]] == ["PixCorr", "other"]
    assert read["items"][0]["scores"] == [None, 0.5]


def test_images_that_do_not_fit_are_made_smaller(content):
    noise = np.random.default_rng(0).integers(0, 256, (12, 112, 112, 3), dtype=np.uint8)
    items = [GalleryItem(name=f"image {n}", seen=picture) for n, picture in enumerate(noise)]
    large = dataclasses.replace(content, items=items)
    assert sum(map(len, values(large)["images"])) > 80_000
    read = values(large, image_budget=40_000)
    assert sum(map(len, read["images"])) <= 40_000


def test_an_image_of_an_unknown_column_is_refused(content):
    item = dataclasses.replace(content.items[0], images={"Blurry": content.items[0].seen})
    with pytest.raises(ValueError, match=r"image 00 has an image 'Blurry', but the columns are"):
        values(dataclasses.replace(content, items=[item]))


def test_an_image_outside_the_pool_is_refused(content):
    item = dataclasses.replace(content.items[0], retrieved=[0, 14])
    items = [item, *content.items[1:]]
    with pytest.raises(ValueError, match=r"image 00 retrieves gallery image 14, .* has 0 to 13"):
        values(dataclasses.replace(content, items=items))


def test_a_rank_beyond_the_gallery_is_refused(content):
    item = dataclasses.replace(content.items[0], rank=15)
    with pytest.raises(
        ValueError, match=r"image 00 has rank 15, but the gallery has 14 images.*pool"
    ):
        values(dataclasses.replace(content, items=[item, *content.items[1:]]))


def ask(content, questions, folder):
    """Open a page in a browser at each width, and return what its script was asked."""
    browser = next(filter(None, map(shutil.which, NAMES)), None)
    if browser is None:
        pytest.skip(f"needs a browser: none of {', '.join(NAMES)} is installed")
    page = html.escape(render_page(content))
    frames = "".join(
        f'<iframe style="width:{w}px;height:900px" srcdoc="{page}"></iframe>' for w in WIDTHS
    )
    outer = folder / "outer.html"
    outer.write_text(f"<!doctype html><body>{frames}<script>{questions}</script></body>")
    command = [browser, *SWITCHES, f"--user-data-dir={folder}", outer.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r"ANSWERS(.*)END", done.stdout, re.S)
    assert found, f"the page's script did not finish: {done.stderr[-2000:]}"
    return dict(zip(WIDTHS, json.loads(html.unescape(found.group(1))), strict=True))


@pytest.fixture(scope="module")
def answers(content, tmp_path_factory):
    return ask(content, QUESTIONS, tmp_path_factory.mktemp("browser"))


@pytest.fixture(params=WIDTHS)
def answer(request, answers):
    assert "failure" not in answers[request.param], answers[request.param]["failure"]
    return answers[request.param]


def test_no_script_fails_and_nothing_is_wider_than_the_window(answer):
    assert answer["errors"] == 0
    assert answer["state"]["overflow"] == "0"
    assert answer["overflow"] == answer["drillOverflow"] == 0


def test_every_image_has_an_alternative_text(answer):
    assert answer["nameless"] == 0


def test_the_gallery_opens_at_random_and_sorts_by_the_score_asked_for(answer, content):
    by_score = sorted(content.items, key=lambda i: i.scores["PixCorr"])
    assert answer["worst"] == [f"{i.name}, open details" for i in by_score][: len(answer["worst"])]
    assert set(answer["random"]) <= {f"{i.name}, open details" for i in content.items}
    assert answer["random"] != sorted(answer["random"])
    assert answer["all"] == len(content.items)


def test_the_same_seed_shows_the_same_sample_at_any_width(answers):
    narrow, wide = answers[390]["random"], answers[1280]["random"]
    assert (len(narrow), len(wide)) == (6, 12)
    assert wide[:6] == narrow


def test_the_arrow_keys_browse_in_the_order_of_the_gallery(answer, content):
    by_score = [i.name for i in sorted(content.items, key=lambda i: i.scores["PixCorr"])]
    assert answer["drill"] == [True, by_score[1], by_score[2], by_score[1]]


def test_the_filter_looks_into_captions(answer):
    assert answer["filtered"] == ["image 07, open details"]


def test_the_blind_test_writes_one_line_a_choice_that_adds_up(answer, content):
    rows = list(csv.DictReader(io.StringIO(answer["csv"])))
    assert sorted(r["image"] for r in rows) == [i.name for i in content.items]
    for row in rows:
        assert row["image"] in (row["left"], row["right"])
        assert row["left"] != row["right"]
        assert int(row["correct"]) == (row[row["choice"]] == row["image"])
    right = sum(int(r["correct"]) for r in rows)
    assert f"in {right} of {len(rows)} " in answer["result"]


def test_a_thousand_images_are_made_as_they_are_asked_for(content, tmp_path):
    """No tile, and no image but those of the first screen, exists before it is shown."""
    items = [
        dataclasses.replace(content.items[n % 14], name=f"image {n}", retrieved=(n,), rank=1)
        for n in range(1000)
    ]
    start, end = QUESTIONS.index("  answer.random"), QUESTIONS.index("  return answer")
    count = """
  const tiles = () => page.querySelectorAll(".tile").length;
  answer.tiles = [tiles()];
  answer.pairs = page.querySelectorAll("#pairs img").length;
  $("more-some").click();
  answer.tiles.push(tiles());
  answer.requests = view.performance.getEntriesByType("resource")
    .filter((entry) => !entry.name.startsWith("data:")).length;
"""
    many = dataclasses.replace(content, items=items)
    for width, answer in ask(many, QUESTIONS[:start] + count + QUESTIONS[end:], tmp_path).items():
        assert answer["overflow"] == 0
        assert "errors" not in answer["state"]
        step = 6 if width < 720 else 12
        assert answer["tiles"] == [step, 2 * step]
        assert answer["pairs"] == 8
        assert answer["requests"] == 0
