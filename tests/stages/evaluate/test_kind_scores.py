import json

import pandas as pd
import pytest

from mindeye2.core.artifacts import write_manifest
from mindeye2.data.prepared import Prepared
from mindeye2.metrics import proportion_interval
from mindeye2.stages.evaluate.decoded import Decoded
from mindeye2.stages.evaluate.kind_scores import kind_scores, write_named_kinds


@pytest.fixture
def decode(tmp_path):
    """Return four decoded images: two animals, a tool, food; among eight of training."""

    def _decode(*, known=True, **columns):
        folder = tmp_path / "decoded"
        folder.mkdir()
        pd.DataFrame({"image": range(4), **columns}).to_parquet(folder / "items.parquet")
        kinds = pd.DataFrame({"image": range(12)})
        if known:
            kinds["category"] = (
                ["animal", "animal", "tool", "food"] + ["animal"] * 6 + ["tool"] * 2
            )
            kinds["setting"] = ["coast", "city"] * 2 + ["coast"] * 4 + ["city"] * 4
            kinds["number"] = ["one", "one", "two", "two"] + ["one"] * 8
        kinds.to_parquet(tmp_path / "captions.parquet")
        manifest = {"training_images": list(range(4, 12))}
        write_manifest(folder, stage="reconstruct", config={}, **manifest)
        return Decoded(folder, Prepared(tmp_path, {}))

    return _decode


def test_kinds_are_scored_named_or_not_against_a_random_training_image(decode, tmp_path):
    decoded = decode(
        object=["animal", "tool", "tool", "food"], object_probability=[0.9, 0.6, 0.8, 0.4]
    )
    scores = kind_scores(decoded)
    assert set(scores.values) == {"object_kind", "object_named"}  # no settings were decoded
    assert scores.values["object_kind"].tolist() == [1, 0, 1, 1]
    assert scores.values["object_named"].tolist() == [1, 1, 1, 0]
    assert scores.chances["object_kind"] == pytest.approx((0.75 + 0.75 + 0.25 + 0) / 4)
    write_named_kinds(decoded, scores, tmp_path / "captions.json")
    found = json.loads((tmp_path / "captions.json").read_text())["object"]
    interval = proportion_interval(2 / 3, n=3)
    assert (found["n_named"], found["n_right"]) == (3, 2)
    assert (found["low"], found["high"]) == pytest.approx((interval.low, interval.high))
    assert found["chance"] == pytest.approx((0.75 + 0.75 + 0.25) / 3)
    assert found["mean_probability"] == pytest.approx(2.3 / 3)


def test_captions_that_name_nothing_are_never_wrong(decode, tmp_path):
    decoded = decode(setting=["coast"] * 4, setting_probability=[0.4, 0.3, 0.5, 0.2])
    scores = kind_scores(decoded)
    write_named_kinds(decoded, scores, tmp_path / "captions.json")
    found = json.loads((tmp_path / "captions.json").read_text())["setting"]
    assert found == {"n": 4, "n_named": 0, "n_right": 0}
    assert scores.values["setting_kind"].tolist() == [1, 0, 1, 0]


def test_what_a_caption_has_no_words_for_is_not_named(decode):
    decoded = decode(number=["one", "two"] * 2, number_probability=[0.9] * 4)
    scores = kind_scores(decoded)
    assert scores.values["number_kind"].tolist() == [1, 0, 0, 1]
    assert scores.values["number_named"].tolist() == [0, 1, 0, 1]


def test_data_that_know_no_kinds_have_no_scores(decode, tmp_path):
    decoded = decode(known=False, object=["tool"] * 4, object_probability=[0.9] * 4)
    scores = kind_scores(decoded)
    write_named_kinds(decoded, scores, tmp_path / "captions.json")
    assert scores.values == {}
    assert not (tmp_path / "captions.json").exists()
