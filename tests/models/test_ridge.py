"""One linear layer per subject, and messages about betas that do not fit."""

import pytest
import torch

from mindeye2.models.ridge import SubjectRidge, check_betas


@pytest.fixture
def ridge():
    return SubjectRidge({"subj01": 7, "subj02": 5}, n_latent=4)


def test_each_subject_has_its_own_affine_map(ridge, rng):
    betas = torch.randn(3, 5, generator=rng)
    layer = ridge.maps["subj02"]
    torch.testing.assert_close(ridge(betas, subject="subj02"), betas @ layer.weight.T + layer.bias)


def test_only_the_subject_of_the_batch_is_trained(ridge, rng):
    ridge(torch.randn(3, 7, generator=rng), subject="subj01").sum().backward()
    assert ridge.maps["subj01"].weight.grad.abs().sum() > 0
    assert ridge.maps["subj02"].weight.grad is None


def test_a_subject_can_be_added_and_leaves_the_others_unchanged(ridge, rng):
    betas = torch.randn(3, 7, generator=rng)
    before = ridge(betas, subject="subj01")
    ridge.add_subject("subj08", n_voxels=9)
    assert ridge.n_voxels == {"subj01": 7, "subj02": 5, "subj08": 9}
    assert ridge(torch.randn(2, 9, generator=rng), subject="subj08").shape == (2, 4)
    assert torch.equal(ridge(betas, subject="subj01"), before)


def test_another_voxel_count_names_both(ridge, rng):
    message = r"'subj01' was trained on 7 voxels, got betas of shape \(3, 6\).*voxels of the mask"
    with pytest.raises(ValueError, match=message):
        ridge(torch.randn(3, 6, generator=rng), subject="subj01")


def test_an_unknown_subject_lists_the_known_ones(ridge, rng):
    message = r"'subj03' is not in this model, which has \['subj01', 'subj02'\]"
    with pytest.raises(ValueError, match=message):
        ridge(torch.randn(3, 7, generator=rng), subject="subj03")


@pytest.mark.parametrize("name", ["", "sub.01", "keys"])
def test_names_that_modules_cannot_have_are_refused(ridge, name):
    with pytest.raises(ValueError, match="cannot be the name of a subject"):
        ridge.add_subject(name, n_voxels=3)


def test_a_subject_needs_voxels_and_a_free_name(ridge):
    with pytest.raises(ValueError, match=r"'subj01' is in this model already"):
        ridge.add_subject("subj01", n_voxels=3)
    with pytest.raises(ValueError, match=r"at least 1 voxel, got 0"):
        ridge.add_subject("subj03", n_voxels=0)


def test_betas_that_are_not_finite_are_counted_and_located():
    betas = torch.zeros(4, 6)
    check_betas(betas, subject="subj01")
    betas[2, 3], betas[2, 5], betas[3, 0] = torch.nan, torch.inf, -torch.inf
    message = r"'subj01' hold 3 NaN or infinite values in 2 of 4 trials and 3 of 6 voxels, "
    message += r"the first in trial row 2, voxel 3"
    with pytest.raises(ValueError, match=message):
        check_betas(betas, subject="subj01")
