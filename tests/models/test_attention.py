"""The prior's attention against a loop over heads, positions and keys."""

import math

import pytest
import torch

from mindeye2.models.attention import (
    MultiQueryAttention,
    make_norm,
    relative_buckets,
    rotary_angles,
    rotate,
)


def test_buckets_are_exact_near_and_logarithmic_far():
    buckets = relative_buckets(200, device=torch.device("cpu"))
    assert buckets.shape == (200, 201)
    assert (buckets.triu(1) == 0).all(), "keys ahead share bucket 0"
    assert buckets[150, 150 - 15 : 151].flip(0).tolist() == list(range(16))
    for back in (16, 30, 64, 127, 180):
        expected = min(16 + int(math.log(back / 16) / math.log(128 / 16) * 16), 31)
        assert buckets[190, 190 - back] == expected


def test_rotation_keeps_lengths_and_makes_products_depend_on_relative_position(rng):
    angles = rotary_angles(10, 6, device=torch.device("cpu"))
    q, k = torch.randn(2, 1, 6, generator=rng).expand(2, 10, 6)
    products = rotate(q, angles) @ rotate(k, angles).T
    torch.testing.assert_close(rotate(q, angles).norm(dim=-1), q.norm(dim=-1))
    for distance in (-3, 0, 4):
        diagonal = products.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal))


def test_neighbouring_pairs_are_rotated(rng):
    angles = rotary_angles(3, 4, device=torch.device("cpu"))
    x = torch.randn(3, 4, generator=rng)
    turned = torch.view_as_complex(x.view(3, 2, 2)) * torch.polar(torch.ones(3, 2), angles)
    torch.testing.assert_close(rotate(x, angles), torch.view_as_real(turned).flatten(1))


def test_only_the_first_32_features_of_a_wide_head_are_rotated(rng):
    angles = rotary_angles(5, 52, device=torch.device("cpu"))
    x = torch.randn(5, 52, generator=rng)
    assert angles.shape == (5, 16)
    assert torch.equal(rotate(x, angles)[:, 32:], x[:, 32:])


def attend_slowly(layer, x, *, bias, angles):
    """One head, one position and one key at a time."""
    x = layer.norm(x)
    n = x.shape[1]
    rows = []
    for item in x:
        keys, values = layer.key_value(item).chunk(2, dim=-1)
        keys = torch.cat([layer.null[:1], rotate(keys, angles)])
        values = torch.cat([layer.null[1:], values])
        heads = []
        for head, plain in enumerate(layer.query(item).view(n, -1, layer.head_width).unbind(1)):
            query = rotate(plain, angles)
            for i in range(n):
                logits = [16 * torch.cosine_similarity(query[i], key, dim=0) for key in keys]
                weights = (torch.stack(logits) + bias[head, i]).softmax(0)
                heads.append(weights @ values)
        rows.append(torch.stack(heads).view(-1, n, layer.head_width).movedim(1, 0).flatten(1))
    return layer.output(torch.stack(rows))


@pytest.mark.parametrize("fused_kernels", [True, False])
@torch.no_grad()
def test_attention_equals_a_loop(rng, fused_kernels):
    layer = MultiQueryAttention(8, n_heads=3, head_width=4, fused_kernels=fused_kernels)
    x, bias = torch.randn(2, 5, 8, generator=rng), torch.randn(3, 5, 6, generator=rng)
    angles = rotary_angles(5, 4, device=torch.device("cpu"))
    expected = attend_slowly(layer, x, bias=bias, angles=angles)
    torch.testing.assert_close(layer(x, bias=bias, angles=angles), expected)
    last = layer(x, bias=bias[:, -2:], angles=angles)
    torch.testing.assert_close(last, expected[:, -2:])


def test_both_norms_are_the_same(rng):
    x = torch.randn(2, 3, 8, generator=rng)
    torch.testing.assert_close(
        make_norm(8, fused_kernels=False)(x), make_norm(8, fused_kernels=True)(x)
    )
