import numpy as np
import pandas as pd
import pytest

from mindeye2.core.artifacts import write_json, write_manifest
from mindeye2.data.prepared import Prepared
from mindeye2.reporting.run_gallery import RunGallery, caption_note

IMAGES = [4, 7, 9]


@pytest.fixture
def gallery(tmp_path, monkeypatch):
    """Return the gallery of 3 images with a hit, a distance and PixCorr as scores."""
    stimuli = np.arange(12, dtype=np.uint8)[:, None, None, None].repeat(3, axis=3)
    monkeypatch.setattr(Prepared, "images", stimuli)
    monkeypatch.setattr(Prepared, "captions", [f"stimulus {i}" for i in range(12)])
    scores, decoded = tmp_path / "scores", tmp_path / "decoded"
    scores.mkdir()
    decoded.mkdir()
    table = {"image": IMAGES, "pixcorr_unclip": [0.1, 0.2, 0.3], "image_top1": [0, 1, 1]}
    table |= {"swav_unclip": [0.5, 0.4, 0.3], "pixcorr_floor": [0.1] * 3, "rank": [3, 1, 1]}
    pd.DataFrame(table).to_parquet(scores / "scores.parquet")
    common = {"percent": False, "explanation": "-", "group": "Images"}
    rows = [
        {"name": name, "title": f"title of {name}", "higher_is_better": name[0] != "s", **common}
        for name in table
        if name not in ("image", "rank")
    ]
    write_json(scores / "summary.json", rows)
    np.save(scores / "retrieved.npy", np.array([[1, 0], [1, 2], [2, 0]]))
    write_manifest(scores, stage="evaluate", config={}, gallery=[9, 4, 7])
    items = {"image": IMAGES, "nearest_training_image": [0, 1, 2], "caption": ["a", "b", "c"]}
    pd.DataFrame(items).to_parquet(decoded / "items.parquet")
    np.save(decoded / "unclip.npy", np.full((3, 2, 2, 3), 200, np.uint8))
    prepared = Prepared(folder=tmp_path, manifest={})
    return RunGallery(scores, decoded=decoded, prepared=prepared)


def test_every_score_of_an_image_is_shown_but_hits_and_floors(gallery):
    assert [s.name for s in gallery.image_scores] == ["Rank", "PixCorr", "title of swav_unclip"]
    assert not gallery.image_scores[-1].higher_is_better
    first = gallery.items(most=10, seed=0)[0]
    assert first.scores == pytest.approx({"Rank": 3, "PixCorr": 0.1, "title of swav_unclip": 0.5})


def test_images_captions_and_retrieval_are_of_the_same_image(gallery):
    assert list(gallery.columns) == ["unCLIP", "Nearest training image"]
    for row, item in enumerate(gallery.items(most=10, seed=0)):
        assert item.seen[0, 0, 0] == IMAGES[row]
        assert item.images["Nearest training image"][0, 0, 0] == row
        assert item.true_caption == f"stimulus {IMAGES[row]}"
        assert [9, 4, 7][item.target] == IMAGES[row]
        assert item.caption == "abc"[row]


def test_a_sample_depends_on_the_seed(gallery):
    chosen = {
        seed: [i.name for i in gallery.items(most=1, seed=seed)] for seed in (0, 0, 1, 2, 3, 4)
    }
    assert len({tuple(names) for names in chosen.values()}) > 1


@pytest.mark.parametrize(
    ("facts", "nearest"),
    [
        ({"encoder": "lite0", "config": {"captioner": "microsoft/git-large-coco"}}, True),
        ({"encoder": "bigg", "config": {"captioner": "microsoft/git-large-coco"}}, False),
        ({"encoder": "bigg", "config": {"captioner": "nearest"}}, True),
        ({"source_files": {}, "config": {}}, False),
    ],
)
def test_captions_of_training_images_are_marked(facts, nearest):
    assert caption_note(facts) == ("from the nearest training image" if nearest else "")
