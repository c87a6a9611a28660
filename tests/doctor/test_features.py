import numpy as np

from mindeye2.doctor.features import MAX_READ, image_features
from mindeye2.doctor.pictures import make_thumbnails


def bank(study, name, values):
    place = study.folder / "targets" / name
    place.mkdir(parents=True)
    np.save(place / "values.npy", values.astype(np.float16))


def described(study):
    return image_features(study, make_thumbnails(study))


def test_pixels_serve_where_there_is_no_bank(parts, study):
    found, _ = study(parts)
    features, source = described(found)
    assert (source, len(features)) == ("pixels", 80)
    shown = found.trials["image"].unique()
    np.testing.assert_allclose(np.linalg.norm(features[shown], axis=1), 1, rtol=1e-4)
    assert not features[np.setdiff1d(np.arange(80), shown)].any()


def test_tokens_go_before_latents_and_latents_before_pixels(parts, study):
    found, _ = study(parts)
    rng = np.random.default_rng(0)
    bank(found, "lowlevel", rng.normal(size=(80, 4, 3, 3)))
    assert described(found)[1] == "targets/lowlevel"
    bank(found, "lite0", rng.normal(size=(80, 5, 6)))
    assert described(found)[1] == "targets/lite0"


def test_a_bank_of_another_length_or_a_broken_one_is_passed_over(parts, study):
    found, _ = study(parts)
    bank(found, "short", np.ones((79, 3)))
    bank(found, "broken", np.ones((80, 3)))
    (found.folder / "targets" / "broken" / "values.npy").write_bytes(b"x")
    assert described(found)[1] == "pixels"


def test_features_keep_what_pictures_have_in_common(parts, study):
    found, _ = study(parts)
    tokens = np.random.default_rng(0).normal(size=(80, 4, 10))
    tokens[1] = tokens[0]
    bank(found, "lite0", tokens)
    features, _ = described(found)
    alike = features @ features.T
    assert alike[0, 1] > 0.999
    assert np.abs(alike[0, 2:]).max() < 0.6


def test_a_large_bank_is_read_in_part(parts, study):
    found, _ = study(parts)
    bank(found, "bigG", np.random.default_rng(0).normal(size=(80, 40, MAX_READ // 10)))
    features, source = described(found)
    assert (source, features.shape) == ("targets/bigG", (80, 256))
