import numpy as np

from mindeye2.doctor.image_features import MAX_READ, image_features
from mindeye2.doctor.image_overlap import make_thumbnails


def bank(view, name, values):
    folder = view.folder / "targets" / name
    folder.mkdir(parents=True)
    np.save(folder / "values.npy", values.astype(np.float16))


def described(view):
    return image_features(view, make_thumbnails(view))


def test_pixels_are_used_without_a_bank(dataset, open_view):
    view, _ = open_view(dataset)
    features, source = described(view)
    assert (source, len(features)) == ("pixels", 80)
    shown = view.trials["image"].unique()
    np.testing.assert_allclose(np.linalg.norm(features[shown], axis=1), 1, rtol=1e-4)
    assert not features[np.setdiff1d(np.arange(80), shown)].any()


def test_tokens_are_preferred_to_latents_and_latents_to_pixels(dataset, open_view):
    view, _ = open_view(dataset)
    rng = np.random.default_rng(0)
    bank(view, "lowlevel", rng.normal(size=(80, 4, 3, 3)))
    assert described(view)[1] == "targets/lowlevel"
    bank(view, "lite0", rng.normal(size=(80, 5, 6)))
    assert described(view)[1] == "targets/lite0"


def test_a_bank_of_another_length_or_a_broken_one_is_passed_over(dataset, open_view):
    view, _ = open_view(dataset)
    bank(view, "short", np.ones((79, 3)))
    bank(view, "broken", np.ones((80, 3)))
    (view.folder / "targets" / "broken" / "values.npy").write_bytes(b"x")
    assert described(view)[1] == "pixels"


def test_features_keep_what_images_have_in_common(dataset, open_view):
    view, _ = open_view(dataset)
    tokens = np.random.default_rng(0).normal(size=(80, 4, 10))
    tokens[1] = tokens[0]
    bank(view, "lite0", tokens)
    features, _ = described(view)
    cosine = features @ features.T
    assert cosine[0, 1] > 0.999
    assert np.abs(cosine[0, 2:]).max() < 0.6


def test_a_large_bank_is_read_in_part(dataset, open_view):
    view, _ = open_view(dataset)
    bank(view, "bigG", np.random.default_rng(0).normal(size=(80, 40, MAX_READ // 10)))
    features, source = described(view)
    assert (source, features.shape) == ("targets/bigG", (80, 256))
