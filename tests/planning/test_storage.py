from mindeye2 import recipes
from mindeye2.planning.data_size import nsd_size
from mindeye2.planning.footprint import Footprint
from mindeye2.planning.storage import disk_bytes, host_bytes, start_bytes

FOUND = Footprint(
    parameters={"ridge": 100},
    trainable=100,
    weights=400,
    gradients=400,
    moments=800,
    activations=0,
    peak=1600,
    held=400,
    largest_layer=100,
    flops=0.0,
)


def test_disk_counts_banks_betas_weights_and_two_states():
    settings = recipes.released_training()
    needs = disk_bytes(settings, FOUND, data=nsd_size([15_724]), sizes=settings.model)
    assert needs["betas"] == 2 * 30_000 * 15_724
    assert needs["bank of bigg"] == 2 * 73_000 * 256 * 1664
    assert needs["bank of sd-latents"] == 2 * 73_000 * 4 * 28 * 28
    assert needs["banks of convnext and convnext-augmented"] == 2 * 2 * 73_000 * 49 * 512
    assert needs["weights of the run"] == 400
    assert needs["two states of the run"] == 2 * 1200


def test_several_subjects_leave_models_of_how_voxels_respond_and_decoding_errs():
    settings = recipes.standard()
    one, two = (
        disk_bytes(settings, FOUND, data=nsd_size(voxels), sizes=settings.model)
        for voxels in ([1000], [1000, 500])
    )
    assert "encoding models and forward model" not in one
    kept = two["encoding models and forward model"]
    assert kept == 2 * 60 * 1500 + 2 * 4 * settings.model.n_latent**2


def test_an_adaptation_that_chooses_its_level_keeps_a_state_of_the_choice():
    base = recipes.adapt()
    one = base.model_copy(update={"levels": ("full",)})
    sizes, data = recipes.laptop().model, nsd_size([10])
    chosen, given = (disk_bytes(r, FOUND, data=data, sizes=sizes) for r in (base, one))
    assert chosen.pop("a state of the choice of the level") == 1200
    assert chosen == given


def test_a_running_average_is_part_of_the_state():
    base = recipes.released_training()
    optimizer = base.optimizer.model_copy(update={"ema_decay": 0.99})
    averaged = base.model_copy(update={"optimizer": optimizer})
    needs = disk_bytes(averaged, FOUND, data=nsd_size([10]), sizes=base.model)
    assert needs["two states of the run"] == 2 * 1600


def test_processes_copy_a_state_once_between_them_but_each_builds_the_model():
    needs = host_bytes(recipes.released_training(), FOUND, n_gpus=2)
    assert needs["a state while it is written"] == 1200
    assert needs["the model of each process"] == 800


def test_the_closed_form_start_needs_a_device_and_disk():
    data, released, standard = (
        nsd_size([1000, 900]),
        recipes.released_training(),
        recipes.standard(),
    )
    assert start_bytes(released, FOUND, data=data) == 0
    assert start_bytes(standard, FOUND, data=data) == 400 + 7 * 4 * 1000**2
    plain, more = (disk_bytes(r, FOUND, data=data, sizes=r.model) for r in (released, standard))
    rows = 73_000 + 2 * 60_000  # scores of images, latents of trials predicted by two folds
    assert more.pop("closed form, until the run is finished") == 4 * (200 + 4096 * rows)
    assert more == plain
