from mindeye2 import recipes
from mindeye2.planning.data_size import nsd_size
from mindeye2.planning.footprint import Footprint
from mindeye2.planning.storage import disk_bytes, host_bytes

FOUND = Footprint(
    parameters={"ridge": 100},
    trainable=100,
    weights=400,
    gradients=400,
    moments=800,
    activations=0,
    peak=1600,
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


def test_a_running_average_is_part_of_the_state():
    base = recipes.released_training()
    optimizer = base.optimizer.model_copy(update={"ema_decay": 0.99})
    averaged = base.model_copy(update={"optimizer": optimizer})
    needs = disk_bytes(averaged, FOUND, data=nsd_size([10]), sizes=base.model)
    assert needs["two states of the run"] == 2 * 1600


def test_the_closed_form_start_needs_host_memory():
    data, released, standard = nsd_size([1000]), recipes.released_training(), recipes.standard()
    plain = host_bytes(released, FOUND, data=data, sizes=released.model)
    started = host_bytes(standard, FOUND, data=data, sizes=standard.model)
    assert {name for name in started if name not in plain} == {
        "closed form: covariance of voxels",
        "closed form: PCA of the bank",
    }
