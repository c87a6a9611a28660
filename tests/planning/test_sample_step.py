import torch

from mindeye2 import recipes
from mindeye2.planning.sample_step import StepSettings, random_batch
from mindeye2.stages.train.lora import LoraTraining
from mindeye2.training.brain_step import BrainStep


def small(**changes):
    laptop = recipes.laptop()
    model = laptop.model.model_copy(update={"n_tokens": 4, "n_features": 8, "n_latent": 16})
    sizes = {"model": model, "n_voxels": {"a": 10, "b": 12}, "per_subject": 3}
    given = {"losses": laptop.losses, "optimizer": laptop.optimizer} | sizes | changes
    return StepSettings(**given)


def test_a_random_batch_is_one_of_the_step(rng):
    settings = small(losses=recipes.laptop().losses.model_copy(update={"prior": 1.0}))
    batch = random_batch(settings, per_subject=3, device=torch.device("cpu"), generator=rng)
    losses = BrainStep(settings.build(), settings.losses)(**batch)
    assert set(losses) == {"loss", "tokens", "prior", "contrastive", "lowlevel"}
    assert all(torch.isfinite(value) for value in losses.values())


def test_frozen_parts_need_no_gradient():
    model = small(frozen=("prior", "backbone")).build()
    needing = {n.partition(".")[0] for n, p in model.named_parameters() if p.requires_grad}
    assert needing == {"ridge", "projector", "lowlevel"}


def test_beside_adapters_only_ridges_are_trained():
    model = small(lora=LoraTraining(rank=2)).build()
    needing = {n for n, p in model.named_parameters() if p.requires_grad}
    assert {"ridge.maps.a.weight", "backbone.output.lora_A.lora.weight"} < needing
    assert all(n.startswith("ridge.") or ".lora_" in n for n in needing)
