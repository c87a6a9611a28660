import io
import shutil

import numpy as np
import pytest

import mindeye2
from mindeye2.app import TrialView
from mindeye2.reporting.strip import strip_html

SLIDERS = {
    "n_candidates": 1,
    "n_repeats": 10,
    "prior_samples": 1,
    "prior_steps": 2,
    "lowlevel_weight": 0.5,
}


@pytest.fixture(scope="module")
def view(shown, four_images):
    return TrialView(shown, four_images)


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


@pytest.mark.parametrize("n_repeats", [1, 10])
def test_a_test_image_is_shown_as_the_decoder_decodes_it(view, shown, four_images, n_repeats):
    html, warned = view.decode("subj01", 2, None, **{**SLIDERS, "n_repeats": n_repeats})
    test = mindeye2.load(four_images)
    betas = test.betas[2:3, :n_repeats]
    decoder = shown.with_settings(prior_samples=1, prior_steps=2, lowlevel_weight=0.5)
    expected = decoder.decode(betas, subject="subj01")
    found = decoder.retrieve(betas, gallery=test.images, subject="subj01", k=4)
    rows = {
        "seen": test.images[2:3],
        "reconstruction": expected.images,
        "low-level": expected.lowlevel,
    }
    retrieved = {"retrieved of 4": test.images[found.indices[0]]}
    assert html == strip_html(rows, expected.captions) + strip_html(retrieved, None)
    assert warned == []


def test_the_gallery_is_encoded_once(shown, four_images, monkeypatch):
    encoded = []
    encode = shown.encode_gallery
    monkeypatch.setattr(
        shown, "encode_gallery", lambda gallery: encoded.append(len(gallery)) or encode(gallery)
    )
    view = TrialView(shown, four_images)
    for image in (0, 1):
        assert "retrieved of 4" in view.decode("subj01", image, None, **SLIDERS)[0]
    assert encoded == [4]


def test_stored_tokens_of_the_gallery_are_not_computed_again(shown, four_images, tmp_path):
    test = mindeye2.load(four_images)
    copy = shutil.copytree(four_images, tmp_path / "data")
    targets = np.zeros((6, 49, 128), np.float16)  # of another order than the true ones
    targets[test.image_rows] = shown.encode_gallery(test.images).flip(0).numpy()
    (copy / "targets" / "lite0").mkdir(parents=True)
    np.save(copy / "targets" / "lite0" / "values.npy", targets)
    best = shown.retrieve(test.betas[:1], gallery=test.images, subject="subj01", k=4)
    flipped = {"retrieved of 4": test.images[3 - best.indices[0]]}
    html, _ = TrialView(shown, copy).decode("subj01", 0, None, **SLIDERS)
    assert html.endswith(strip_html(flipped, None))


def test_a_file_is_decoded_instead_and_nothing_seen_is_claimed(view, shown, four_images):
    betas = mindeye2.load(four_images).betas[:, 0]
    html, _ = view.decode("subj01", 1, npy(betas), **SLIDERS)
    assert html == view.decode("subj01", 0, npy(betas[1]), **SLIDERS)[0]
    assert "seen" not in html
    alone = TrialView(shown, None).decode("subj01", 1, npy(betas), **SLIDERS)[0]
    assert "retrieved" in html
    assert "retrieved" not in alone
    assert html.startswith(alone)


@pytest.mark.parametrize(
    ("image", "upload", "message"),
    [
        (4, None, "the image must be 0 to 3, got 4"),
        (-1, None, "the image must be 0 to 3, got -1"),
        (0, b"x", "the file must be the bytes of a .npy file"),
        (0, npy(np.zeros((1, 29))), r"betas must be \(images, 30\)"),
        (0, npy(np.array([{}], dtype=object)), "the file must hold numbers, got object"),
    ],
)
def test_what_cannot_be_decoded_is_refused_in_words(view, image, upload, message):
    with pytest.raises(ValueError, match=message):
        view.decode("subj01", image, upload, **SLIDERS)


def test_without_data_set_a_file_is_asked_for(shown):
    view = TrialView(shown, None)
    assert (view.subjects, view.n_images("subj01")) == (["subj01"], 0)
    with pytest.raises(ValueError, match=r"no test images of subj01 here: drop a \.npy file"):
        view.decode("subj01", 0, None, **SLIDERS)


def test_steps_of_the_prior_out_of_range_are_refused(view):
    with pytest.raises(ValueError, match="prior_steps"):
        view.decode("subj01", 0, None, **{**SLIDERS, "prior_steps": 1})


def test_candidates_are_reconstructions_of_other_seeds(view, shown, four_images):
    html, warned = view.decode("subj01", 0, None, **{**SLIDERS, "n_candidates": 3})
    betas = mindeye2.load(four_images).betas[:1]
    decoder = shown.with_settings(prior_samples=1, prior_steps=2, lowlevel_weight=0.5)
    found = [decoder.decode(betas, subject="subj01", seed=seed).images for seed in range(3)]
    assert not np.array_equal(found[0], found[1])
    row = strip_html({"reconstruction": np.concatenate(found)}, None)
    assert (
        row.removeprefix('<table style="border-collapse:collapse">').removesuffix("</table>")
        in html
    )
    assert len(warned) <= 1
