"""The step of shared-subject training, its batches, and noise on the betas."""

import pytest
import torch

from mindeye2.core.runtime import process_rng
from mindeye2.models.decoder import build_mindeye
from mindeye2.models.settings import LowLevelSettings, ModelSettings, PriorSettings
from mindeye2.training.shared import BrainStep, LossSettings, PriorStep, draw_batch
from mindeye2.training.trials import SubjectTrials, TargetBank

SIZES = ModelSettings(
    n_tokens=4,
    n_features=6,
    n_latent=10,
    dropout=0.0,
    lowlevel=None,
    prior=PriorSettings(n_heads=2, head_width=4),
)


@pytest.fixture
def batch(rng):
    return {
        "betas": {"subj01": torch.randn(5, 7, generator=rng)},
        "tokens": torch.randn(5, 4, 6, generator=rng),
        "latents": torch.zeros(5, 1, 1, 1),
        "mix": None,
    }


def step_with(noise):
    with process_rng(0, "model"):
        model = build_mindeye(SIZES, {"subj01": 7})
    return BrainStep(model, LossSettings(beta_noise=noise, contrastive=0, lowlevel=0))


def loss_of(step, batch, seed=0):
    with process_rng(seed, "step"), torch.no_grad():
        return float(step(**batch)["loss"])


def test_noise_changes_the_loss_from_step_to_step(batch):
    step = step_with(0.5)
    assert loss_of(step, batch, seed=0) == loss_of(step, batch, seed=0)
    assert loss_of(step, batch, seed=0) != loss_of(step, batch, seed=1)


def test_no_noise_is_exact(batch):
    step = step_with(0.0)
    assert loss_of(step, batch, seed=0) == loss_of(step, batch, seed=1)


def test_noise_is_for_training_only(batch):
    assert loss_of(step_with(0.5).eval(), batch) == loss_of(step_with(0.0).eval(), batch)


def test_noise_has_the_standard_deviation_asked_for(batch):
    """Behind a ridge of known weights: Var(Wx) = noise**2 * sum(W**2)."""
    step = step_with(0.7)
    seen = []
    step.model.backbone.trunk.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    for seed in range(150):
        loss_of(step, batch, seed=seed)
    spread = torch.stack(seen).std(dim=0).mean(dim=0)
    weight = step.model.ridge.maps["subj01"].weight.detach()
    torch.testing.assert_close(spread, 0.7 * weight.norm(dim=1), rtol=0.15, atol=0)


def test_the_caller_keeps_its_betas(batch):
    before = batch["betas"]["subj01"].clone()
    loss_of(step_with(0.5), batch)
    assert torch.equal(batch["betas"]["subj01"], before)


def test_negative_noise_is_refused():
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        LossSettings(beta_noise=-0.1)


@pytest.fixture
def people(rng):
    """Return two people's trials, of 7 and 5 voxels, and what 12 images are."""
    trials = {
        subject: SubjectTrials(
            betas=torch.randn(20, n_voxels, generator=rng),
            images=torch.randint(12, (20,), generator=rng),
            sessions=torch.ones(20, dtype=torch.long),
        )
        for subject, n_voxels in (("subj01", 7), ("subj02", 5))
    }
    tokens = torch.randn(12, 4, 6, generator=rng)
    latents = torch.randn(12, 2, 3, 3, generator=rng)
    banks = {"tokens": TargetBank(tokens.numpy()), "latents": TargetBank(latents.numpy())}
    return {"trials": trials, **banks}


def draw(people, step=0, *, mixing=False, seed=0):
    given = {"per_subject": 8, "seed": seed, "device": torch.device("cpu")}
    trials = people["trials"]
    rest = {k: people[k] for k in ("tokens", "latents")}
    return draw_batch(trials, step=step, mixing=mixing, **rest, **given)


def row_of(table, row):
    """Return the place of a row in a table."""
    return (table == row).flatten(1).all(dim=1).nonzero().item()


def test_a_batch_holds_equally_many_trials_of_each_person_with_their_targets(people):
    batch = draw(people)
    assert {s: len(b) for s, b in batch["betas"].items()} == {"subj01": 8, "subj02": 8}
    for i, (subject, place) in enumerate((("subj01", 3), ("subj02", 5))):
        own = people["trials"][subject]
        image = own.images[row_of(own.betas, batch["betas"][subject][place])]
        for name in ("tokens", "latents"):
            assert batch[name][8 * i + place].tolist() == people[name].values[image].tolist()
    assert batch["mix"] is None


def test_a_batch_is_a_function_of_step_and_seed(people):
    first, again, later, other = (
        draw(people, step, mixing=True, seed=seed)["betas"]["subj02"]
        for step, seed in ((3, 0), (3, 0), (4, 0), (3, 1))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, later)
    assert not torch.equal(first, other)


def test_mixed_betas_are_mixed_with_partners_of_the_same_person(people):
    plain, mixed = draw(people), draw(people, mixing=True)
    mix = mixed["mix"]
    kept = torch.where(mix.selected, mix.weights, 1.0)[:, None]
    for i, subject in enumerate(("subj01", "subj02")):
        rows = slice(8 * i, 8 * i + 8)
        x, partner = plain["betas"][subject], mix.permutation[rows] - 8 * i
        expected = kept[rows] * x + (1 - kept[rows]) * x[partner]
        torch.testing.assert_close(mixed["betas"][subject], expected)
    assert torch.equal(mixed["tokens"], plain["tokens"])


@pytest.fixture
def full():
    """Return a model with a low-level head."""
    sizes = SIZES.model_copy(update={"lowlevel": LowLevelSettings(channels=2, size=3)})
    with process_rng(0, "model"):
        return build_mindeye(sizes, {"subj01": 7, "subj02": 5})


def test_the_loss_is_the_weighted_sum_of_its_terms(full, people):
    settings = LossSettings(tokens=2.0, contrastive=0.5, lowlevel=0.1)
    terms = BrainStep(full, settings).eval()(**draw(people))
    expected = 2 * terms["tokens"] + 0.5 * terms["contrastive"] + 0.1 * terms["lowlevel"]
    torch.testing.assert_close(terms["loss"].detach(), expected)


def test_mixed_betas_are_regressed_onto_equally_mixed_targets(full, people):
    batch = draw(people, mixing=True)
    step = BrainStep(full, LossSettings(contrastive=0, lowlevel=0)).eval()
    with torch.no_grad():
        shared = [full.ridge(b, subject=s) for s, b in batch["betas"].items()]
        predicted = full.heads(torch.cat(shared)).backbone_tokens
    target = batch["mix"].apply(batch["tokens"])
    expected = torch.nn.functional.mse_loss(predicted, target)
    torch.testing.assert_close(step(**batch)["tokens"], expected)


@pytest.mark.parametrize("name", ["tokens", "contrastive", "lowlevel"])
def test_each_term_alone_reaches_the_ridges(full, people, name):
    weights = dict.fromkeys(("tokens", "contrastive", "lowlevel"), 0.0) | {name: 1.0}
    BrainStep(full, LossSettings(**weights)).eval()(**draw(people))["loss"].backward()
    assert all(r.weight.grad.abs().sum() > 0 for r in full.ridge.maps.values())


def test_the_prior_s_step_is_its_loss(full, rng):
    tokens, condition = torch.randn(2, 5, 4, 6, generator=rng)
    seeded = lambda: torch.Generator().manual_seed(3)  # noqa: E731
    expected = full.prior.loss(tokens, condition, generator=seeded())
    step = PriorStep(full.prior)
    torch.testing.assert_close(step(tokens, condition, generator=seeded())["loss"], expected)


def test_heads_that_no_loss_reaches_are_frozen(full):
    """Or processes would wait for their gradients, and their moments could not be saved."""
    step = BrainStep(full, LossSettings(contrastive=0, lowlevel=0))
    assert not any(p.requires_grad for p in full.projector.parameters())
    assert not any(p.requires_grad for p in full.lowlevel.parameters())
    assert all(p.requires_grad for p in step.model.backbone.parameters())
