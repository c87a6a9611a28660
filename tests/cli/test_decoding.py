"""A run that is given to evaluate is decoded first. The decoding itself: tests/end_to_end."""

import json

import pytest
import yaml

from mindeye2.cli import decoding
from mindeye2.core.errors import ArtifactError


@pytest.fixture
def run(tmp_path):
    """Return a function that makes the files of a run that `decode_run` reads."""

    def _run(*subjects, **facts):
        folder = tmp_path / "run"
        folder.mkdir()
        (tmp_path / "data").mkdir()
        manifest = {"stage": "train", "data": "../data", **facts}
        kept = {k: v for k, v in manifest.items() if v is not None}
        (folder / "manifest.json").write_text(json.dumps(kept))
        described = {"n_voxels": dict.fromkeys(subjects, 5)}
        (folder / "model.yaml").write_text(yaml.safe_dump(described))
        return folder

    return _run


@pytest.fixture
def calls(monkeypatch):
    found = []
    monkeypatch.setattr(decoding, "decode", lambda init, **given: found.append((init, given)))
    return found


def test_the_subject_and_the_data_set_are_those_of_the_run(run, calls, tmp_path):
    folder = run("subj03")
    decoded = decoding.decode_run(folder, out=tmp_path / "scores")
    assert decoded == tmp_path / "scores-decoded"
    [(init, given)] = calls
    assert (init, given["out"]) == (folder, decoded)
    assert given["source"].resolve() == (tmp_path / "data").resolve()
    assert given["subjects"] == ["subj03"]
    assert not given["resume"]


def test_an_adapted_run_is_of_its_new_subject(run, calls, tmp_path):
    folder = run("subj01", "subj02", "subj03", config={"subject": "subj03"})
    decoding.decode_run(folder, out=tmp_path / "scores")
    assert calls[0][1]["subjects"] == ["subj03"]


def test_folder_and_settings_of_the_decoding_may_be_chosen(run, calls, tmp_path):
    given = {"decoded": tmp_path / "there", "assignments": ["images=false"]}
    assert decoding.decode_run(run("subj03"), out=tmp_path / "scores", **given) == given["decoded"]
    assert calls[0][1]["out"] == given["decoded"]
    assert calls[0][1]["assignments"] == ["images=false"]
    with pytest.raises(ValueError, match=r"--decoding are for runs, and .*data is not one"):
        decoding.decode_run(tmp_path / "data", out=tmp_path / "scores", **given)


def test_a_decoding_that_was_interrupted_is_continued(run, calls, tmp_path):
    (tmp_path / "scores-decoded").mkdir()
    decoding.decode_run(run("subj03"), out=tmp_path / "scores")
    assert calls[0][1]["resume"]


def test_other_folders_are_scored_as_they_are(tmp_path, calls):
    (tmp_path / "manifest.json").write_text(json.dumps({"stage": "reconstruct"}))
    assert decoding.decode_run(tmp_path, out=tmp_path / "scores") == tmp_path
    assert decoding.decode_run(tmp_path / "none", out=tmp_path / "scores") == tmp_path / "none"
    assert calls == []


def test_a_run_of_several_subjects_needs_a_choice(run, tmp_path):
    with pytest.raises(ArtifactError, match=r"mindeye2 reconstruct .* --subject subj01"):
        decoding.decode_run(run("subj01", "subj02"), out=tmp_path / "scores")


def test_a_run_of_an_earlier_version_needs_its_data_set(run, calls, tmp_path):
    folder = run("subj01", data=None)
    with pytest.raises(ArtifactError, match=r"recorded no data set: add --data"):
        decoding.decode_run(folder, out=tmp_path / "scores")
    decoding.decode_run(folder, out=tmp_path / "scores", data=tmp_path / "data")
    assert calls[0][1]["source"] == tmp_path / "data"


@pytest.mark.parametrize("chosen", [None, ["subj02"]])
def test_a_run_of_one_subject_decodes_that_one(run, chosen, monkeypatch, tmp_path):
    starts = []

    def stop(start, _, **given):
        starts.append((start.subject, given["chosen"]))
        raise InterruptedError

    monkeypatch.setattr(decoding, "load_with_subjects", stop)
    folder = run("subj01", "subj02", config={"subject": "subj01"})
    with pytest.raises(InterruptedError):
        decoding.decode(folder, source=tmp_path / "data", out=tmp_path / "o", subjects=chosen)
    assert starts == [("subj01", chosen)]
