import numpy as np
import pandas as pd
import pytest

from mindeye2.core.artifacts import write_json, write_manifest
from mindeye2.reporting.stage_summary import summarize_folder


def prepared(folder, *, n_images=30, subjects=("subj01",), **facts):
    """Write a data set of two sessions, each image once in both; the last ten are held out."""
    folder.mkdir()
    np.save(folder / "images.npy", np.zeros((n_images, 2, 2, 3), np.uint8))
    split = ["train"] * (n_images - 10) + ["validation"] * 5 + ["test"] * 5
    own = pd.DataFrame({"image": range(n_images), "split": split})
    rows = [own.assign(subject=s, session=n) for s in subjects for n in (1, 2)]
    pd.concat(rows).to_parquet(folder / "trials.parquet")
    config = {"kind": "table", "table": {"splits": {"test": 0.1}}}
    counts = dict.fromkeys(subjects, 7)
    write_manifest(folder, stage="prepare", config=config, subjects=counts, **facts)
    return folder


def run(folder, *, config=(), **facts):
    whole = {
        "recipe": "ridge",
        "task": "shared",
        "subjects": None,
        "sessions": None,
        "train_on": ["train"],
        "n_trials": None,
        **dict(config),
    }
    facts = {"trials": 15, **facts}
    folder.mkdir()
    write_manifest(folder, stage="train", config=whole, **facts)
    return folder


def five_images(folder, **facts):
    """Make the trials show five images, each often."""
    table = pd.read_parquet(folder / "trials.parquet").assign(image=lambda t: t["image"] % 5)
    table.to_parquet(folder / "trials.parquet")
    config = {"kind": "table", "table": {"splits": {"test": 0.1}, "design": "new_images"}}
    write_manifest(folder, stage="prepare", config=config, subjects={"subj01": 7}, **facts)
    return "\n".join(summarize_folder(folder))


def test_known_images_are_named_and_few_test_trials_are_counted(tmp_path):
    text = five_images(prepared(tmp_path / "data"), design="known_images")
    assert "design: known images; test trials show images of the training trials" in text
    assert "with 10 test trials scores have wide intervals; raise their fraction with " in text


def test_few_images_that_are_shown_often_get_the_hint_at_known_images(tmp_path):
    text = five_images(prepared(tmp_path / "data"))
    assert "which of the 5 images was seen" in text
    assert "--set table.design=known_images" in text


def test_a_data_set_is_counted_by_split_and_followed_by_training(tmp_path):
    assert summarize_folder(prepared(tmp_path / "data")) == [
        f"{tmp_path}/data: 1 subject (subj01: 7 voxels), 30 images",
        "sessions: 2 per subject; trials: 40 train, 10 validation, 10 test",
        "images shown: 20 train, 5 validation, 5 test",
        "warning: with 5 test images scores have wide intervals; raise their fraction with "
        "--set table.splits.test=..., or in the column 'split' if the trial table has one",
        f"Next: mindeye2 train --recipe ridge --source {tmp_path}/data --out {tmp_path}/run",
    ]


def test_changed_images_are_counted_with_the_setting_that_decides(tmp_path):
    facts = {"files": 9, "not_square": 4, "gray": 2, "transparent": 1, "fit": "crop"}
    folder = prepared(
        tmp_path / "data", converted_images={**facts, "setting": "table.stimuli"}, subjects="ab"
    )
    shown = summarize_folder(folder)
    assert (
        "images changed: 4 of 9 not square, now cut to the middle (table.stimuli.fit=crop); "
        "2 gray, now RGB of equal channels; 1 with transparent parts, now grey"
    ) in shown
    assert "--recipe ridge" in shown[-1]


@pytest.mark.parametrize(
    ("kind", "subjects", "recipe"),
    [
        ("table", "ab", "ridge"),
        ("bids", "ab", "ridge"),
        ("nsd", "ab", "standard"),
        ("nsd", "a", "ridge"),
        ("simulated", "ab", "laptop"),
    ],
)
def test_the_next_recipe_suits_the_data(tmp_path, kind, subjects, recipe):
    """The published size, which needs a GPU, is not for anybody's own few trials."""
    folder = prepared(tmp_path / "data", subjects=subjects)
    config = {"kind": kind}
    write_manifest(folder, stage="prepare", config=config, subjects=dict.fromkeys(subjects, 7))
    assert f"--recipe {recipe} " in summarize_folder(folder)[-1]


def test_one_test_image_is_too_few(tmp_path):
    folder = prepared(tmp_path / "data")
    table = pd.read_parquet(folder / "trials.parquet")
    table.loc[table["split"] == "test", "image"] = 29
    table.to_parquet(folder / "trials.parquet")
    write_manifest(folder, stage="prepare", config={"kind": "nsd"}, subjects={"subj01": 7})
    text = "\n".join(summarize_folder(folder))
    assert "warning: 1 test image is too few for 'mindeye2 evaluate', which needs 2; raise" in text


def test_images_without_subjects_train_an_image_decoder(tmp_path):
    np.save(tmp_path / "images.npy", np.zeros((4, 2, 2, 3), np.uint8))
    (tmp_path / "targets" / "lite0").mkdir(parents=True)
    write_manifest(tmp_path, stage="prepare", config={"kind": "scenes"}, subjects={})
    first, targets, follow = summarize_folder(tmp_path)
    assert first.endswith(": no subjects, 4 images")
    assert targets == "targets: lite0"
    assert "--recipe autoencoder" in follow


def test_a_run_shows_used_trials_and_validation_beside_chance(tmp_path):
    data = prepared(tmp_path / "data")
    config = {"sessions": [1], "n_trials": 15}
    folder = run(tmp_path / "run", config=config, validation={"top1": 0.4, "two_way": 0.75})
    assert summarize_folder(folder, source=data) == [
        f"{tmp_path}/run: recipe ridge, task shared",
        "subjects: subj01; trials: 15 of 60 (splits train; sessions 1)",
        "validation: top-1 retrieval 40% among 5 validation images (chance 20%), two-way "
        "identification 75% (chance 50%)",
        f"Next: mindeye2 reconstruct --source {data} --init {folder} --out {tmp_path}/decoded",
    ]


def test_an_adapted_run_shows_its_level_and_its_held_out_images(tmp_path):
    data = prepared(tmp_path / "data", subjects=("subj01", "subj02"))
    config = {"task": "adapt", "subject": "subj02", "held_out": 0.25, "recipe": "adapt"}
    scores = {"ridge": {"top1": 0.5, "two_way": 0.8}, "closed_form": {"top1": 0, "two_way": 0}}
    folder = run(
        tmp_path / "run", config=config, level="ridge", held_out=scores, held_out_images=5
    )
    shown = summarize_folder(folder, source=data)
    assert "adaptation level: ridge" in shown
    assert (
        "validation: top-1 retrieval 50% among 5 held-out training images (chance 20%), two-way "
        "identification 80% (chance 50%)"
    ) in shown
    assert shown[-1].endswith("--subject subj02")


def test_a_run_without_validation_says_so(tmp_path):
    data = prepared(tmp_path / "data")
    folder = run(tmp_path / "run", config={"train_on": ["train", "validation"]})
    assert any(
        line.startswith("validation: none") for line in summarize_folder(folder, source=data)
    )


def test_an_image_decoder_shows_its_last_loss(tmp_path):
    folder = tmp_path / "my decoder"
    folder.mkdir()
    (folder / "steps.jsonl").write_text('{"step": 0, "loss": 2}\n{"step": 1, "loss": 0.5}\n')
    write_manifest(folder, stage="train", config={"recipe": "unclip", "task": "unclip"})
    assert summarize_folder(folder, source=tmp_path)[1:] == [
        "last step: 2, loss 0.5",
        f"Reconstruct with it: --set decoder='{folder}'",
    ]


def test_reconstructions_are_counted_with_their_repeats(tmp_path):
    table = pd.DataFrame({"image": [3, 4], "n_repeats": [3, 2], "caption": ["a dog", "a cat"]})
    table.to_parquet(tmp_path / "items.parquet")
    np.save(tmp_path / "blended.npy", np.zeros(2))
    write_manifest(tmp_path, stage="reconstruct", config={"split": "test"}, subject="subj01")
    assert summarize_folder(tmp_path) == [
        f"{tmp_path}: 2 images of subj01, split test",
        "trials averaged for each: 2.5",
        "images: blended",
        "first caption: a dog",
        f"Next: mindeye2 evaluate --source {tmp_path} --out {tmp_path.parent}/scores",
    ]


@pytest.mark.parametrize(
    ("name", "percent", "shown"),
    [
        ("image_top1", True, "  Title  54.0% [44.0%, 64.0%]  chance 1.0%"),
        ("pixcorr_blended", False, "  Title  0.540 [0.440, 0.640]  chance 0.010"),
    ],
)
def test_scores_stand_beside_chance_with_their_interval(name, percent, shown, tmp_path):
    row = {"name": name, "title": "Title", "value": 0.54, "low": 0.44, "high": 0.64, "n": 100}
    row |= {"chance": 0.01, "floor": None, "percent": percent}
    write_json(tmp_path / "summary.json", [row])
    write_manifest(tmp_path, stage="evaluate", config={}, subject="subj01")
    first, line, follow = summarize_folder(tmp_path)
    assert first == f"{tmp_path}: 100 test images of subj01, 95 % intervals"
    assert line == shown
    assert follow.startswith("Next: mindeye2 report --source")


def test_a_report_names_its_page(tmp_path):
    (tmp_path / "index.html").write_text("<html>")
    write_manifest(tmp_path, stage="report", config={})
    first, second = summarize_folder(tmp_path)
    assert first.startswith(f"{tmp_path}/index.html: ")
    assert second == f"Open it in a browser: {(tmp_path / 'index.html').as_uri()}"
