import numpy as np
import pytest

from mindeye2.data.simulated.receptive_fields import (
    FIELD_SIZES,
    Fields,
    low_level_maps,
    pool_fields,
    sample_fields,
)

EXTENT = 8.4
GABORS = {"extent": EXTENT, "orientations": 6, "cycles_per_degree": (0.5, 1.0, 2.0)}


def _fields(*voxels):
    x, y, size = np.array(voxels, dtype=np.float32).T
    return Fields(x=x, y=y, size=size)


def _grating(cycles_per_degree, angle, *, phase=0.0, side=128):
    position = (np.arange(side) + 0.5) * EXTENT / side
    x, y = np.meshgrid(position, position)
    wave = x * np.cos(angle) + y * np.sin(angle)
    grey = 128 + 100 * np.sin(2 * np.pi * cycles_per_degree * wave + phase)
    return np.repeat(grey[None, :, :, None], 3, axis=3).astype(np.uint8)


@pytest.mark.parametrize("k", range(6))
@pytest.mark.parametrize("f", range(3))
def test_a_grating_drives_the_map_of_its_orientation_and_frequency_most(k, f):
    image = _grating(GABORS["cycles_per_degree"][f], np.pi * k / 6)
    energies, _ = low_level_maps(image, **GABORS)
    assert energies[0, :, 8:-8, 8:-8].mean(axis=(1, 2)).argmax() == 6 * f + k


def test_energy_does_not_depend_on_phase():
    waves = [_grating(1.0, 0.5, phase=phase) for phase in np.linspace(0, np.pi, 5)]
    energies, _ = low_level_maps(np.concatenate(waves), **GABORS)
    centre = energies[:, 7, 12:-12, 12:-12]
    assert (centre.std(axis=0) < 0.1 * centre.mean(axis=0)).all()


def test_uniform_light_has_no_energy_and_known_colour():
    image = np.full((1, 50, 70, 3), [255, 0, 51], dtype=np.uint8)
    energies, colours = low_level_maps(image, **GABORS)
    assert energies.max() < 1e-9
    expected = [0.299 + 0.114 * 0.2, 1.0, 0.2 - 0.5]
    np.testing.assert_allclose(colours[0, :, 5, 20], expected, atol=1e-5)


def test_batches_do_not_matter(monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    whole = low_level_maps(images, **GABORS)
    monkeypatch.setattr("mindeye2.data.simulated.receptive_fields.BATCH", 2)
    for a, b in zip(whole, low_level_maps(images, **GABORS), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_pooling_is_a_gaussian_average():
    maps = np.random.default_rng(1).random((2, 3, 32, 32), dtype=np.float32)
    centre = (np.arange(32) + 0.5) * EXTENT / 32 - EXTENT / 2
    x, y = np.meshgrid(centre, -centre)
    gaussian = np.exp(-((x - 1) ** 2 + (y + 0.5) ** 2) / (2 * 1.2**2))
    expected = (maps * gaussian).sum(axis=(2, 3)) / gaussian.sum()
    pooled = pool_fields(maps, _fields((1, -0.5, 1.2)), extent=EXTENT)[:, :, 0]
    np.testing.assert_allclose(pooled, expected, rtol=2e-3)


def test_up_is_the_first_row_and_right_the_last_column():
    maps = np.zeros((1, 1, 32, 32), dtype=np.float32)
    maps[..., 0, -1] = 1
    corners = _fields((4, 4, 0.5), (-4, 4, 0.5), (4, -4, 0.5), (-4, -4, 0.5))
    answers = pool_fields(maps, corners, extent=EXTENT)[0, 0]
    assert answers[0] > 0.05
    assert answers[1:].max() < 1e-6


def test_a_field_smaller_than_a_pixel_sees_that_pixel():
    maps = np.random.default_rng(2).random((1, 1, 32, 32), dtype=np.float32)
    inside = EXTENT / 32 / 2  # the centre of the first pixel right of and above fixation
    answer = pool_fields(maps, _fields((inside, inside, 0.01)), extent=EXTENT)
    assert answer[0, 0, 0] == pytest.approx(maps[0, 0, 15, 16], rel=1e-5)


def test_uniform_maps_give_their_value_wherever_the_field_is():
    maps = np.full((1, 2, 32, 32), 3.5, dtype=np.float32)
    areas = np.repeat(list(FIELD_SIZES), 50)
    fields = sample_fields(areas, np.random.default_rng(0), extent=EXTENT, scatter=0.2)
    np.testing.assert_allclose(pool_fields(maps, fields, extent=EXTENT), 3.5, rtol=1e-4)


def test_sizes_lie_on_the_lines_of_their_areas():
    areas = np.repeat(list(FIELD_SIZES), 300)
    fields = sample_fields(areas, np.random.default_rng(0), extent=EXTENT, scatter=0.0)
    eccentricity = np.hypot(fields.x, fields.y)
    assert eccentricity.max() <= EXTENT / 2
    for area, (intercept, slope) in FIELD_SIZES.items():
        line = np.polyfit(eccentricity[areas == area], fields.size[areas == area], 1)
        np.testing.assert_allclose(line, [slope, intercept], atol=1e-4)
    sizes = [np.median(fields.size[areas == area]) for area in FIELD_SIZES]
    assert sizes == sorted(sizes)


def test_the_fovea_is_magnified():
    areas = np.repeat("V1", 4000)
    fields = sample_fields(areas, np.random.default_rng(0), extent=EXTENT, scatter=0.2)
    eccentricity = np.hypot(fields.x, fields.y)
    # Half of the voxels lie within the eccentricity where log(e + .75) is halfway.
    assert np.median(eccentricity) == pytest.approx(np.sqrt(0.75 * 4.95) - 0.75, rel=0.06)
