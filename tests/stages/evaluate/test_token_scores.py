"""Published retrieval: both directions among 300, with the gallery of enlarged images."""

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from mindeye2.core.artifacts import read_manifest
from mindeye2.encoders.clip import load_clip_tokens
from mindeye2.stages.evaluate import EvaluateSettings, evaluate
from mindeye2.stages.evaluate.decoded import Decoded

SETTINGS = EvaluateSettings(protocol="mindeye2-2024", n_resamples=100)


def hits(preds, gallery):
    """Return the fraction of rows whose own column has the largest cosine."""
    near = F.normalize(preds.flatten(1), dim=1) @ F.normalize(gallery.flatten(1), dim=1).T
    return [float((m.argmax(1) == torch.arange(len(m))).float().mean()) for m in (near, near.T)]


def test_directions_are_named_by_what_is_ranked(six, summary, tmp_path):
    evaluate(SETTINGS, source=six, out=tmp_path / "scores", device="cpu")
    rows = summary(tmp_path / "scores")
    tokens = load_file(six / "tokens.safetensors")
    decoding, encoding = hits(tokens["retrieval"], tokens["true"])
    assert rows["image_given_brain_300"]["value"] == pytest.approx(decoding)
    assert rows["brain_given_image_300"]["value"] == pytest.approx(encoding)
    assert decoding != encoding
    assert rows["image_given_brain_300"]["title"].startswith("Brain retrieval (published name)")
    assert rows["brain_given_image_300"]["chance"] == pytest.approx(1 / 6)
    missing = read_manifest(tmp_path / "scores", stage="evaluate")["missing"]
    assert any("enlarged to 256 pixels" in m and "10.2 GB, MIT" in m for m in missing)


def test_the_published_gallery_holds_images_enlarged_to_256_pixels(six, networks, tmp_path):
    settings = SETTINGS.model_copy(update={"networks": networks})
    evaluate(settings, source=six, out=tmp_path / "scores", device="cpu")
    seen = torch.from_numpy(np.load(six / "unclip.npy")).permute(0, 3, 1, 2) / 255
    encode = load_clip_tokens(networks / "clip_tokens", head_width=6)
    gallery = encode(F.interpolate(seen, (256, 256), mode="bilinear"))
    preds = load_file(six / "tokens.safetensors")["retrieval"]
    table = pd.read_parquet(tmp_path / "scores" / "scores.parquet")
    assert table["image_given_brain_300"].mean() == pytest.approx(hits(preds, gallery)[0])


def test_images_are_read_at_256_pixels(six):
    from mindeye2.data.prepared import open_prepared

    decoded = Decoded(six, open_prepared(six.parent / "data"))
    batches = list(decoded.batches("seen", size=4))
    assert [tuple(b.shape) for b in batches] == [(4, 3, 256, 256), (2, 3, 256, 256)]
    assert decoded.token_names == {"retrieval", "true"}
