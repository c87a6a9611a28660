"""The batches of the brain decoder's training."""

import pytest
import torch

from mindeye2.training.batch_sampler import BatchSampler, TrainingTargets
from mindeye2.training.brain_step import LossSettings
from mindeye2.training.distributed import Shard
from mindeye2.training.trials import BetaRows, SubjectTrials, TargetBank


def row_of(table, row):
    """Return the index of a row in a table."""
    return (table == row).flatten(1).all(dim=1).nonzero().item()


def test_a_batch_holds_equally_many_trials_of_each_subject_with_their_targets(sample, data):
    batch = sample()
    assert {s: len(b) for s, b in batch["betas"].items()} == {"subj01": 8, "subj02": 8}
    for i, (subject, row) in enumerate((("subj01", 3), ("subj02", 5))):
        own = data[0][subject]
        image = own.images[row_of(own.betas[:], batch["betas"][subject][row])]
        for name in ("tokens", "latents"):
            expected = getattr(data[1], name).values[image].tolist()
            assert batch[name][8 * i + row].tolist() == expected
    assert batch["mix"] is None


def test_a_batch_is_a_function_of_step_and_seed(sample):
    first, again, later, other = (
        sample(step, mixing=True, seed=seed, beta_noise=0.3, prior=1.0)
        for step, seed in ((3, 0), (3, 0), (4, 0), (3, 1))
    )
    for read in (lambda b: b["betas"]["subj02"], lambda b: b["prior"]["noise"]):
        assert torch.equal(read(first), read(again))
        assert not torch.equal(read(first), read(later))
        assert not torch.equal(read(first), read(other))


def test_mixed_betas_are_mixed_with_partners_of_the_same_subject(sample):
    plain, mixed = sample(), sample(mixing=True)
    mix = mixed["mix"]
    kept = torch.where(mix.selected, mix.weights, 1.0)[:, None]
    for i, subject in enumerate(("subj01", "subj02")):
        rows = slice(8 * i, 8 * i + 8)
        x, partner = plain["betas"][subject], mix.permutation[rows] - 8 * i
        expected = kept[rows] * x + (1 - kept[rows]) * x[partner]
        torch.testing.assert_close(mixed["betas"][subject], expected)
    assert torch.equal(mixed["tokens"], plain["tokens"])


def test_regression_targets_are_mixed_like_the_betas_unless_as_released(sample):
    batch, released = sample(mixing=True), sample(mixing=True, mixed_targets=False)
    plain = sample()
    for name, source in (("token_targets", "tokens"), ("latents", "latents")):
        torch.testing.assert_close(batch[name], batch["mix"].apply(plain[source]))
        assert torch.equal(released[name], plain[source])


def test_noise_has_the_standard_deviation_asked_for(sample):
    noise = sample(beta_noise=0.7)["betas"]["subj01"] - sample()["betas"]["subj01"]
    many = [sample(step, beta_noise=0.7)["betas"]["subj01"] for step in range(40)]
    clean = [sample(step)["betas"]["subj01"] for step in range(40)]
    assert (torch.stack(many) - torch.stack(clean)).std().item() == pytest.approx(0.7, rel=0.05)
    assert noise.abs().max() > 0


@pytest.mark.parametrize("mixing", [False, True])
def test_shards_together_are_the_batch_of_one_process(sample, mixing):
    """Rows in the order of ranks; the mix names the same partners."""
    whole = sample(mixing=mixing, prior=1.0)
    shards = [
        sample(mixing=mixing, prior=1.0, shard=Shard(rank=r, world_size=2)) for r in range(2)
    ]
    order = torch.tensor([0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 12, 13, 14, 15])
    for name in ("tokens", "token_targets", "latents"):
        assert torch.equal(torch.cat([s[name] for s in shards]), whole[name][order])
    for name, values in whole["prior"].items():
        assert torch.equal(torch.cat([s["prior"][name] for s in shards]), values[order])
    if mixing:
        for shard in shards:
            expected = whole["mix"].apply(whole["tokens"])[order]
            torch.testing.assert_close(shard["mix"].apply(whole["tokens"][order]), expected)


def test_a_batch_that_cannot_be_divided_is_refused_before_it_is_sampled(sample):
    message = (
        r"8 trials of subj01 a step cannot be divided .* 3 processes\. Add --set per_subject=6"
    )
    with pytest.raises(ValueError, match=message):
        sample(shard=Shard(rank=0, world_size=3))


def test_a_batch_names_its_trials_for_messages(sample, data):
    batch = sample(3, trials=True)
    for subject, own in data[0].items():
        assert torch.equal(own.betas[batch["trials"][subject]], batch["betas"][subject])


def test_batches_without_repeated_images_go_over_subjects(full, rng):
    """Images of 12 are shown 30 times by two subjects: five of each without a repeat."""
    trials = {
        subject: SubjectTrials(
            betas=BetaRows(torch.randn(30, 3, generator=rng).numpy()),
            images=torch.randint(12, (30,), generator=rng),
            sessions=torch.ones(30, dtype=torch.long),
        )
        for subject in ("subj01", "subj02")
    }
    numbers = torch.arange(12.0)[:, None, None]
    given = {
        "trials": trials,
        "targets": TrainingTargets(tokens=TargetBank(numbers.numpy())),
        "losses": LossSettings(),
        "prior": full.prior,
        "seed": 0,
        "device": torch.device("cpu"),
        "shard": Shard(),
        "distinct_images": True,
    }
    sampler = BatchSampler(per_subject=5, **given)
    batches = [sampler(step, mixing=False, temperature=0.1) for step in range(9)]
    steps = [batch["tokens"].flatten() for batch in batches]
    assert all(len(tokens.unique()) == 10 for tokens in steps)
    assert len({tuple(tokens.tolist()) for tokens in steps}) == 9
    with pytest.raises(ValueError, match=r"7 trials of subj02 without repeated images .* Lower"):
        BatchSampler(per_subject=7, **given)(0, mixing=False, temperature=0.1)
