"""Mixing trials, and the mix of a batch of several subjects."""

import pytest
import torch

from mindeye2.training.mixing import Mix, concatenate_mixes, sample_mix


@pytest.fixture
def mix():
    return Mix(
        permutation=torch.tensor([1, 0, 2]),
        weights=torch.tensor([0.25, 0.4, 0.9]),
        selected=torch.tensor([True, False, True]),
    )


def test_a_selected_row_becomes_a_weighted_sum_with_its_partner(mix):
    x = torch.tensor([[1.0, 2.0], [5.0, 6.0], [7.0, 8.0]])
    expected = torch.tensor([[4.0, 5.0], [5.0, 6.0], [7.0, 8.0]])
    torch.testing.assert_close(mix.apply(x), expected)


def test_mixing_leaves_its_input_alone_and_keeps_shape_and_dtype(mix, rng):
    x = torch.randn(3, 4, 2, generator=rng).half()
    before = x.clone()
    mixed = mix.apply(x)
    assert torch.equal(x, before)
    assert mixed.shape == x.shape
    assert mixed.dtype == torch.float16


def test_mixing_commutes_with_a_linear_map(rng):
    """So that targets may be mixed as their betas are."""
    mix = sample_mix(20, generator=rng)
    x, weights = torch.randn(20, 7, generator=rng), torch.randn(7, 5, generator=rng)
    torch.testing.assert_close(mix.apply(x) @ weights, mix.apply(x @ weights))


def test_another_number_of_rows_is_refused(mix):
    with pytest.raises(ValueError, match=r"for 3 trials, got 4 rows"):
        mix.apply(torch.zeros(4, 2))


def test_sampled_weights_follow_the_beta_distribution(rng):
    """Beta(a, a) has mean 1/2 and variance 1 / (8 a + 4)."""
    mix = sample_mix(20_000, beta=0.15, probability=0.3, generator=rng)
    assert sorted(mix.permutation.tolist()) == list(range(20_000))
    assert mix.selected.float().mean() == pytest.approx(0.3, abs=0.02)
    assert mix.weights.mean() == pytest.approx(0.5, abs=0.02)
    assert mix.weights.var() == pytest.approx(1 / 5.2, abs=0.01)


def test_the_generator_decides_the_mix():
    first, again, other = (
        sample_mix(30, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    for name in ("permutation", "weights", "selected"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    assert not torch.equal(first.permutation, other.permutation)


def test_the_mix_of_a_batch_mixes_each_subject_with_itself(rng):
    parts = [torch.randn(n, 3, generator=rng) for n in (4, 6, 5)]
    mixes = [sample_mix(len(part), probability=1.0, generator=rng) for part in parts]
    apart = torch.cat([mix.apply(part) for mix, part in zip(mixes, parts, strict=True)])
    torch.testing.assert_close(concatenate_mixes(mixes).apply(torch.cat(parts)), apart)


def test_the_released_mix_of_a_batch_names_partners_in_the_first_subject(rng):
    mixes = [sample_mix(9, generator=rng) for _ in range(7)]
    assert concatenate_mixes(mixes, released=True).permutation.max() == 8
    assert sorted(concatenate_mixes(mixes).permutation.tolist()) == list(range(63))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": 0.0}, "beta must be greater than 0, got 0"),
        ({"probability": 2.0}, r"probability .* got 2"),
    ],
)
def test_impossible_draws_are_refused(rng, options, message):
    with pytest.raises(ValueError, match=message):
        sample_mix(4, generator=rng, **options)


def test_nothing_to_concatenate_is_refused():
    with pytest.raises(ValueError, match="no mix to concatenate"):
        concatenate_mixes([])
