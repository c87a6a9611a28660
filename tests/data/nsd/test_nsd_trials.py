import numpy as np
import pandas as pd
import pytest
from scipy.io import savemat

from mindeye2.core.errors import ArtifactError
from mindeye2.data.nsd.nsd_settings import NsdSettings
from mindeye2.data.nsd.nsd_trials import read_stim_info, read_trials
from mindeye2.data.nsd.tree import Tree

RESPONSES = "nsddata/ppdata/subj01/behav/responses.tsv"
DESIGN = "nsddata/experiments/nsd/nsd_expdesign.mat"
INFO = "nsddata/experiments/nsd/nsd_stim_info_merged.csv"


def read(truth, subject="subj01", sessions=(1, 2, 39)):
    return read_trials(Tree(truth.root, NsdSettings()), subject, sessions=list(sessions))


def test_only_the_sessions_asked_for_are_read_and_lost_presses_lose_no_trial(original):
    trials = read(original)
    assert trials["session"].value_counts().to_dict() == {1: 750, 2: 750, 39: 750}
    assert trials["MISSINGDATA"].sum() == 11
    assert trials["BUTTON"].isna().sum() == 11
    assert trials.loc[trials["run"] == 2, "trial"].max() == 62


def test_images_are_counted_from_0_and_the_first_1000_of_the_design_are_shared(original):
    trials = read(original, "subj04", (1, 28))
    rows = np.concatenate([np.arange(750), np.arange(27 * 750, 28 * 750)])
    kid10 = original.order[rows]
    np.testing.assert_array_equal(trials["source_image"] + 1, original.subjectim[3, kid10 - 1])
    np.testing.assert_array_equal(trials["shared1000"], kid10 <= 1000)


def test_the_older_protocol_ends_three_sessions_before_the_last(original):
    trials = read(original)
    assert (trials["protocol_982"] == (trials["shared1000"] & (trials["session"] < 38))).all()
    trials = read(original, "subj04", (1, 28))
    assert (trials["protocol_982"] == (trials["shared1000"] & (trials["session"] < 28))).all()


def test_the_design_alone_gives_the_same_trials_without_behaviour(tree):
    everything = read(tree)
    (tree.root / RESPONSES).unlink()
    planned = read(tree)
    pd.testing.assert_frame_equal(planned, everything[planned.columns])
    assert "BUTTON" not in planned


def test_a_table_and_a_design_that_disagree_are_refused(tree):
    order = tree.order.copy()
    order[750 + 63] = order[750 + 63] % 20 + 1
    arrays = {"masterordering": order[None], "subjectim": tree.subjectim}
    (tree.root / DESIGN).unlink()
    savemat(tree.root / DESIGN, arrays)
    with pytest.raises(ArtifactError, match=r"disagree: for session 2, run 2, trial 1 they give"):
        read(tree)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda i: i.assign(shared1000=False),
            r"and the trials disagree on whether image \d+ .* one of the shared 1000",
        ),
        (
            lambda i: i.assign(subject1_rep0=i["subject1_rep0"].where(i["subject1_rep0"] < 1, 7)),
            r"gives nsdId \d+ in subject1_rep0 for trial 7, but",
        ),
        (lambda i: i.drop(columns="cocoId"), r"has no column \['cocoId'\]"),
    ],
    ids=["shared", "trials", "column"],
)
def test_a_table_of_images_that_disagrees_is_refused(tree, change, message):
    tree.replace(INFO, change(tree.info).to_csv().encode())
    with pytest.raises(ArtifactError, match=message):
        read(tree)


def test_the_table_of_images_is_indexed_from_0(original):
    info = read_stim_info(original.root / INFO)
    assert info.index.tolist() == list(range(73_000))
    assert info["cocoId"].iloc[5] == 44


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        (lambda t: t[: len(t) // 2], r"lacks numbers in line|has \d+ trials of session 39"),
        (lambda t: t.replace(b"73KID", b"KID73"), r"has the columns .*'KID73'.*they must be"),
        (lambda t: t.replace(b"\n1\t1\t1\t1\t", b"\n2\t1\t1\t1\t"), r"trials of subject 2"),
    ],
    ids=["cut", "columns", "subject"],
)
def test_responses_that_are_not_as_distributed_are_refused(tree, cut, message):
    tree.replace(RESPONSES, cut((tree.root / RESPONSES).read_bytes()))
    with pytest.raises(ArtifactError, match=message):
        read(tree)


def test_a_damaged_design_is_named(tree):
    tree.replace(DESIGN, (tree.root / DESIGN).read_bytes()[:1000])
    with pytest.raises(ArtifactError, match=r"nsd_expdesign\.mat is damaged"):
        read(tree)
