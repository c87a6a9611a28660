"""Losses against loops that follow their definitions, and against the released code's numbers."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from mindeye2.training import losses
from mindeye2.training.mixing import Mix, sample_mix

GOLDEN = Path(__file__).parents[1] / "golden" / "losses.npz"


@pytest.fixture
def golden():
    return {name: torch.from_numpy(np.asarray(x)) for name, x in np.load(GOLDEN).items()}


@pytest.fixture
def pair(rng):
    """Five predictions that resemble their targets, as tokens."""
    targets = torch.randn(5, 3, 4, generator=rng)
    return targets + torch.randn(5, 3, 4, generator=rng), targets


def cosine(a, b):
    a, b = a.flatten().double(), b.flatten().double()
    return float(a @ b / (a.norm() * b.norm()))


def loop(rows, columns, labels, *, temperature=0.2):
    """Cross-entropy of each row's cosines with all columns, one number at a time."""
    total = 0.0
    for i, row in enumerate(rows):
        logits = [cosine(row, column) / temperature for column in columns]
        log_sum = math.log(sum(math.exp(x - max(logits)) for x in logits)) + max(logits)
        total -= sum(labels[i][j] * (x - log_sum) for j, x in enumerate(logits))
    return total / len(rows)


def mixed_labels(mix):
    """Each row's own share on the diagonal, the rest added at its partner."""
    labels = [[0.0] * len(mix) for _ in range(len(mix))]
    for i, (partner, weight, selected) in enumerate(
        zip(mix.permutation.tolist(), mix.weights.tolist(), mix.selected.tolist(), strict=True)
    ):
        kept = weight if selected else 1.0
        labels[i][i] += kept
        labels[i][partner] += 1 - kept
    return labels


def test_info_nce_is_the_cross_entropy_of_the_right_pairs(pair):
    preds, targets = pair
    right = torch.eye(5).tolist()
    expected = (loop(preds, targets, right) + loop(targets, preds, right)) / 2
    assert losses.info_nce_loss(*pair, temperature=0.2).item() == pytest.approx(expected, rel=1e-5)


def test_soft_clip_labels_are_the_targets_own_similarities(pair):
    preds, targets = pair
    labels = []
    for row in targets:
        weights = [math.exp(cosine(row, other) / 0.2) for other in targets]
        labels.append([w / sum(weights) for w in weights])
    expected = (loop(preds, targets, labels) + loop(targets, preds, labels)) / 2
    assert losses.soft_clip_loss(*pair, temperature=0.2).item() == pytest.approx(
        expected, rel=1e-5
    )


@pytest.mark.parametrize("permutation", [[1, 2, 3, 4, 0], [0, 2, 1, 3, 4]])
def test_bimixco_gives_both_images_of_a_mix_their_share(pair, permutation):
    """The second case has rows that are their own partners, selected and not."""
    mix = Mix(
        permutation=torch.tensor(permutation),
        weights=torch.tensor([0.3, 0.8, 0.1, 0.5, 0.6]),
        selected=torch.tensor([True, True, False, False, True]),
    )
    labels = mixed_labels(mix)
    assert [sum(row) for row in labels] == pytest.approx([1] * 5)
    back = [list(column) for column in zip(*labels, strict=True)]
    preds, targets = pair
    expected = (loop(preds, targets, labels) + loop(targets, preds, back)) / 2
    assert losses.bimixco_loss(*pair, mix, temperature=0.2).item() == pytest.approx(
        expected, rel=1e-5
    )


def test_bimixco_without_mixing_is_info_nce(pair, rng):
    """Also where a row is its own partner; the released labels of such a row are empty."""
    mix = sample_mix(5, probability=0.0, generator=rng)
    mix = Mix(permutation=torch.arange(5), weights=mix.weights, selected=mix.selected)
    plain = losses.info_nce_loss(*pair, temperature=0.1)
    torch.testing.assert_close(losses.bimixco_loss(*pair, mix, temperature=0.1), plain)
    assert losses.bimixco_loss(*pair, mix, temperature=0.1, released=True) == 0


def test_soft_clip_tends_to_info_nce_at_low_temperature(pair):
    soft = losses.soft_clip_loss(*pair, temperature=0.005)
    torch.testing.assert_close(soft, losses.info_nce_loss(*pair, temperature=0.005))


def test_soft_contrastive_loss_treats_every_place_as_a_row(rng):
    student, teacher, augmented = torch.randn(3, 2, 3, 4, generator=rng)
    clean, rows, other = (list(x.reshape(6, 4)) for x in (teacher, student, augmented))

    def soft(queries, keys):
        weights = [[math.exp(cosine(q, k) / 0.2) for k in keys] for q in queries]
        return [[w / sum(row) for w in row] for row in weights]

    forward = loop(rows, other, soft(clean, other))
    backward = loop(other, rows, soft(other, clean))
    loss = losses.soft_contrastive_loss(student, teacher, augmented, temperature=0.2)
    assert loss.item() == pytest.approx((forward + backward) / 2, rel=1e-5)


@pytest.mark.parametrize("name", ["info_nce_loss", "soft_clip_loss"])
def test_scale_and_order_do_not_matter(pair, name):
    loss = getattr(losses, name)
    order = [3, 0, 4, 1, 2]
    preds, targets = (x[order] * torch.tensor([1.0, 2, 3, 4, 5])[:, None, None] for x in pair)
    torch.testing.assert_close(loss(preds, targets, temperature=0.1), loss(*pair, temperature=0.1))


def test_rows_of_one_image_are_no_false_negatives():
    """The loss is that of labels which rows with equal targets share, also if they are mixed."""
    rng = torch.Generator().manual_seed(1)
    preds, targets = torch.randn(2, 4, 6, generator=rng)
    targets[1] = targets[0]
    kept = torch.tensor([0.7, 1.0, 0.2, 1.0])
    mix = Mix(permutation=torch.tensor([2, 3, 1, 0]), weights=kept, selected=kept < 1)
    unit = torch.nn.functional.normalize
    logits = unit(preds, dim=1) @ unit(targets, dim=1).T / 0.1
    labels = kept.diag()
    labels[torch.arange(4), mix.permutation] += 1 - kept
    labels[:, :2] = labels[:, :2].mean(dim=1, keepdim=True)
    expected = [
        -(given * x.log_softmax(dim=1)).sum(dim=1).mean()
        for given, x in ((labels, logits), (labels.T, logits.T))
    ]
    loss = losses.bimixco_loss(preds, targets, mix, temperature=0.1)
    torch.testing.assert_close(loss, sum(expected) / 2)


def test_losses_are_computed_in_float32_under_autocast(pair):
    expected = losses.soft_clip_loss(*pair, temperature=0.006)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = losses.soft_clip_loss(*pair, temperature=0.006)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected)


def test_losses_equal_the_released_ones(golden):
    preds, targets = golden["preds"], golden["targs"]
    mix = Mix(
        permutation=golden["mixco_perm"],
        weights=golden["mixco_betas_in"],
        selected=golden["mixco_select"],
    )
    got = {"mixco_voxels": mix.apply(golden["mixco_voxels_in"])}
    for t in (0.004, 0.006, 0.0075, 0.125):
        got[f"soft_clip_{t}"] = losses.soft_clip_loss(preds, targets, temperature=t)
    for t in (0.006, 0.1):
        got[f"bimixco_{t}"] = losses.bimixco_loss(
            preds, targets, mix, temperature=t, released=True
        )
    got["nce_0.006"] = losses.info_nce_loss(preds, targets, temperature=0.006)
    got["soft_cont_0_2"] = losses.soft_contrastive_loss(
        golden["cont_student"], golden["cont_teacher"], golden["cont_teacher_aug"], temperature=0.2
    )
    for name, value in got.items():
        torch.testing.assert_close(value, golden[name], rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("epochs", [10, 150])
def test_temperatures_equal_the_released_ones(golden, epochs):
    expected = golden[f"soft_temps_{epochs}_epochs"]
    got = torch.tensor(losses.soft_clip_temperatures(epochs, mixup_fraction=0.33))
    torch.testing.assert_close(got, expected)


def test_temperatures_of_a_short_training():
    assert losses.soft_clip_temperatures(3, mixup_fraction=1.0) == []
    assert losses.soft_clip_temperatures(1, mixup_fraction=0.0) == [0.004]
    with pytest.raises(ValueError, match=r"mixup_fraction must be in \[0, 1\], got 1.5"):
        losses.soft_clip_temperatures(3, mixup_fraction=1.5)


def test_bad_input_is_named(pair):
    preds, targets = pair
    with pytest.raises(ValueError, match=r"temperature must be greater than 0, got 0"):
        losses.info_nce_loss(preds, targets, temperature=0)
    with pytest.raises(ValueError, match=r"got \(5, 3, 4\) and \(5, 2, 4\)"):
        losses.soft_clip_loss(preds, targets[:, :2], temperature=0.1)
