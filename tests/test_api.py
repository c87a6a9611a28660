import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml

from mindeye2 import Decoded, Decoder, Retrieved
from mindeye2.core.artifacts import write_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.encoders.bank import to_float
from mindeye2.encoders.registry import ENCODERS
from mindeye2.encoders.tokens import Lite0Tokens
from mindeye2.metrics.retrieval import fit_calibration, similarity
from mindeye2.models.training_bank import load_training_bank


@pytest.fixture(scope="module")
def run(untrained_run):
    """Return the folder of an untrained run, which holds an untrained image decoder too."""
    return untrained_run


@pytest.fixture(scope="module")
def decoder(run):
    return Decoder.from_run(run, decoder=run, device="cpu")


README = Path(__file__).parents[1] / "README.md"
LINES = re.search(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)[1]
"""The example of README.md."""


def test_the_lines_of_the_readme_decode_test_images_and_print_hits(
    run, decoder, four_images, tmp_path, monkeypatch, capsys
):
    demo = tmp_path / "runs" / "demo"
    demo.mkdir(parents=True)
    (demo / "data").symlink_to(four_images)
    (demo / "adapted").symlink_to(run)
    monkeypatch.chdir(tmp_path)
    # The image decoder of the fixture is smaller than the shipped one.
    monkeypatch.setattr(Decoder, "from_run", lambda _: decoder)
    names = {}
    exec(compile(LINES.replace("subj08", "subj01"), "README.md", "exec"), names)
    assert re.fullmatch(r"[0-4] of 4 seen images found\n", capsys.readouterr().out)
    assert names["test"].betas.shape == (4, 2, 30)
    assert len(names["seen"].images) == 4
    assert re.fullmatch(
        r"Retrieved\(4 images, best 4 of the gallery, first: \[.*\]\)",
        repr(decoder.retrieve(names["test"].betas, gallery=names["test"].images, k=4, **SUBJECT)),
    )


SUBJECT = {"subject": "subj01"}


@pytest.mark.parametrize("change", [lambda b: 2 * b + 5, lambda b: 300 * b, lambda b: b / 100])
def test_betas_that_are_not_z_scored_are_warned_of(decoder, betas, change):
    with pytest.warns(UserWarning, match=r"betas have mean .* trained on z-scored ones"):
        decoder.predict(change(betas), **SUBJECT)


@pytest.fixture
def betas(rng):
    return torch.randn(3, 30, generator=rng).numpy()


def test_a_run_is_decoded_in_three_lines(decoder, betas):
    decoded = decoder.decode(betas, subject="subj01", prior_samples=1)
    assert decoder.subjects == ["subj01"]
    assert repr(decoder).endswith("subjects ['subj01'])")
    assert repr(decoded) == "Decoded(images (3, 112, 112, 3), tokens (3, 49, 128), captions)"
    assert decoded.images.shape == decoded.lowlevel.shape == (3, 112, 112, 3)
    assert decoded.tokens.shape == (3, 49, 128)
    assert all(caption.startswith("image ") for caption in decoded.captions)
    assert len(set(decoded.seeds)) == 3


def test_a_reconstruction_does_not_depend_on_later_images(decoder, betas):
    whole, first = (decoder.decode(b, subject="subj01", seed=3) for b in (betas, betas[:1]))
    torch.testing.assert_close(whole.tokens[:1], first.tokens, rtol=1e-3, atol=1e-3)
    assert np.abs(whole.images[:1].astype(int) - first.images).max() <= 2
    assert (whole.seeds[:1], whole.captions[:1]) == (first.seeds, first.captions)


def test_the_seed_decides_samples_but_not_captions(decoder, betas):
    first, other = (decoder.decode(betas, subject="subj01", seed=s) for s in (0, 1))
    assert not torch.allclose(first.tokens, other.tokens)
    assert first.captions == other.captions


def test_repeats_are_averaged_and_missing_ones_left_out(decoder, betas):
    repeats = np.full((1, 3, 30), np.nan, np.float32)
    repeats[0, :2] = betas[:2]
    expected = decoder.predict(betas[:2].mean(axis=0, keepdims=True), subject="subj01")
    averaged = decoder.predict(repeats, subject="subj01")
    torch.testing.assert_close(averaged, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b[:, :20], r"'subj01' was trained on 30 voxels, got betas of shape \(3, 20\)"),
        (lambda b: b[0], r"betas must be \(images, voxels\) or .*got shape \(30,\)"),
        (lambda b: b * np.nan, r"'subj01' hold 90 NaN or infinite values"),
        (lambda b: b + np.inf, r"NaN or infinite values in 3 of 3 trials"),
        (lambda b: b[:, None] * np.nan, r"image 0 of the betas has no repeat: all are NaN"),
    ],
    ids=["voxels", "shape", "NaN", "infinite", "no repeat"],
)
def test_betas_that_cannot_be_decoded_are_refused(decoder, betas, change, message):
    with pytest.raises(ValueError, match=message):
        decoder.predict(change(betas), subject="subj01")


def test_an_unknown_subject_is_answered_with_the_known_ones(decoder, betas):
    with pytest.raises(ValueError, match=r"subject must be one of \['subj01'\], got 'subj2'"):
        decoder.predict(betas, subject="subj2")


def test_an_image_is_retrieved_by_its_predicted_tokens(decoder, betas, monkeypatch):
    """Predictions are the true tokens, so that the best match is known."""
    gallery = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), np.uint8)
    gallery = gallery.repeat(16, axis=1).repeat(16, axis=2)
    true = Lite0Tokens()(to_float(gallery[[4, 1, 5]]))
    monkeypatch.setattr(decoder, "predict", lambda *_args, **_kwargs: true)
    found = decoder.retrieve(betas, gallery=gallery, subject="subj01", k=3)
    assert found.indices[:, 0].tolist() == [4, 1, 5]
    assert (np.diff(found.scores, axis=1) <= 0).all()
    with pytest.raises(ValueError, match=r"k must be between 1 and the gallery's 6, got 7"):
        decoder.retrieve(betas, gallery=gallery, subject="subj01", k=7)


def test_the_gallery_is_encoded_by_the_encoder_of_the_run(run, betas, tmp_path, monkeypatch):
    def encode(images):
        return F.interpolate(images, (49, 128)).mean(dim=1)

    encode.name = encode.key = "grey"
    monkeypatch.setitem(ENCODERS, "grey", lambda _: encode)
    other = shutil.copytree(run, tmp_path / "run")
    described = yaml.safe_load((run / "model.yaml").read_text())
    (other / "model.yaml").write_text(yaml.safe_dump({**described, "encoder": "grey"}))
    write_manifest(other, stage="train", config={"task": "shared"})
    decoder = Decoder.from_run(other, device="cpu")
    gallery = np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3), np.uint8)
    tokens = encode(to_float(gallery[[4, 1, 5]]))
    monkeypatch.setattr(decoder, "predict", lambda *_args, **_kwargs: tokens)
    found = decoder.retrieve(betas, gallery=gallery, subject="subj01", k=1)
    assert found.indices[:, 0].tolist() == [4, 1, 5]


def test_a_gallery_that_was_encoded_before_gives_the_same_images(decoder, betas, monkeypatch):
    gallery = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
    expected = decoder.retrieve(betas, gallery=gallery, k=40, **SUBJECT)
    tokens = decoder.encode_gallery(gallery)
    monkeypatch.setattr(decoder._pipeline, "networks", None)  # nothing is encoded again
    found = decoder.retrieve(betas, gallery=gallery, k=40, gallery_tokens=tokens, **SUBJECT)
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"gallery_tokens are of 40 images, the gallery has 39"):
        decoder.retrieve(betas, gallery=gallery[1:], gallery_tokens=tokens, **SUBJECT)


def test_predictions_and_gallery_are_whitened_where_the_run_knows_its_errors(
    run, betas, tmp_path, plant_whitening
):
    other = shutil.copytree(run, tmp_path / "run")
    expect, whiten = plant_whitening(other)
    decoder = Decoder.from_run(other, decoder=run, device="cpu")
    gallery = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
    bank = load_training_bank(run, "subj01")
    preds = whiten(decoder.predict(betas, **SUBJECT))
    compared, training = (
        whiten(expect(t)) for t in (decoder.encode_gallery(gallery), bank.targets)
    )
    want = similarity(preds, compared, fit_calibration(whiten(bank.preds), training)).numpy()
    found = decoder.retrieve(betas, gallery=gallery, k=40, **SUBJECT)
    np.testing.assert_allclose(
        found.scores, np.take_along_axis(want, found.indices, axis=1), rtol=1e-4, atol=1e-4
    )
    assert (np.diff(found.scores, axis=1) <= 0).all()


def test_an_unfinished_run_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match=r"the stage 'train' did not finish there"):
        Decoder.from_run(tmp_path)


def test_a_subject_is_also_known_by_the_name_of_bids(decoder, betas):
    same = [decoder.predict(betas, subject=name) for name in ("subj01", "sub-01")]
    torch.testing.assert_close(*same, rtol=0, atol=0)
    gallery = np.zeros((2, 8, 8, 3), np.uint8)
    assert decoder.retrieve(betas, gallery=gallery, subject="sub-01", k=1).indices.shape == (3, 1)


def test_a_strip_shows_seen_images_above_their_reconstructions():
    images = np.zeros((3, 16, 16, 3), np.uint8)
    images[1] = 90
    decoded = Decoded(
        images=images,
        lowlevel=None,
        captions=["a <b>", "c", "d"],
        tokens=torch.zeros(3, 2, 2),
        seeds=[0, 1, 2],
    )
    strip = np.asarray(decoded.show(seen=np.full((3, 8, 8, 3), 200, np.uint8)))
    n_rows, n_columns = 2, 3
    assert strip.shape == (n_rows * 132 - 4, n_columns * 132 - 4, 3)
    assert (strip[:128, :128] == 200).all()  # seen
    assert (strip[132:, 132:260] == 90).all()  # the second reconstruction
    assert (strip[:, 128:132] == 255).all()  # between columns
    shown = decoded._repr_html_()
    assert shown.count("<img") == 3
    assert "a &lt;b&gt;" in shown
    with pytest.raises(ValueError, match=r"seen has 2 images, but 3 were reconstructed"):
        decoded.show(seen=images[:2])


def test_only_the_first_eight_are_shown():
    many = Decoded(
        images=np.zeros((20, 8, 8, 3), np.uint8),
        lowlevel=None,
        captions=None,
        tokens=torch.zeros(20, 1, 1),
        seeds=list(range(20)),
    )
    assert many.show().width == 8 * 132 - 4
    assert "12 more" in many._repr_html_()


def test_retrieved_images_are_shown_best_first():
    gallery = np.stack([np.full((8, 8, 3), value, np.uint8) for value in (10, 20, 30)])
    found = Retrieved(
        indices=np.array([[2, 0], [1, 2]]),
        scores=np.array([[1.0, 0.5], [0.3, 0.2]]),
        gallery=gallery,
    )
    strip = np.asarray(found.show())
    assert strip[0, [0, 132], 0].tolist() == [30, 10]
    assert strip[132, [0, 132], 0].tolist() == [20, 30]
    assert found._repr_html_().count("<img") == 4
