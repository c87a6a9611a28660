"""The examples of docs/data.md, run as they stand there."""

import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from typer.testing import CliRunner

from mindeye2.cli import app
from mindeye2.data.prepared import open_prepared
from mindeye2.data.prepared.consistency import check_trials

DOCUMENT = Path(__file__).parents[2] / "docs" / "data.md"


def blocks_of(heading):
    """Return the code of a section by language, its blocks one after the other."""
    section = DOCUMENT.read_text().partition(f"### {heading}")[2].partition("\n##")[0]
    blocks = {"python": "", "bash": ""}
    for language, code in re.findall(r"```(python|bash)\n(.*?)```", section, re.DOTALL):
        blocks[language] += code
    return blocks


def test_the_example_of_plain_arrays_runs_as_it_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = blocks_of("Plain arrays")
    exec(compile(blocks["python"], "docs/data.md", "exec"), {})
    for line in blocks["bash"].splitlines():
        program, *arguments = shlex.split(line)
        assert program == "mindeye2"
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.output
    assert "<html" in (tmp_path / "runs/mine/report/index.html").read_text()
    data = open_prepared(tmp_path / "runs/mine/data")
    assert (data.subjects, data.n_voxels) == (["subj01"], {"subj01": 300})
    assert data.images.shape == (20, 224, 224, 3)
    assert data.trials["split"].value_counts().to_dict() == {
        "train": 32,
        "test": 4,
        "validation": 4,
    }
    assert "ncsnr_train" in data.voxels("subj01")
    assert data.targets("lite0").shape[0] == 20


def test_own_data_of_two_subjects_reach_the_page_by_the_printed_commands(tmp_path, monkeypatch):
    """Ten images are few; no setting is needed all the same."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    (tmp_path / "my_study" / "images").mkdir(parents=True)
    (tmp_path / "my_study" / "betas").mkdir()
    names = [f"photo{i}" for i in range(10)]
    for name in names:
        pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "my_study" / "images" / f"{name}.png")
    trials = pd.DataFrame({"image": names * 4, "subject": ["anna"] * 20 + ["ben"] * 20})
    trials.to_csv(tmp_path / "my_study" / "trials.csv", index=False)
    for subject in ("anna", "ben"):
        np.save(tmp_path / "my_study" / "betas" / f"{subject}.npy", rng.normal(size=(20, 15)))
    stages = []
    following = "mindeye2 prepare table --source my_study --out data"
    while following:
        _, *arguments = shlex.split(following)
        assert "--set" not in arguments
        stages.append(arguments[0])
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.output
        following = done.stdout.partition("Next: ")[2].strip()
    assert stages == ["prepare", "train", "reconstruct", "evaluate", "report"]
    assert (tmp_path / "report" / "index.html").is_file()


def test_the_adapter_of_one_s_own_runs_as_it_stands(tmp_path):
    code = blocks_of("An adapter of your own")["python"]
    assert len(code[code.index("class") :].splitlines()) <= 30
    names = {"__name__": "lab"}
    exec(compile(code, "<docs/data.md>", "exec"), names)
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "lab.npz",
        images=rng.integers(0, 256, (10, 32, 32, 3), dtype=np.uint8),
        responses=rng.normal(size=(20, 5)),
        shown=np.tile(np.arange(10), 2),
    )
    found = names["read_lab"](tmp_path / "lab.npz", settings=names["LabSettings"]())
    check_trials(found.trials, n_images=10)
    assert found.trials["split"].value_counts().to_dict() == {"train": 12, "test": 8}
    assert names["LabPreparation"]().lab == names["LabSettings"]()
