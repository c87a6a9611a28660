"""What a new user gets wrong, by commands alone: each message says what is wrong and what to do.

The 38 mistakes are those of a first user's walk through the documents; three of them are no
mistakes any more, and say what was done.
"""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.io
import torch
from PIL import Image
from typer.testing import CliRunner

from mindeye2.cli import app


def run(line):
    return CliRunner().invoke(app, line.split())


def succeed(*lines):
    for line in lines:
        done = run(line)
        assert done.exit_code == 0, done.output


def write_study(folder, *, n_images=12, subjects=("subj01",), n_voxels=30, repeats=4):
    """Write a folder of `prepare table`: noise, every image once in each of the runs."""
    rng = np.random.default_rng(0)
    names = [f"fig{i:02d}" for i in range(n_images)]
    (folder / "images").mkdir(parents=True)
    (folder / "betas").mkdir()
    for name in names:
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((32, 32)).save(folder / "images" / f"{name}.png")
    one = pd.DataFrame({"image": names * repeats, "run": np.repeat(range(repeats), n_images) + 1})
    table = pd.concat([one.assign(subject=s) for s in subjects])
    table.to_csv(folder / "trials.csv", index=False)
    for subject in subjects:
        values = rng.normal(size=(len(one), n_voxels)).astype("f4")
        np.save(folder / "betas" / f"{subject}.npy", values)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return a folder with a study, and what four commands made of it and of others."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_study(Path("s"))
        write_study(Path("s2"), subjects=("a", "b"))
        write_study(Path("wide"), n_voxels=40)
        write_study(Path("few"), n_images=4)
        succeed(
            "prepare table --source s --out data",
            "train --recipe ridge --source data --out run",
            "reconstruct --source data --init run --out decoded",
            "evaluate --source decoded --out scores",
            "prepare table --source s2 --out data2 --set encoders=[lite0]",
            "prepare table --source wide --out wide-data --set encoders=[lite0]",
            "prepare table --source few --out few-data",
        )
    return folder


def edit_table(study, change, **how):
    change(pd.read_csv(study / "trials.csv")).to_csv(study / "trials.csv", index=False, **how)


def edit_betas(study, change):
    path = study / "betas" / "subj01.npy"
    np.save(path, change(np.load(path)))


def set_value(value, rows, column=4):
    def change(betas):
        betas[rows, column] = value
        return betas

    return change


def odd_images(study):
    Image.new("L", (100, 40), 90).save(study / "images" / "fig00.png")
    Image.new("RGBA", (32, 32), (1, 2, 3, 90)).save(study / "images" / "fig01.png")


def other_variable(study):
    values = np.load(study / "betas" / "subj01.npy")
    scipy.io.savemat(study / "betas" / "subj01.mat", {"responses": values})
    (study / "betas" / "subj01.npy").unlink()


OWN = "prepare table --source {own} --out {new}"
FIRST = f"{OWN} --set encoders=[lite0]"

# Number in the list; what is done to the study; the command; what its answer says.
MISTAKES = [
    (1, None, "prepare table --source nowhere --out {new}", r"nowhere is not a folder\. Give the"),
    (2, None, "prepare table --out {new}", r"give --source the folder with trials\.csv, betas"),
    (3, None, "prepare tabel --source s --out {new}", r"KIND must be .* Did you mean 'table'\?"),
    (3, None, "prepare --source s --out {new}", r"KIND is missing: .*'glmsingle', 'bids'"),
    (4, None, f"{OWN} --set table.colums=x", r"no setting 'table\.colums'.* 'table\.columns'\?"),
    (
        5,
        lambda s: edit_table(s, lambda t: t.rename(columns={"image": "stimulus"})),
        OWN,
        r"no column 'image'; it has \['stimulus'.*--set 'table\.columns=\{image: stim_file\}'",
    ),
    (5, None, f"{OWN} --set columns.image=x", r"no setting 'columns'.* mean 'table\.columns"),
    (
        6,
        lambda s: (s / "images" / "fig03.png").unlink(),
        OWN,
        r"1 of 12 images .* missing .*\['fig03'\]\); 11 image files are there\. Add them",
    ),
    (7, lambda s: edit_betas(s, np.transpose), OWN, r"30 rows of 48 .*: save it transposed, as"),
    (
        8,
        lambda s: edit_betas(s, set_value(np.nan, 3)),
        FIRST,
        r"1 NaN or infinite values .* trial row 3, voxel 4 .*: drop those voxels",
    ),
    (8, lambda s: edit_betas(s, set_value(np.inf, 3)), FIRST, r"infinite values .*: drop those"),
    (
        9,
        lambda s: edit_betas(s, set_value(2.0, slice(None))),
        FIRST,
        r"constant in session 1 \(columns \[4\]\).*--set constant_voxels=zero",
    ),
    (
        10,
        odd_images,
        FIRST,
        r"images changed: 1 of 12 not square, now cut .*table\.stimuli\.fit=crop\); 1 gray, now "
        r"RGB of equal channels; 1 with transparent parts",
    ),
    (11, lambda s: edit_table(s, lambda t: t[:40]), OWN, r"48 rows of 30 .* has 40 trials .*both"),
    (
        12,
        None,
        "prepare table --source s --out data",
        r"data is not empty\. Add --resume .*or giv",
    ),
    (13, lambda s: shutil.rmtree(s / "betas"), OWN, r"no betas of subj01: .*'\.mat'.* Save a mat"),
    (
        14,
        lambda s: (s / "images" / "fig02.png").write_bytes(b"\x89PNG broken"),
        FIRST,
        r"fig02\.png cannot be read as an image .*Give a complete file of .*\.png",
    ),
    (
        15,
        lambda s: edit_table(s, lambda t: t, sep=";"),
        OWN,
        r"separates its columns by semicolons, but .*commas\. Save it with commas",
    ),
    (
        16,
        lambda s: edit_table(s, lambda t: t.assign(image=t["image"] + ".jpg")),
        OWN,
        r"'fig00\.jpg', .*fig00\.png is there: correct the table, or leave suffixes out",
    ),
    (17, None, "train --source data --out {new}", r"--recipe is missing: .*'ridge'.*'mindeye2 re"),
    (18, None, "train --recipe rigde --source data --out {new}", r"Did you mean 'ridge'\?"),
    (
        19,
        None,
        "train --recipe adapt --init run --source data2 --out {new}",
        r"data2 has the subjects \['a', 'b'\]: choose one, e\.g\. --subject a",
    ),
    (20, None, "train --recipe adapt --source data --out {new}", r"pretrained run: .* --init"),
    (
        21,
        None,
        "train --recipe adapt --init data --source data --out {new}",
        r"data was made by 'mindeye2 prepare', but .*'mindeye2 train' is needed .*mindeye2 train ",
    ),
    (
        22,
        None,
        "train --recipe adapt --init run --source few-data --out {new}",
        r"2 training images, but held_out=.* 5 folds .*sessions.*or raise --set held_out",
    ),
    (
        23,
        None,
        "train --recipe ridge --source s --out {new}",
        r"not made by .*mindeye2 prepare KI",
    ),
    (
        24,
        None,
        "reconstruct --source data --init run --subject subj08 --out {new}",
        r"--subject must be one of \['subj01'\], got 'subj08'",
    ),
    (25, None, "reconstruct --source data2 --init run --out {new}", r"choose one, e\.g\. --subj"),
    (
        26,
        None,
        "reconstruct --source wide-data --init run --out {new}",
        r"30 voxels of subj01, .*wide-data has 40\. .* give the one .* with --source, or train",
    ),
    (27, None, "evaluate --source data --out {new}", r"with: mindeye2 reconstruct --source data"),
    (28, None, "report --source decoded --out {new}", r"with: mindeye2 evaluate --source decoded"),
    (29, None, f"{OWN} --set seed", r"--set 'seed' is not of the form key\.path=value, e\.g\."),
    (
        30,
        None,
        "train --recipe ridge --source data --out {new} --set subjects=subj01",
        r"should be a list, e\.g\. --set 'subjects=\[subj01\]', got 'subj01'",
    ),
    (32, None, "doctor nowhere", r"nowhere is not a folder\. Give the folder of a stage"),
    (33, other_variable, FIRST, r"1 subject \(subj01: 30 voxels\), 12 images"),
    (
        34,
        lambda s: (s / "trials.csv").rename(s / "trials.tsv"),
        OWN,
        r"trials\.tsv is there: --set table\.trials=trials\.tsv",
    ),
    (
        36,
        lambda s: edit_table(s, lambda t: t.assign(split=np.where(t["run"] > 3, "test", "train"))),
        OWN,
        r"12 images are in more than one split: fig00, .*fig11\. .*design=known_images",
    ),
    (38, None, OWN, r"with 2 test images scores have wide .*table\.splits\.test.*=known_images"),
]
ACCEPTED = {10, 33, 38}


@pytest.mark.parametrize(
    ("number", "change", "line", "message"),
    MISTAKES,
    ids=[f"{number}-{i}" for i, (number, *_) in enumerate(MISTAKES)],
)
def test_the_answer_says_what_is_wrong_and_what_to_do(
    number, change, line, message, made, tmp_path, monkeypatch
):
    monkeypatch.chdir(made)
    if "{own}" in line:
        shutil.copytree("s", tmp_path / "own")
    if change:
        change(tmp_path / "own")
    done = run(line.format(own=tmp_path / "own", new=tmp_path / "new"))
    assert done.exit_code == (0 if number in ACCEPTED else 2), done.output
    assert re.search(message, done.output), done.output
    if number not in ACCEPTED:
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_31_a_gpu_that_is_not_there(made, tmp_path, monkeypatch):
    monkeypatch.chdir(made)
    done = run(f"train --recipe ridge --source data --device cuda --out {tmp_path / 'new'}")
    assert done.exit_code == 2
    assert re.search(r"--device cuda was asked for, but .*Use --device cpu", done.stderr)


def test_35_one_test_image_is_announced_and_then_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_study(Path("s"))
    edit_table(
        Path("s"), lambda t: t.assign(split=["test" if n == "fig00" else "train" for n in t.image])
    )
    prepared = run("prepare table --source s --out data")
    assert "1 test image is too few for 'mindeye2 evaluate', which needs 2" in prepared.stdout
    succeed(
        "train --recipe ridge --source data --out run",
        "reconstruct --source data --init run --out decoded --set images=false",
    )
    done = run("evaluate --source decoded --out scores")
    assert done.exit_code == 2
    assert re.search(r"lists 1 test image: .*Hold out more .*table\.splits\.test", done.stderr)
    after = run("report --source scores --out page").stderr
    assert re.search(r"'mindeye2 evaluate' failed there: .*Correct that and run it again", after)


def test_37_folders_are_read_from_another_working_directory(made, tmp_path, monkeypatch):
    elsewhere = made / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    succeed(
        f"evaluate --source ../decoded --out {tmp_path / 'scores'}",
        f"report --source ../scores --out {tmp_path / 'page'}",
    )
