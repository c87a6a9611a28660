import pandas as pd
import pytest

from mindeye2.core.errors import ArtifactError
from mindeye2.data.laion_fmri.laion_fmri_trials import read_laion_trials


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a changed table of 6 trials in 2 runs and reads it."""
    table = pd.DataFrame(
        {
            "session": "ses-02",
            "run": ["run-01"] * 3 + ["run-02"] * 3,
            "beta_index": range(6),
            "label": [f"{i}.jpg" for i in range(6)],
        }
    )

    def save(change=lambda table: table, *, n_volumes=6):
        path = tmp_path / "trials.tsv"
        change(table.copy()).to_csv(path, sep="\t", index=False)
        return read_laion_trials(path, subject="sub-01", session=2, n_volumes=n_volumes)

    return save


def test_trials_come_in_the_order_of_their_volumes(write):
    found = write(lambda table: table.sample(frac=1, random_state=0))
    assert found["source_image"].tolist() == [f"{i}.jpg" for i in range(6)]
    assert found["beta_index"].tolist() == list(range(6))
    assert found["trial"].tolist() == [1, 2, 3, 1, 2, 3]
    assert found[["session", "run"]].drop_duplicates().to_numpy().tolist() == [[2, 1], [2, 2]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.assign(beta_index=t["beta_index"] + 1), r"from 1 to 6; the 6 volumes are 0"),
        (lambda t: t.assign(beta_index=[0, 1, 2, 2, 4, 5]), r"lists 1 volumes twice, .*index 2"),
        (lambda t: pd.concat([t, t[3:4]]), r"lists 1 volumes twice, the first is beta_index 3"),
        (lambda t: t[:4], r"has 4 trials, but the betas beside it have 6 volumes"),
        (lambda t: t.assign(beta_index=[1, 2, 3, 0, 4, 5]), r"back from run 2 to run 1 at beta"),
        (lambda t: t.assign(session="ses-03"), r"trials of session 3, .*folder of session 2"),
        (lambda t: t.assign(run="first"), r"'first' in the column 'run'; whole numbers"),
        (lambda t: t.assign(label=[*t["label"][:5], None]), r"lacks values in line 7: it was not"),
        (lambda t: t.drop(columns="label"), r"no column \['label'\]; it has \['session'"),
    ],
)  # fmt: skip
def test_an_index_that_does_not_fit_its_session_is_refused(write, change, message):
    with pytest.raises(ArtifactError, match=message):
        write(change)
