import numpy as np
import pandas as pd
import pytest

from mindeye2.core.errors import ArtifactError
from mindeye2.data.prepared.consistency import check_parts, check_trials

N_IMAGES = 10
SPLITS = ["train"] * 6 + ["validation"] * 2 + ["test"] * 2


@pytest.fixture
def trials():
    """Return two subjects who saw each image twice, subj02 in reverse order."""
    shown = np.tile(np.arange(N_IMAGES), 2)
    tables = [
        pd.DataFrame(
            {
                "subject": subject,
                "session": np.repeat([1, 2], N_IMAGES),
                "run": 1,
                "trial": np.tile(np.arange(1, N_IMAGES + 1), 2),
                "image": images,
                "source_image": images + 100,
                "repeat": np.repeat([0, 1], N_IMAGES),
                "split": [SPLITS[i] for i in images],
            }
        )
        for subject, images in {"subj01": shown, "subj02": shown[::-1]}.items()
    ]
    return pd.concat(tables, ignore_index=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="repeat"), r"no column \['repeat'\]; it has \['subject'"),
        (lambda t: t.assign(image=t["image"] + 1), r"4 trials show images .*is image 10 \(subj01"),
        (lambda t: t.assign(image=-1), r"40 trials show .*there are 10 images, 0 to 9"),
        (lambda t: t.assign(split=t["split"].replace("test", "tset")), r"got 'tset'.*'test'\?"),
        (lambda t: t[t["split"] != "test"], r"no trial is in the split 'test'"),
        (lambda t: t[t["split"] != "train"], r"no trial is in the split 'train'"),
        (
            lambda t: t.assign(split=["test", "train"] * 20),
            r"10 images are in more than one split: 100, 101, .*, 108, 109\. Splits must be",
        ),
    ],
    ids=["column", "image", "negative", "name", "no test", "no train", "leak"],
)
def test_a_table_that_would_mislead_is_refused(trials, change, message):
    with pytest.raises((ArtifactError, ValueError), match=message):
        check_trials(change(trials), n_images=N_IMAGES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shapes": {"subj02": (19, 3)}}, r"subj02 has 19 rows of betas but 20 trials"),
        ({"shapes": {"subj02": (20, 4)}}, r"betas of 4 voxels but a voxel table of 3 rows"),
        ({"captions": ["a"] * 9}, r"there are 9 captions for 10 images"),
        ({"n_images": 9}, r"4 trials show images that are missing"),
    ],
    ids=["trials", "voxels", "captions", "images"],
)
def test_parts_that_do_not_fit_are_refused_before_any_work(trials, change, message):
    given = {
        "n_images": N_IMAGES,
        "shapes": {"subj01": (20, 5), "subj02": (20, 3)},
        "voxels": {
            n: pd.DataFrame({"i": range(c)}) for n, c in {"subj01": 5, "subj02": 3}.items()
        },
        "captions": None,
    }
    check_parts(trials, **given)
    with pytest.raises(ArtifactError, match=message):
        check_parts(trials, **given | change)
