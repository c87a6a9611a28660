import numpy as np
import pytest

from mindeye2.doctor.image_overlap import check_images, make_thumbnails

RNG = np.random.default_rng(5)


def brighter(image):
    return (image * 0.8 + 30).astype(np.uint8)


def noisy(image):
    return np.clip(image + RNG.normal(0, 12, image.shape), 0, 255).astype(np.uint8)


def run_check(open_view, dataset):
    view, _ = open_view(dataset)
    return check_images(view, make_thumbnails(view))


@pytest.mark.parametrize(
    ("change", "how"),
    [
        (lambda p: p, "exactly the same"),
        (brighter, "nearly the same"),
        (noisy, "nearly the same"),
        (lambda p: p[:, ::-1], "mirrored"),
    ],
    ids=["same", "brighter", "noise", "mirror"],
)
def test_an_image_of_test_and_training_is_an_error(dataset, open_view, wrong, change, how):
    dataset["images"][70] = change(dataset["images"][3])
    findings = run_check(open_view, dataset)
    assert wrong(findings) == [("error", "images", "train and test")]
    assert findings[0].found == (
        f"1 pairs of a test image and one of another split are {how} (rows 70 and 3)"
    )


def test_two_images_of_one_tint_are_two_images(dataset, open_view, wrong, monkeypatch):
    monkeypatch.setattr("mindeye2.data.image_copies.MAX_BITS", 63)  # hashes decide nothing
    dataset["images"][..., 0] = dataset["images"][..., 0] // 4 + 190
    assert wrong(run_check(open_view, dataset)) == []


def test_copies_within_a_split_are_no_leak(dataset, open_view, wrong):
    dataset["images"][4] = dataset["images"][3]
    dataset["images"][71] = dataset["images"][70]
    assert wrong(run_check(open_view, dataset)) == []


def test_one_id_of_the_source_in_two_splits_is_an_error(dataset, open_view, wrong):
    trials = dataset["trials"]
    trials.loc[trials["image"] == 70, "source_image"] = 1003
    findings = run_check(open_view, dataset)
    assert wrong(findings) == [("error", "images", "train and test")]
    assert "(ids 1003)" in findings[0].found


def test_images_of_one_colour_are_named(dataset, open_view, wrong):
    dataset["images"][5], dataset["images"][6] = 0, (200, 30, 90)
    findings = run_check(open_view, dataset)
    assert wrong(findings) == [("error", "images", "images.npy")]
    assert "2 images that trials show are of one colour (rows 5, 6)" in findings[0].found


def test_sound_images_are_counted(dataset, open_view):
    (finding,) = run_check(open_view, dataset)
    assert finding.level == "ok"
    assert "none of 12 test images is among 68 others" in finding.found


def test_large_images_are_shrunk_by_averaging(dataset, open_view):
    dataset["images"] = dataset["images"].repeat(8, axis=1).repeat(8, axis=2)
    view, _ = open_view(dataset)
    small = make_thumbnails(view)
    np.testing.assert_array_equal(small.values, dataset["images"][small.rows][:, ::8, ::8])


def test_known_images_are_no_leak_but_are_named(dataset, open_view, wrong):
    trials = dataset["trials"]
    trials.loc[trials["split"] == "test", "image"] = 3
    view, _ = open_view(dataset, design="known_images")
    findings = check_images(view, make_thumbnails(view))
    assert wrong(findings) == []
    assert [f.found for f in findings] == [
        "the 1 test images are training images too, as the design of known images says"
    ]
