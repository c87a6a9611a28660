import pandas as pd
import pytest
import yaml

from mindeye2.core.artifacts import write_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.study import check_study, init_study, load_study


@pytest.fixture
def changed(tmp_path):
    """Return a function that writes a study with a changed config, and checks it."""

    def _changed(**changes):
        folder = tmp_path / "study"
        if not folder.exists():
            init_study(folder)
        values = yaml.safe_load((folder / "config.yaml").read_text())
        (folder / "config.yaml").write_text(yaml.safe_dump({**values, **changes}))
        return check_study(load_study(folder), folder)

    return _changed


def test_a_study_that_fits_is_counted(changed):
    settings, counts = changed()
    assert settings == "settings of 3 arms are valid; data set not prepared yet"
    assert counts == "24 pretrained runs, 120 cells"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"subjects": ["subj01", "subj09"]},
            r"\['subj09'\]: the simulation has 8, subj01 to subj08",
        ),
        (
            {"arms": {"a": {"recipe": "ridge", "settings": {"stpes": 1}}}},
            "arms.a, 75trials.*steps",
        ),
        ({"amounts": [{"n_trials": 3}]}, "n_trials.*greater than or equal to 10"),
        ({"data": {"kind": "nsd", "source": "nowhere"}}, "data.source: .*nowhere does not exist"),
        ({"evaluate": {"protocol": "paper"}}, "evaluate: setting 'protocol'"),
    ],
)
def test_what_is_missing_is_named(changed, changes, message):
    with pytest.raises(ArtifactError, match=message):
        changed(**changes)


@pytest.fixture
def one_subject(tmp_path):
    """Return a data set of one subject: a session of four training and two test trials."""
    split = ["train"] * 4 + ["test"] * 2
    trials = pd.DataFrame({"subject": "subj01", "session": 1, "split": split})
    (tmp_path / "data").mkdir()
    trials.to_parquet(tmp_path / "data" / "trials.parquet")
    write_manifest(tmp_path / "data", stage="prepare", config={}, subjects={"subj01": 30})
    return "../data"


def test_all_data_that_cells_lack_is_named_at_once(changed, one_subject):
    with pytest.raises(ArtifactError) as error:
        changed(
            data={"prepared": one_subject},
            subjects=["subj01", "subj02"],
            amounts=[{"n_trials": 100}, {"sessions": [1, 2]}],
        )
    text = str(error.value)
    assert "subj01 has 4 training trials, 100 are wanted" in text
    assert "subj01 has training trials in the sessions [1], not [2]" in text
    assert "has ['subj01'], not subj02" in text
    assert "pretrain.subjects: " in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": {"a/b": {"recipe": "ridge"}}}, "the arm 'a/b' names folders"),
        ({"arms": {"a": {"recipe": "rigde"}}}, "Did you mean 'ridge'"),
        ({"pretrain": None}, "arms.adapt starts from a pretrained run"),
        ({"sebjects": []}, "Did you mean 'subjects'"),
        ({"pretrain": {"recipe": "laptop"}}, "pretrain.subjects is missing"),
    ],
)
def test_a_config_that_makes_no_study_is_refused(changed, changes, message):
    with pytest.raises(ValueError, match=message):
        changed(**changes)
