from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import Ridge

from mindeye2.data.scenes import describe_reference, render_references
from mindeye2.encoders.bank import to_float
from mindeye2.encoders.tokens import Lite0Tokens
from mindeye2.generation.reference_scenes import (
    NOISE,
    ReferenceScenes,
    add_detail,
    load_reference_scenes,
)


def _scenes(n=40, components=6, features=5):
    rng = torch.Generator().manual_seed(0)
    return ReferenceScenes(
        token_mean=torch.randn(12, generator=rng),
        token_components=torch.randn(components, 12, generator=rng),
        features=torch.randn(n, features, generator=rng),
        covariance=torch.randn(components, features, generator=rng),
        objects=np.array(["animal", "animal", "tool", "food"] * (n // 4)),
        settings=np.array(["coast", "city"] * (n // 2)),
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
    alpha = NOISE * float(decoded.square().sum()) / 6
    ridge = Ridge(alpha=alpha, fit_intercept=False).fit(decoded, scores @ scenes.covariance)
    preds = torch.randn(30, 12, generator=rng)
    expected = F.normalize(torch.from_numpy(ridge.predict(preds)).float(), dim=1)
    best = (expected @ F.normalize(scenes.features, dim=1).T).topk(3, dim=1).indices
    found = scenes.rank(
        preds.view(30, 3, 4) + 2.0,
        mean=torch.full((3, 4), 2.0),
        forward_model=lambda t: (t.flatten(1) @ shrink + 1.0).view(t.shape),
        k=3,
    )
    assert torch.equal(found, best)


def test_a_caption_names_the_kinds_that_are_frequent_for_their_number():
    # Of 40 objects 20 are animals: six votes of ten weigh less than four for one of 10 tools.
    ranked = torch.tensor([[0, 4, 8, 12, 16, 20, 2, 6, 10, 14]])
    assert _scenes().describe(ranked) == ["an animal at a coast"]
    assert _scenes().describe(ranked[:, 1:]) == ["a tool at a coast"]


def test_scenes_are_stored_to_a_hundredth(tmp_path):
    scenes = _scenes()
    scenes.save(tmp_path / "scenes.safetensors")
    stored = load_reference_scenes(tmp_path / "scenes.safetensors")
    for name in ("token_components", "features", "covariance"):
        torch.testing.assert_close(
            getattr(stored, name), getattr(scenes, name), atol=0.02, rtol=0.01
        )
    assert stored.objects.tolist() == scenes.objects.tolist()
    assert stored.settings.tolist() == scenes.settings.tolist()


@pytest.mark.slow
def test_the_shipped_features_are_those_of_the_scenes(shipped):
    # Decoded without noise, a scene's own tokens find it or one that looks like it.
    numbers = list(range(0, 8000, 500))
    assert [describe_reference(i) for i in numbers] == [
        (str(shipped.objects[i]), str(shipped.settings[i])) for i in numbers
    ]
    tokens = Lite0Tokens()(to_float(render_references(numbers, size=224)))
    mean = shipped.token_mean.view(49, 128)
    ranked = shipped.rank(tokens, mean=mean, forward_model=lambda t: t, k=80)
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
