import json
from dataclasses import replace

import pytest

from mindeye2 import recipes
from mindeye2.planning import plan as module
from mindeye2.planning.data_size import nsd_size
from mindeye2.planning.footprint import Footprint
from mindeye2.planning.plan import Layout, plan_training, step_settings

GIB = 2**30

FOUND = Footprint(
    parameters={"ridge": GIB // 4, "backbone": GIB},
    trainable=5 * GIB // 4,
    weights=5 * GIB,
    gradients=5 * GIB,
    moments=10 * GIB,
    activations=8 * GIB,
    peak=24 * GIB,
    held=9 * GIB,
    largest_layer=GIB // 4,
    flops=1e12,
)


@pytest.fixture
def planned(monkeypatch):
    """Return a planner whose steps need 24 GiB, 22 with micro-batches, 20 with both."""
    measured = []

    def footprint(step, *, n_ranks, sharded):
        optimizer = step.optimizer
        measured.append((optimizer.accumulate, optimizer.checkpointing, sharded))
        saved = 2 * (optimizer.accumulate > 1) + 2 * optimizer.checkpointing
        sizes = {"peak": (24 - saved) * GIB, "held": (9 - saved) * GIB}
        return replace(FOUND, **sizes, flops=FOUND.flops / n_ranks)

    monkeypatch.setattr(module, "footprint", footprint)

    def plan(recipe="released_training", voxels=(100, 100), **options):
        settings = getattr(recipes, recipe)()
        changes = options.pop("changes", {})
        settings = settings.model_copy(update=changes)
        return plan_training(settings, data=nsd_size(voxels), **options), measured

    return plan


def test_the_fastest_layout_that_fits_is_taken(planned):
    plan, measured = planned(gpu="h100")
    assert (plan.layout, plan.fits, measured) == (Layout(), True, [(1, False, False)])
    assert plan.micro_batch == plan.batch_size == 12


def test_memory_is_saved_where_it_is_short(planned):
    plan, measured = planned(gpu="4090")  # 21.6 GiB of it can be used
    assert not plan.fits or plan.memory.peak <= plan.budget
    assert (plan.layout, plan.fits) == (Layout(accumulate=2, checkpointing=True), True)
    assert len(measured) == len(set(measured))
    assert plan.micro_batch == 6


def test_what_does_not_fit_is_said_after_two_measurements(planned, monkeypatch):
    monkeypatch.setattr(module, "RESERVE", 0.5)
    plan, measured = planned(gpu="4090")
    assert not plan.fits
    assert plan.memory.peak == 20 * GIB
    assert len(measured) == 2


def test_time_is_arithmetic_by_rate_and_the_traffic_of_the_optimiser(planned):
    plan, _ = planned(gpu="h100", utilisation=0.5)
    assert plan.utilisation_from == "measured"
    arithmetic = 1e12 / (0.5 * 495e12)  # float32 is computed as TF32
    assert plan.seconds_per_step == pytest.approx(arithmetic + (28 + 12) * 1.25 * GIB / 3.35e12)
    # Epochs of several subjects have 30,000 trials.
    assert (plan.steps_per_epoch, plan.n_steps) == (30_000 // 12, 150 * (30_000 // 12))
    assert planned(gpu="h100")[0].utilisation_from == "assumed"


def test_without_epochs_an_epoch_is_a_pass_through_the_trials(planned):
    plan, _ = planned("laptop")
    assert plan.n_steps == recipes.laptop().optimizer.steps
    assert plan.steps_per_epoch == 60_000 // 32


def test_several_gpus_divide_the_batch_and_hold_a_copy_each(planned):
    one, _ = planned(gpu="h100")
    two, _ = planned(gpu="h100", n_gpus=2)
    assert (two.batch_size, two.micro_batch) == (12, 6)
    assert two.flops == one.flops
    assert two.seconds_per_step < one.seconds_per_step
    assert two.memory.peak > one.memory.peak  # buckets of gradients, rows of the other GPU


def test_a_model_is_sharded_where_a_copy_on_each_gpu_does_not_fit(planned):
    plan, _ = planned(gpu="4090", n_gpus=2)
    assert (plan.layout, plan.fits) == (Layout(sharding="fsdp"), True)
    # Half of weights, gradients and moments, 9 GiB of the peak that are not these, and the largest
    # layer twice.
    tokens = 5 * 4 * 6 * 256 * 1664
    assert plan.memory.peak == pytest.approx((7.5 + 2.5 + 9 + 2) * GIB + tokens)
    assert plan.memory.weights == 2.5 * GIB


def test_a_layer_is_gathered_in_the_precision_in_which_it_is_computed(planned):
    base = recipes.released_training().optimizer
    single, half = (
        planned(gpu="4090", n_gpus=2, changes={"optimizer": base.model_copy(update=changes)})[0]
        for changes in ({}, {"precision": "bfloat16"})
    )
    assert single.layout.sharding == half.layout.sharding == "fsdp"
    assert single.memory.peak - half.memory.peak == 2 * 2 * GIB // 4


def test_a_closed_form_start_that_does_not_fit_is_said(planned):
    plan, _ = planned("standard", voxels=(40_000,), gpu="4090", changes={"per_subject": 1})
    assert plan.start == 5 * GIB + 28 * 40_000**2
    assert not plan.fits


def test_a_batch_that_cannot_be_divided_is_refused(planned):
    with pytest.raises(ValueError, match=r"6 trials of each subject.*8 processes"):
        planned(n_gpus=8)


@pytest.mark.parametrize("utilisation", [0.0, 1.5])
def test_an_impossible_utilisation_is_refused(planned, utilisation):
    with pytest.raises(ValueError, match="utilisation"):
        planned(utilisation=utilisation)


def test_an_adaptation_is_planned_by_its_last_level():
    data, sizes = nsd_size([50]), recipes.standard().model
    full = step_settings(recipes.adapt(), data, sizes)
    assert (full.model, full.per_subject, full.frozen) == (sizes, 48, ())
    ridge = recipes.adapt().model_copy(update={"levels": ("closed_form", "ridge")})
    step = step_settings(ridge, data, sizes)
    assert step.optimizer == ridge.ridge
    assert not any("ridge".startswith(prefix) for prefix in step.frozen)
    lora = recipes.adapt().model_copy(update={"levels": ("ridge", "lora")})
    step = step_settings(lora, data, sizes)
    assert (step.optimizer, step.lora, step.frozen) == (lora.lora, lora.lora, ())


def test_an_adaptation_is_not_advised_to_change_the_size_of_the_pretrained_model():
    data, small = nsd_size([50]), recipes.laptop().model
    whole = plan_training(recipes.adapt(), data=data, sizes=small)
    assert whole.remedies == (
        "full.precision=bfloat16",
        "levels=[closed_form,ridge], which trains the subject's ridge alone",
    )
    ridge = recipes.adapt().model_copy(update={"levels": ("closed_form", "ridge")})
    assert plan_training(ridge, data=data, sizes=small).remedies == ("ridge.precision=bfloat16",)


def test_a_plan_is_json(planned):
    plan, _ = planned()
    again = json.loads(json.dumps(plan.as_dict()))
    assert again["n_parameters"] == 5 * GIB // 4
    assert again["layout"] == {"accumulate": 1, "checkpointing": False, "sharding": "none"}
