import numpy as np
import pytest

from mindeye2.doctor.pictures import check_pictures, make_thumbnails, perceptual_bits

RNG = np.random.default_rng(5)


def brighter(picture):
    return (picture * 0.8 + 30).astype(np.uint8)


def noisy(picture):
    return np.clip(picture + RNG.normal(0, 12, picture.shape), 0, 255).astype(np.uint8)


def look(study, parts):
    found, _ = study(parts)
    return check_pictures(found, make_thumbnails(found))


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
def test_a_test_picture_that_training_shows_too_is_an_error(parts, study, wrong, change, how):
    parts["images"][70] = change(parts["images"][3])
    findings = look(study, parts)
    assert wrong(findings) == [("error", "pictures", "train and test")]
    assert findings[0].found == (
        f"1 pairs of a test picture and one of another split are {how} (rows 70 and 3)"
    )


def test_two_pictures_of_one_tint_are_two_pictures(parts, study, wrong, monkeypatch):
    monkeypatch.setattr("mindeye2.doctor.pictures.MAX_BITS", 63)  # hashes decide nothing
    parts["images"][..., 0] = parts["images"][..., 0] // 4 + 190
    assert wrong(look(study, parts)) == []


def test_copies_within_a_split_are_no_leak(parts, study, wrong):
    parts["images"][4] = parts["images"][3]
    parts["images"][71] = parts["images"][70]
    assert wrong(look(study, parts)) == []


def test_one_id_of_the_source_in_two_splits_is_an_error(parts, study, wrong):
    trials = parts["trials"]
    trials.loc[trials["image"] == 70, "source_image"] = 1003
    findings = look(study, parts)
    assert wrong(findings) == [("error", "pictures", "train and test")]
    assert "(ids 1003)" in findings[0].found


def test_pictures_that_show_nothing_are_named(parts, study, wrong):
    parts["images"][5], parts["images"][6] = 0, (200, 30, 90)
    findings = look(study, parts)
    assert wrong(findings) == [("error", "pictures", "images.npy")]
    assert "2 pictures that trials show are of one colour (rows 5, 6)" in findings[0].found


def test_sound_pictures_are_counted(parts, study):
    (finding,) = look(study, parts)
    assert finding.level == "ok"
    assert "none of 12 test pictures is among 68 others" in finding.found


def test_the_hash_survives_light_and_tells_pictures_apart(parts):
    bits = perceptual_bits(parts["images"])
    lighter = perceptual_bits(brighter(parts["images"]))
    differ = (63 - bits @ lighter.T) / 2
    assert differ.diagonal().max() <= 2
    assert differ[~np.eye(80, dtype=bool)].min() > 8


def test_large_pictures_are_shrunk_by_averaging(parts, study):
    parts["images"] = parts["images"].repeat(8, axis=1).repeat(8, axis=2)
    found, _ = study(parts)
    small = make_thumbnails(found)
    np.testing.assert_array_equal(small.values, parts["images"][small.rows][:, ::8, ::8])
