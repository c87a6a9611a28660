from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import Ridge

from mindeye2.data.scenes import render_references
from mindeye2.encoders.bank import to_float
from mindeye2.encoders.tokens import Lite0Tokens
from mindeye2.generation.reference_scenes import (
    PARTS,
    DescribedScene,
    ReferenceScenes,
    add_detail,
    load_reference_scenes,
)
from mindeye2.generation.scene_kinds import fit_kinds


def _scenes(n=40, components=6, features=5):
    rng = torch.Generator().manual_seed(0)
    scores = torch.randn(n, components, generator=rng)
    shown = {
        "object": ["animal", "animal", "tool", "food"] * (n // 4),
        "number": ["one"] * n,
        "setting": ["coast", "city"] * (n // 2),
        "light": ["dark", "middle", "bright", "bright"] * (n // 4),
    }
    return ReferenceScenes(
        token_mean=torch.randn(12, generator=rng),
        token_components=torch.randn(components, 12, generator=rng),
        features=torch.randn(n, features, generator=rng),
        covariance=torch.randn(components, features, generator=rng),
        kinds={
            part: fit_kinds(scores, np.array(kinds), names=list(PARTS[part]))
            for part, kinds in shown.items()
        },
    )


@pytest.fixture(scope="module")
def shipped():
    return load_reference_scenes()


def test_features_are_expected_by_ridge_regression_on_decoded_tokens():
    # scikit-learn's ridge on samples with the stated covariances chooses the same scenes.
    scenes, rng = _scenes(), torch.Generator().manual_seed(1)
    scores = torch.linalg.qr(torch.randn(4000, 6, generator=rng))[0] * 4000**0.5
    shrink = torch.randn(12, 12, generator=rng) / 4
    decoded = (scores @ scenes.token_components) @ shrink
    whitening = torch.randn(12, 9, generator=rng)
    compared = decoded @ whitening
    alpha = 2 * float(compared.square().sum()) / 6
    ridge = Ridge(alpha=alpha, fit_intercept=False).fit(compared, scores @ scenes.covariance)
    preds = torch.randn(30, 12, generator=rng)
    expected = F.normalize(torch.from_numpy(ridge.predict(preds @ whitening)).float(), dim=1)
    best = (expected @ F.normalize(scenes.features, dim=1).T).topk(3, dim=1).indices
    evidence = scenes.weigh(
        preds.view(30, 3, 4) + 2.0,
        mean=torch.full((3, 4), 2.0),
        forward_model=lambda t: (t.flatten(1) @ shrink + 1.0).view(t.shape),
        whiten=lambda t: (t.flatten(1) - 5.0) @ whitening,
    )
    found = scenes.rank(evidence, k=3)
    assert torch.equal(found, best)


@pytest.mark.parametrize(
    ("sure", "caption"),
    [
        ({"object", "setting"}, "an animal in front of mountains"),
        ({"object"}, "an animal"),
        ({"setting"}, "something in front of mountains"),
        (set(), "something"),
        ({"object", "number"}, "an animal and something else"),
        ({"number", "light"}, "two things, in dim light"),
        (set(PARTS), "an animal and something else in front of mountains, in dim light"),
    ],
)
def test_a_caption_names_what_is_more_likely_than_not(sure, caption):
    kinds = {"object": "animal", "number": "two", "setting": "mountain", "light": "dark"}
    probabilities = {part: 0.6 if part in sure else 0.5 for part in kinds}
    assert DescribedScene(kinds, probabilities).caption() == caption


def test_a_caption_is_silent_on_what_is_usual():
    kinds = {"object": "animal", "number": "one", "light": "middle"}
    assert DescribedScene(kinds, dict.fromkeys(kinds, 0.9)).caption() == "an animal"


def test_images_are_described_by_their_decoded_tokens_and_by_the_shares_without():
    scenes, mean = _scenes(), torch.ones(3, 4)
    own = scenes.kinds["object"].means[[0, 2, 7]] @ scenes.token_components
    tokens = torch.cat([20 * own, torch.zeros(1, 12)]).view(4, 3, 4)
    evidence = scenes.weigh(
        tokens + mean, mean=mean, forward_model=lambda t: t, whiten=lambda t: t
    )
    found = scenes.describe(evidence)
    assert [scene.kinds["object"] for scene in found] == ["animal", "food", "tool", "animal"]
    probabilities = [scene.probabilities["object"] for scene in found]
    assert probabilities[0] > probabilities[3] > 1 / 3
    assert found[0].columns()["object"] == "animal"
    assert found[0].columns()["object_probability"] == probabilities[0]


def test_scenes_are_stored_to_a_hundredth(tmp_path):
    scenes = _scenes()
    scenes.save(tmp_path / "scenes.safetensors")
    stored = load_reference_scenes(tmp_path / "scenes.safetensors")
    for name in ("token_components", "features", "covariance"):
        torch.testing.assert_close(
            getattr(stored, name), getattr(scenes, name), atol=0.02, rtol=0.01
        )
    assert list(stored.kinds) == list(PARTS)
    for part in PARTS:
        found, kinds = stored.kinds[part], scenes.kinds[part]
        assert (found.names, found.weight) == (kinds.names, kinds.weight)
        assert torch.equal(found.means, kinds.means)
        assert torch.equal(found.shares, kinds.shares)


@pytest.mark.slow
def test_the_shipped_features_are_those_of_the_scenes(shipped):
    # Decoded without noise, a scene's own tokens find it or one that looks like it.
    numbers = list(range(0, 8000, 500))
    tokens = Lite0Tokens()(to_float(render_references(numbers, size=224)))
    mean = shipped.token_mean.view(49, 128)
    evidence = shipped.weigh(tokens, mean=mean, forward_model=lambda t: t, whiten=lambda t: t)
    ranked = shipped.rank(evidence, k=80)
    own = (ranked == torch.tensor(numbers)[:, None]).any(dim=1)
    assert own.float().mean() > 0.8


def test_detail_is_of_one_image_and_colour_of_both():
    rng = torch.Generator().manual_seed(2)
    coarse = torch.full((1, 3, 28, 28), 0.8)
    detailed = 0.4 + 0.1 * torch.rand(1, 3, 56, 56, generator=rng)
    out = add_detail(coarse, detailed)
    assert out.mean().item() == pytest.approx((0.8 + detailed.mean().item()) / 2, abs=0.01)
    sharp = detailed - F.avg_pool2d(detailed, 4).repeat_interleave(4, 2).repeat_interleave(4, 3)
    kept = out - F.avg_pool2d(out, 4).repeat_interleave(4, 2).repeat_interleave(4, 3)
    assert torch.corrcoef(torch.stack([sharp.flatten(), kept.flatten()]))[0, 1] > 0.95
    torch.testing.assert_close(add_detail(coarse, detailed, weight=0.0), detailed)


def test_images_do_not_depend_on_their_batch(shipped):
    scenes = replace(shipped)
    both = scenes.render(torch.tensor([5, 9]), size=32)
    assert torch.equal(both[1:], scenes.render(torch.tensor([9]), size=32))
