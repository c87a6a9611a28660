import json

import numpy as np
import pytest

from mindeye2.core.errors import ArtifactError


def test_a_split_of_the_release_decides_train_and_test(laion, read):
    dataset = read(laion.root, subjects=("sub-01",), split="tau", splits_file=laion.splits)
    (variant,) = json.loads((laion.splits / "sub-01/tau.json").read_text())["variants"]
    trials = dataset.trials
    by_split = trials.groupby("split")["source_image"].agg(set)
    assert by_split["test"] == set(variant["test_ids"])
    assert by_split["train"] | by_split["validation"] <= set(variant["train_ids"])
    assert not trials["source_image"].str.contains("_OOD_").any()
    labels = laion.subjects["sub-01"].labels
    kept = [["_OOD_" not in name for name in labels[s]] for s in (1, 2, 5)]
    index = tuple(dataset.voxels["sub-01"][["i", "j", "k"]].to_numpy().T)
    betas = [
        laion.subjects["sub-01"].betas[s][index].T[k] for s, k in zip((1, 2, 5), kept, strict=True)
    ]
    np.testing.assert_array_equal(dataset.betas["sub-01"][:], np.concatenate(betas))
    assert dataset.facts["image_split"] == "tau (pool subject)"
    assert dataset.facts["split_images"]["none"] == 3
    assert "split tau (pool subject)" in dataset.label


def test_one_file_serves_one_subject(laion, read):
    path = laion.splits / "sub-01/ood.json"
    dataset = read(laion.root, subjects=("sub-01",), split="ood", splits_file=path)
    test = dataset.trials.query("split == 'test'")["source_image"]
    assert set(test) == {n for n in laion.names if "_OOD_" in n}
    with pytest.raises(ArtifactError, match=r"pool 'sub-01 full pool', not of sub-03"):
        read(laion.root, subjects=("sub-03",), split="ood", splits_file=path)


@pytest.mark.parametrize(
    ("types", "n_test"), [(("shape",), 2), (("illusion-natural",), 1), (("gabor", "shape"), 2)]
)
def test_kinds_of_out_of_distribution_images_are_tested_alone(laion, read, types, n_test):
    settings = {"subjects": ("sub-01",), "split": "ood", "splits_file": laion.splits}
    whole, some = read(laion.root, **settings), read(laion.root, **settings, ood_types=types)
    test = {*some.trials.query("split == 'test'")["source_image"]}
    assert test == {n for n in laion.names if any(f"_OOD_{kind}_" in n for kind in types)}
    assert len(test) == n_test
    assert some.facts["split_images"]["none"] - whole.facts["split_images"]["none"] == 3 - n_test
    assert some.facts["split_images"]["training"] == whole.facts["split_images"]["training"]
    assert some.facts["image_split"] == f"ood {' '.join(types)} (pool subject)"


def test_subjects_share_a_split_or_are_prepared_one_by_one(laion, read):
    settings = {"split": "tau", "splits_file": laion.splits}
    with pytest.raises(ArtifactError, match=r"8 images are training images of one subject and "):
        read(laion.root, **settings)
    trials = read(laion.root, **settings, pool="shared").trials
    assert trials["source_image"].str.startswith("shared_12rep").all()
    assert set(trials["subject"]) == {"sub-01", "sub-03"}
    assert set(read(laion.root, split="ood", splits_file=laion.splits).trials["subject"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": "tau"}, r"'tau' is a file of the release.*laion_fmri/splits/data/sub-01"),
        ({"split": "random_0", "splits_file": "splits"}, r"random_0\.json does not exist\. Give"),
        ({"split": "ood", "splits_file": "splits/sub-01/tau.json"}, r"is the split 'tau', but"),
        ({"splits_file": "splits"}, r"has no effect on the split 'shared'.*split=tau"),
        ({"ood_types": ("shape",)}, r"ood_types=\['shape'\] has no effect on the split 'shared'"),
        ({"split": "tau", "splits_file": "damaged.json"}, r"damaged or no split of LAION-fMRI"),
    ],
)
def test_files_that_do_not_fit_the_split_are_refused(download, read, settings, message):
    (download.root / "damaged.json").write_text('{"name": "tau"')
    if "splits_file" in settings:
        settings = {**settings, "splits_file": download.root / settings["splits_file"]}
    with pytest.raises(ArtifactError, match=message):
        read(download.root, subjects=("sub-01",), **settings)


def test_sides_that_overlap_or_show_nothing_are_refused(download, read):
    path = download.root / "tau.json"
    names = download.truth.names

    def write(train, test):
        variant = {"train_ids": train, "test_ids": test}
        path.write_text(json.dumps({"name": "tau", "pool": "x", "variants": [variant]}))
        return read(download.root, subjects=("sub-01",), split="tau", splits_file=path)

    with pytest.raises(ArtifactError, match=r"has 1 images on both sides"):
        write(names[:3], names[2:5])
    with pytest.raises(ArtifactError, match=r"no trial shows a test image of the split 'tau'"):
        write(names[:3], ["of-another-subject.jpg"])
