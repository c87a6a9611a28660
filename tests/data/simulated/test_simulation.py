import numpy as np
import pandas as pd
import pytest

from mindeye2.data.prepared.consistency import check_trials
from mindeye2.data.simulated import SimulationSettings, simulate


def test_tables_and_betas_have_the_promised_form(study, small):
    assert list(study.betas) == ["subj01", "subj02", "subj03"]
    check_trials(study.trials, n_images=300)
    for subject, betas in study.betas.items():
        trials = study.trials[study.trials["subject"] == subject]
        assert betas.dtype == np.float32
        assert betas.shape == (len(trials), len(study.voxels[subject]))
        assert len(trials) == 3 * (80 + 30)
        assert small.min_voxels <= betas.shape[1] <= small.max_voxels
        assert np.isfinite(betas).all()
    assert (study.trials["source_image"] == study.trials["image"]).all()


def test_subjects_differ_in_voxels_images_and_order(study):
    one, two = (study.trials[study.trials["subject"] == s] for s in ("subj01", "subj02"))
    assert study.betas["subj01"].shape[1] != study.betas["subj02"].shape[1]
    assert set(one["image"]) != set(two["image"])
    test = [set(t.loc[t["split"] == "test", "image"]) for t in (one, two)]
    assert test[0] == test[1] == set(range(270, 300))


def test_voxels_have_distinct_positions_areas_and_ceilings(study):
    for table in study.voxels.values():
        assert not table.duplicated(["i", "j", "k"]).any()
        assert set(table["roi"]) == {"V1", "V2", "V3", "V4", "ventral", "lateral", "parietal"}
        assert (table["noise_ceiling_1"] <= table["noise_ceiling_3"]).all()


def test_the_voxel_table_has_not_seen_test_images(study, world, small):
    images = world[0].copy()
    images[270:] = images[:30]
    other = simulate(images, *world[1:], settings=small, seed=0)
    assert (other.betas["subj01"] != study.betas["subj01"]).any()
    pd.testing.assert_frame_equal(other.voxels["subj01"], study.voxels["subj01"])


def test_without_repeats_the_ceiling_is_unknown(world, small):
    once = small.model_copy(update={"repeat_fractions": (1.0,), "n_subjects": 1})
    table = simulate(*world, settings=once, seed=0).voxels["subj01"]
    assert table[["ncsnr", "noise_ceiling_1", "noise_ceiling_3"]].isna().all(axis=None)


def test_the_same_seed_gives_the_same_subjects_and_another_seed_others(study, world, small):
    again = simulate(*world, settings=small, seed=0)
    pd.testing.assert_frame_equal(again.trials, study.trials)
    for subject, betas in study.betas.items():
        np.testing.assert_array_equal(again.betas[subject], betas)
    other = simulate(*world, settings=small.model_copy(update={"n_subjects": 1}), seed=1)
    assert set(other.trials["image"]) != set(study.trials.query("subject == 'subj01'")["image"])


def test_a_subject_does_not_depend_on_how_many_others_there_are(study, world, small):
    alone = simulate(*world, settings=small.model_copy(update={"n_subjects": 1}), seed=0)
    np.testing.assert_array_equal(alone.betas["subj01"], study.betas["subj01"])
    pd.testing.assert_frame_equal(alone.voxels["subj01"], study.voxels["subj01"])
    first = study.trials[study.trials["subject"] == "subj01"]
    pd.testing.assert_frame_equal(alone.trials, first)


def test_measured_ceilings_are_those_of_nsd(scenes):
    # Allen et al. 2022: 36 % for three trials, so 15.8 % for one.
    settings = SimulationSettings(
        n_subjects=3,
        min_voxels=200,
        max_voxels=200,
        sessions=3,
        trials_per_session=300,
        subject_sigma=0.0,
    )
    images, features = scenes(400)
    study = simulate(images, features, ["train"] * 360 + ["test"] * 40, settings=settings, seed=0)
    three = np.mean([v["noise_ceiling_3"].median() for v in study.voxels.values()])
    one = np.mean([v["noise_ceiling_1"].median() for v in study.voxels.values()])
    assert three == pytest.approx(36, abs=3)
    assert one == pytest.approx(15.8, abs=2)


def test_light_in_a_corner_moves_only_the_voxels_that_see_the_corner(world, small):
    images, features, split = world
    images = images.copy()
    images[298:] = images[0]
    images[299, :5, :5] = 255 - images[0, :5, :5]  # a spot of 0.65 degrees, top left
    truth = simulate(images, features, split, settings=small, seed=0).truth["subj01"]
    moved = np.abs(truth.signal[299] - truth.signal[298])
    x, y, size = truth.fields.x, truth.fields.y, truth.fields.size
    distance = np.hypot(x + 3.9, y - 3.9)
    # The largest Gabor reaches about 3 degrees beyond the spot.
    blind = distance > 3.5 + 4 * size
    assert blind.sum() > 10
    assert moved[blind].max() < 0.01
    assert np.median(moved[distance < 2 + size]) > 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": ["train"] * 299}, "got 300 images, features of 300 images and 299 splits"),
        ({"semantic": np.zeros((298, 5))}, "features of 298 images and 300 splits"),
        ({"split": ["trian"] * 300}, r"split must be one of .*got 'trian'\. Did you mean 'train'"),
        ({"semantic": np.full((300, 5), np.nan)}, "semantic holds NaN or infinite values"),
        ({"split": ["test"] * 300}, "there are 0 training and validation images"),
        ({"split": ["train"] * 70 + ["test"] * 230}, "there are 70 .*, too few for 240 trials"),
    ],
)
def test_wrong_input_is_refused(world, small, *, changes, message):
    right = dict(zip(("images", "semantic", "split"), world, strict=True))
    with pytest.raises(ValueError, match=message):
        simulate(**(right | changes), settings=small, seed=0)


def test_fine_and_coarse_gabors_count_alike(world, small, monkeypatch):
    from mindeye2.data.simulated import simulation as module

    seen = []
    one = small.model_copy(update={"n_subjects": 1})
    run = module.simulate_subject
    monkeypatch.setattr(
        module,
        "simulate_subject",
        lambda world, *a, **k: seen.append(world) or run(world, *a, **k),
    )
    simulate(*world, settings=one, seed=0)
    np.testing.assert_allclose(seen[0].energies[seen[0].fit].mean(axis=(0, 2, 3)), 1, rtol=1e-3)
