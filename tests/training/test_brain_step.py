"""The training step of the brain decoder, and its batches."""

import pytest
import torch

from mindeye2.core.runtime import process_rng
from mindeye2.models.decoder import build_mindeye
from mindeye2.models.model_settings import LowLevelSettings, ModelSettings, PriorSettings
from mindeye2.training.brain_step import (
    BatchSampler,
    BrainStep,
    LossSettings,
    PriorStep,
    TrainingTargets,
    contrastive_phase,
)
from mindeye2.training.distributed import Shard
from mindeye2.training.trials import SubjectTrials, TargetBank

SIZES = ModelSettings(
    n_tokens=4,
    n_features=6,
    n_latent=10,
    dropout=0.0,
    lowlevel=None,
    prior=PriorSettings(n_heads=2, head_width=4),
)


def test_negative_noise_is_refused():
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        LossSettings(beta_noise=-0.1)


@pytest.fixture
def data(rng):
    """Return trials of two subjects, of 7 and 5 voxels, and the targets of 12 images."""
    trials = {
        subject: SubjectTrials(
            betas=torch.randn(20, n_voxels, generator=rng),
            images=torch.randint(12, (20,), generator=rng),
            sessions=torch.ones(20, dtype=torch.long),
        )
        for subject, n_voxels in (("subj01", 7), ("subj02", 5))
    }
    tokens = TargetBank(torch.randn(12, 4, 6, generator=rng).numpy())
    latents = TargetBank(torch.randn(12, 2, 3, 3, generator=rng).numpy())
    return trials, TrainingTargets(tokens=tokens, latents=latents)


@pytest.fixture
def full():
    """Return a model with a low-level head."""
    sizes = SIZES.model_copy(update={"lowlevel": LowLevelSettings(channels=2, size=3)})
    with process_rng(0, "model"):
        return build_mindeye(sizes, {"subj01": 7, "subj02": 5})


@pytest.fixture
def sample(data, full):
    """Sample a batch of the two subjects."""

    def _sample(step=0, *, mixing=False, seed=0, shard=Shard(), **losses):  # noqa: B008
        sampler = BatchSampler(
            trials=data[0],
            targets=data[1],
            losses=LossSettings(**losses),
            prior=full.prior,
            per_subject=8,
            seed=seed,
            device=torch.device("cpu"),
            shard=shard,
        )
        return sampler(step, mixing=mixing, temperature=0.1)

    return _sample


def row_of(table, row):
    """Return the index of a row in a table."""
    return (table == row).flatten(1).all(dim=1).nonzero().item()


def test_a_batch_holds_equally_many_trials_of_each_subject_with_their_targets(sample, data):
    batch = sample()
    assert {s: len(b) for s, b in batch["betas"].items()} == {"subj01": 8, "subj02": 8}
    for i, (subject, row) in enumerate((("subj01", 3), ("subj02", 5))):
        own = data[0][subject]
        image = own.images[row_of(own.betas, batch["betas"][subject][row])]
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


def test_the_loss_is_the_weighted_sum_of_its_terms(full, sample):
    weights = {"tokens": 2.0, "contrastive": 0.5, "lowlevel": 0.1, "prior": 3.0}
    terms = BrainStep(full, LossSettings(**weights)).eval()(**sample(**weights))
    expected = sum(weight * terms[name] for name, weight in weights.items())
    torch.testing.assert_close(terms["loss"].detach(), expected)


@pytest.mark.parametrize("name", ["tokens", "contrastive", "lowlevel", "prior"])
def test_each_term_alone_reaches_the_ridges(full, sample, name):
    """The prior too: its gradient goes through the backbone into the ridges."""
    weights = dict.fromkeys(("tokens", "contrastive", "lowlevel", "prior"), 0.0) | {name: 1.0}
    torch.nn.init.normal_(full.prior.network.output.weight)
    BrainStep(full, LossSettings(**weights)).eval()(**sample(**weights))["loss"].backward()
    assert all(r.weight.grad.abs().sum() > 0 for r in full.ridge.maps.values())


def test_without_its_loss_the_prior_gets_no_gradient(full, sample):
    BrainStep(full, LossSettings()).eval()(**sample())["loss"].backward()
    assert all(p.grad is None for p in full.prior.parameters())


def test_the_prior_s_step_is_its_loss(full, rng):
    tokens, condition = torch.randn(2, 5, 4, 6, generator=rng)
    noise = full.prior.sample_noise(5, generator=torch.Generator().manual_seed(3))
    expected = full.prior.loss(tokens, condition, **noise)
    torch.testing.assert_close(PriorStep(full.prior)(tokens, condition, **noise)["loss"], expected)


def test_mixing_and_temperature_change_by_epoch_as_released():
    """150 epochs: 49 of BiMixCo, then a cosine from .004 to .0075."""
    losses = LossSettings(temperature=0.006, soft_temperatures=(0.004, 0.0075))
    at = lambda epoch: contrastive_phase(losses, 714 * epoch + 5, **given)  # noqa: E731
    given = {"n_steps": 150 * 714, "steps_per_epoch": 714}
    assert [at(0), at(48)] == [(True, 0.006)] * 2
    assert at(49) == (False, 0.004)
    assert at(99) == (False, pytest.approx(0.00575))
    assert at(149) == (False, pytest.approx(0.0075))


def test_without_epochs_mixing_ends_after_its_fraction_of_the_steps():
    losses = LossSettings(mixing_fraction=0.33)
    mixed = [contrastive_phase(losses, step, n_steps=30)[0] for step in range(30)]
    assert sum(mixed) == 10
    assert mixed[:10] == [True] * 10
