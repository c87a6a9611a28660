import pytest
import torch
from sklearn.linear_model import Ridge

from mindeye2.models.expectation import choose_expectation, fit_expectation, load_expectation


@pytest.fixture
def space(rng):
    """Return 40 true rows of 12 numbers, a mean and 5 orthonormal axes."""
    true = torch.randn(40, 12, generator=rng)
    axes = torch.linalg.qr(torch.randn(12, 5, generator=rng)).Q
    return true, true.mean(dim=0), axes


def test_the_map_is_sklearn_s_ridge_between_codes(space, rng):
    true, mean, axes = space
    predicted = torch.randn(40, 12, generator=rng)
    fitted = fit_expectation(predicted, true, mean=mean, axes=axes, penalty=3.0)
    X, Y = (true - mean) @ axes, (predicted - mean) @ axes
    reference = Ridge(alpha=3.0).fit(X.numpy(), Y.numpy())
    torch.testing.assert_close(
        fitted.weights, torch.from_numpy(reference.coef_.T), rtol=1e-3, atol=1e-5
    )
    torch.testing.assert_close(
        fitted.bias, torch.from_numpy(reference.intercept_), rtol=1e-3, atol=1e-5
    )


def test_decoding_that_shrinks_is_learned(space):
    true, mean, axes = space
    inside = (true - mean) @ axes @ axes.T + mean
    shrunk = 0.3 * (inside - mean) + mean
    fitted = fit_expectation(shrunk, inside, mean=mean, axes=axes, penalty=1e-4)
    expected = fitted(inside.view(40, 3, 4))
    torch.testing.assert_close(expected.flatten(1), shrunk, rtol=1e-3, atol=1e-3)


def test_a_stored_map_gives_the_same_tokens(space, tmp_path):
    true, mean, axes = space
    fitted = fit_expectation(0.5 * true, true, mean=mean, axes=axes, penalty=1.0)
    fitted.save(tmp_path)
    tokens = true.view(40, 3, 4)
    torch.testing.assert_close(
        load_expectation(tmp_path)(tokens), fitted(tokens), rtol=1e-2, atol=1e-2
    )


def test_a_run_without_a_map_has_none(tmp_path):
    assert load_expectation(tmp_path) is None


@pytest.mark.parametrize(
    ("scores", "best"),
    [({None: 0.5, 1.0: 0.4, 2.0: 0.5}, None), ({None: 0.5, 1.0: 0.7, 2.0: 0.6}, 1.0)],
    ids=["none is as good", "the first"],
)
def test_a_map_must_beat_none(scores, best, space):
    true, mean, axes = space
    made = {p: fit_expectation(true, true, mean=mean, axes=axes, penalty=p) for p in (1.0, 2.0)}
    penalty_of = {id(m): p for p, m in made.items()}
    chosen, reported = choose_expectation(
        made.__getitem__, lambda m: scores[penalty_of.get(id(m))], penalties=(1.0, 2.0)
    )
    assert penalty_of.get(id(chosen)) == best
    assert reported == {"none": 0.5, "1": scores[1.0], "2": scores[2.0]}
