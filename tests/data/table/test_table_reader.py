import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mindeye2.core.errors import ArtifactError
from mindeye2.core.settings import build_settings
from mindeye2.data.prepared.consistency import check_trials
from mindeye2.data.table import TableSettings, read_study


@pytest.fixture
def betas():
    """Return responses of 2 subjects to 24 trials, 5 and 7 voxels."""
    rng = np.random.default_rng(0)
    return {f"subj{i:02d}": rng.normal(size=(24, 3 + 2 * i)).astype("f4") for i in (1, 2)}


@pytest.fixture
def trials():
    """Return 24 trials for each of 2 subjects, mixed, of 12 images shown twice."""
    image = [f"pic{i % 12:02d}" for i in range(24)]
    table = pd.DataFrame({"image": image * 2, "subject": [1] * 24 + [2] * 24})
    return table.sample(frac=1, random_state=1)


@pytest.fixture
def study(tmp_path, betas, trials):
    """Return a folder with everything, betas in one file per subject."""
    (tmp_path / "images").mkdir()
    for i in range(12):
        Image.new("RGB", (20, 20), (20 * i, 0, 0)).save(tmp_path / "images" / f"pic{i:02d}.png")
    (tmp_path / "betas").mkdir()
    for subject, values in betas.items():
        np.save(tmp_path / "betas" / f"{subject}.npy", values)
    trials.to_csv(tmp_path / "trials.csv", index=False)
    return tmp_path


def settings(**values):
    return build_settings(TableSettings, {"stimuli": {"size": 32}, **values})


def test_betas_rows_and_images_belong_together(study, betas, trials):
    found = read_study(study, settings=settings())
    check_trials(found.trials, n_images=12)
    for number, (subject, values) in enumerate(betas.items(), start=1):
        np.testing.assert_array_equal(found.betas[subject][:], values)
        own = found.trials[found.trials["subject"] == subject]
        named = trials.loc[trials["subject"] == number, "image"].tolist()
        assert own["source_image"].tolist() == named
        shades = [int(found.images[i : i + 1][0, 0, 0, 0]) for i in own["image"]]
        assert shades == [20 * int(name[3:]) for name in named]


def test_splits_are_made_or_taken_from_the_table(study, trials):
    made = read_study(study, settings=settings(splits={"test": 0.25, "validation": 0.2})).trials
    assert made.groupby("split")["image"].nunique().to_dict() == {
        "test": 3,
        "train": 7,
        "validation": 2,
    }
    split = ["test" if name < "pic04" else "train" for name in trials["image"]]
    trials.assign(split=split).to_csv(study / "trials.csv", index=False)
    given = read_study(study, settings=settings(splits={"validation": 0})).trials
    assert set(given.loc[given["split"] == "test", "source_image"]) == {
        f"pic{i:02d}" for i in range(4)
    }


def test_one_file_may_hold_all_subjects(study, betas):
    (study / "betas" / "subj01.npy").unlink()
    (study / "betas" / "subj02.npy").unlink()
    (study / "betas").rmdir()
    with h5py.File(study / "betas.h5", "w") as file:
        for subject, values in betas.items():
            file[subject] = values
    found = read_study(study, settings=settings())
    for subject, values in betas.items():
        np.testing.assert_array_equal(found.betas[subject][:], values)


def test_rois_come_from_a_table_of_voxels(study):
    rois = pd.DataFrame({"i": range(5), "V1": [1, 1, 0, 0, 0]})
    (study / "voxels").mkdir()
    rois.to_csv(study / "voxels" / "subj01.csv", index=False)
    found = read_study(study, settings=settings())
    pd.testing.assert_frame_equal(found.voxels["subj01"], rois)
    assert len(found.voxels["subj02"]) == 7
    rois[1:].to_csv(study / "voxels" / "subj01.csv", index=False)
    with pytest.raises(ArtifactError, match=r"subj01\.csv has 4 rows, but .* have 5 voxels"):
        read_study(study, settings=settings())


def test_captions_of_the_table_are_those_of_the_images(study, trials):
    trials.assign(category=trials["image"].str[-1]).to_csv(study / "trials.csv", index=False)
    found = read_study(study, settings=settings())
    assert found.captions == found.categories == [*"012345678901"]


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("trials.csv", r"trials\.csv does not exist\. Write one row per trial"),
        ("betas/subj02.npy", r"no betas of subj02: neither .*betas nor .*subj02, ending in"),
        ("images/pic03.png", r"1 of 12 images .* missing in .*images \(first: \['pic03'\]\)"),
    ],
)
def test_a_missing_part_is_named(study, gone, message):
    (study / gone).unlink()
    with pytest.raises(ArtifactError, match=message):
        read_study(study, settings=settings())


def test_a_table_named_otherwise_is_named_with_its_setting(study):
    (study / "trials.csv").rename(study / "trials.tsv")
    with pytest.raises(ArtifactError, match=r"--set table\.trials=trials\.tsv"):
        read_study(study, settings=settings())


def test_changed_images_are_counted_for_the_manifest(study):
    Image.new("L", (20, 30)).save(study / "images" / "pic00.png")
    assert read_study(study, settings=settings()).facts["converted_images"] == {
        "not_square": 1,
        "gray": 1,
        "transparent": 0,
        "files": 12,
        "fit": "crop",
        "setting": "table.stimuli",
    }


def test_a_source_that_is_no_folder_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match=r"nowhere is not a folder\. Give the folder with"):
        read_study(tmp_path / "nowhere", settings=settings())


def test_betas_with_other_rows_than_the_table_are_refused(study, betas):
    np.save(study / "betas" / "subj01.npy", betas["subj01"][:-1])
    with pytest.raises(ArtifactError, match=r"23 rows of 5 voxels, but the table has 24 trials"):
        read_study(study, settings=settings())


def test_transposed_betas_are_recognised(study, betas):
    np.save(study / "betas" / "subj01.npy", betas["subj01"].T)
    with pytest.raises(ArtifactError, match=r"as many columns as trials: save it transp"):
        read_study(study, settings=settings())


def test_one_matrix_for_several_subjects_is_refused(study, betas):
    np.save(study / "betas.npy", np.concatenate([betas["subj01"]] * 2))
    with pytest.raises(ArtifactError, match=r"one matrix, but .*'subj01', 'subj02'.*subj01\.npy"):
        read_study(study, settings=settings())
