import json

import numpy as np
import pytest

from mindeye2.core.errors import ArtifactError
from mindeye2.generation.decoders import load_unclip_decoder
from mindeye2.stages.train import DecoderTuning, train
from mindeye2.training.loop import OptimizerSettings


@pytest.fixture(scope="module")
def tuning():
    return DecoderTuning(
        batch_size=4, feature_size=48, optimizer=OptimizerSettings(steps=16, max_lr=3e-3)
    )


@pytest.fixture(scope="module")
def tuned(data, decoder, tuning, tmp_path_factory):
    """Return the run that went on from the tiny decoder's."""
    out = tmp_path_factory.mktemp("run") / "tuned"
    train(tuning, source=data, init=decoder, out=out, device="cpu")
    return out


def test_decoded_images_come_closer_to_the_originals(tuned):
    lines = [json.loads(line) for line in (tuned / "steps.jsonl").read_text().splitlines()]
    for part in ("latents", "l1", "maps", "pooled"):
        values = np.array([line[part] for line in lines])
        assert values[-4:].mean() < values[:4].mean(), part


def test_latents_keep_their_meaning_because_the_autoencoder_stays(decoder, tuned):
    before, after = (f / "autoencoder.safetensors" for f in (decoder, tuned))
    assert before.read_bytes() == after.read_bytes()


def test_a_tuned_decoder_draws_in_the_one_step_that_it_learned(tuned):
    assert load_unclip_decoder(tuned).settings.sampling_steps == 1


def test_the_log_tells_the_parts_of_the_loss(tuned):
    lines = [json.loads(line) for line in (tuned / "steps.jsonl").read_text().splitlines()]
    assert len(lines) == 16
    for line in lines:
        parts = line["latents"] + line["l1"] + 0.6 * (line["maps"] + line["pooled"])
        assert line["loss"] == pytest.approx(parts, rel=1e-4)


def test_tuning_starts_from_a_trained_unclip(data, tuning, pretrained, tmp_path):
    with pytest.raises(ArtifactError, match=r"'decoder_tuning' starts from the unCLIP's run"):
        train(tuning, source=data, out=tmp_path)
    with pytest.raises(ArtifactError, match=r"holds no unclip .*--recipe unclip"):
        train(tuning, source=data, init=pretrained, out=tmp_path, device="cpu")
