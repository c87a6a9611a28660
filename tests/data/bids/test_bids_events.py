import pytest

from mindeye2.core.errors import ArtifactError
from mindeye2.data.bids.bids_events import EventSettings, entities, find_runs, read_events

EVENTS = """onset\tduration\ttrial_type\tstim_file\tsession
8.0\t2\timage\tb.png\t7
4.0\t2\timage\t001\t7
12.0\t2\tblank\tn/a\t7
14.0\t1\tresponse\tn/a\t7
"""


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a table of events under a BIDS name."""

    def save(name, text=EVENTS):
        labels = entities(tmp_path / name)
        folder = tmp_path / f"sub-{labels['sub']}"
        folder = folder / f"ses-{labels['ses']}" / "func" if "ses" in labels else folder / "func"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
        return tmp_path

    return save


def test_file_names_are_taken_apart(tmp_path):
    name = "sub-01_ses-02_task-look_acq-x_run-1_events.tsv"
    expected = {"sub": "01", "ses": "02", "task": "look", "acq": "x", "run": "1"}
    assert entities(tmp_path / name) == expected


def test_runs_are_numbered_by_their_labels_or_their_order(write):
    for session in ("2", "10"):
        for run in ("01", "02"):
            root = write(f"sub-01_ses-{session}_task-look_run-{run}_events.tsv")
    write("sub-b_ses-pre_task-look_events.tsv")
    write("sub-b_ses-post_task-look_events.tsv")
    found = [(r.subject, r.session, r.run) for r in find_runs(root, task=None)]
    first = [("sub-01", session, run) for session in (2, 10) for run in (1, 2)]
    assert found == [*first, ("sub-b", 1, 1), ("sub-b", 2, 1)]
    assert [r.subject for r in find_runs(root, task="look", subject="b")] == ["sub-b"] * 2


def test_events_come_in_the_order_of_onsets_and_keep_names_as_text(write):
    (run,) = find_runs(write("sub-01_task-look_run-3_events.tsv"), task=None)
    events = read_events(run, settings=EventSettings(drop=("response",)))
    assert events["onset"].tolist() == [4.0, 8.0, 12.0]
    assert events["image"][:2].tolist() == ["001", "b.png"]
    assert events["image"].isna().tolist() == [False, False, True]
    assert events[["session", "run"]].iloc[0].tolist() == [1, 3]  # not the table's own 7


def test_tasks_must_be_distinguished(write):
    write("sub-01_task-rest_events.tsv")
    root = write("sub-01_task-look_events.tsv")
    with pytest.raises(
        ArtifactError, match=r"tasks \['look', 'rest'\]; choose one, .*bids\.events\.task=rest"
    ):
        find_runs(root, task=None)
    with pytest.raises(ArtifactError, match=r"no events of the task 'lok'.*only of \['look'"):
        find_runs(root, task="lok")


def test_a_folder_without_events_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"has no events: no file sub-\*/\[ses-\*/\]func"):
        find_runs(tmp_path, task=None)


def test_runs_without_labels_of_their_own_are_refused(write):
    write("sub-01_task-look_acq-a_events.tsv")
    root = write("sub-01_task-look_acq-b_events.tsv")
    with pytest.raises(ArtifactError, match=r"2 tables of events have the 1 run labels \['1'\]"):
        find_runs(root, task="look")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            EVENTS.replace("stim_file", "photo"),
            r"no column \['stim_file'\]; it has .*'photo'.*setting glmsingle\.events\.image",
        ),
        (
            EVENTS.replace("8.0\t2\t", "8.0\tx\t"),
            r"onset or duration that is not a number \(line 2\)",
        ),
        (EVENTS.replace("8.0\t", "4.0\t"), r"two .* begin at 4\.0 s.*glmsingle\.events\.drop"),
    ],
    ids=["column", "number", "twice"],
)
def test_a_wrong_table_is_named_with_the_line(write, text, message):
    (run,) = find_runs(write("sub-01_task-look_events.tsv", text), task=None)
    with pytest.raises(ArtifactError, match=message):
        read_events(run, settings=EventSettings(), kind="glmsingle")


def test_runs_inherit_the_nearest_table_whose_name_fits(tmp_path):
    for label in ("01", "02"):
        folder = tmp_path / f"sub-{label}" / "func"
        folder.mkdir(parents=True)
        for run in (1, 2):
            (folder / f"sub-{label}_task-look_run-{run}_echo-1_bold.nii.gz").touch()
        (folder / f"sub-{label}_task-rest_bold.nii.gz").touch()
    names = [
        "task-look_events.tsv",
        "sub-02/sub-02_task-look_events.tsv",
        "sub-01/func/sub-01_task-look_run-2_events.tsv",
    ]
    for name in names:
        (tmp_path / name).write_text(EVENTS)
    runs = find_runs(tmp_path, task=None)
    used = [str(r.events.relative_to(tmp_path)) for r in runs]
    assert used == [names[0], names[2], names[1], names[1]]
    assert [r.stem for r in runs[:2]] == ["sub-01_task-look_run-1", "sub-01_task-look_run-2"]
    assert read_events(runs[0], settings=EventSettings())["run"].unique() == [1]


def test_a_table_beside_several_runs_is_no_run_itself(write, tmp_path):
    write("sub-01_task-look_events.tsv")
    for run in (1, 2):
        (tmp_path / "sub-01" / "func" / f"sub-01_task-look_run-{run}_bold.nii").touch()
    assert [r.run for r in find_runs(tmp_path, task=None)] == [1, 2]


def test_two_inherited_tables_of_one_level_are_refused(tmp_path):
    folder = tmp_path / "sub-01" / "func"
    folder.mkdir(parents=True)
    (folder / "sub-01_task-look_acq-x_bold.nii.gz").touch()
    for name in ("task-look_events.tsv", "task-look_acq-x_events.tsv"):
        (tmp_path / name).write_text(EVENTS)
    with pytest.raises(ArtifactError, match=r"2 tables of events for one run.*one at each level"):
        find_runs(tmp_path, task=None)
