"""Rendering of scenes: size, mirror image, light, shadow, soft edges."""

import dataclasses

import numpy as np

from mindeye2.data.scenes import load_photographs, make_scenes
from mindeye2.data.scenes.compositor import render

LIBRARY = load_photographs(split="test")


def scene_number(i):
    return make_scenes(1, library=LIBRARY, seed=0, size=8, start=i)[2][0]


def test_a_scene_is_the_same_image_at_every_size():
    scene = scene_number(2)
    small = render(scene, LIBRARY, size=56).astype(float)
    large = render(scene, LIBRARY, size=224).astype(float)
    averaged = large.reshape(56, 4, 56, 4, 3).mean((1, 3))
    assert np.corrcoef(small.ravel(), averaged.ravel())[0, 1] > 0.98


def test_flipping_everything_mirrors_the_image():
    scene = scene_number(5)
    objects = tuple(
        dataclasses.replace(placed, flip=not placed.flip, x=1 - placed.x)
        for placed in scene.objects
    )
    mirrored = dataclasses.replace(scene, flip=not scene.flip, objects=objects)
    a, b = render(scene, LIBRARY, size=224), render(mirrored, LIBRARY, size=224)
    assert np.abs(a[:, ::-1].astype(int) - b).mean() < 4


def test_more_light_makes_a_brighter_image():
    scene = scene_number(0)
    brighter = dataclasses.replace(scene, light=dataclasses.replace(scene.light, gain=1.2))
    darker = dataclasses.replace(scene, light=dataclasses.replace(scene.light, gain=0.8))
    assert render(brighter, LIBRARY, size=64).mean() > render(darker, LIBRARY, size=64).mean()


def standing_scene():
    _, _, scenes = make_scenes(40, library=LIBRARY, seed=0, size=8)
    return next(s for s in scenes if len(s.objects) == 1 and s.objects[0].shadow)


def test_a_shadow_only_takes_light_away():
    scene = standing_scene()
    lit = dataclasses.replace(scene.objects[0], shadow=False)
    without = render(dataclasses.replace(scene, objects=(lit,)), LIBRARY).astype(int)
    difference = render(scene, LIBRARY).astype(int) - without
    assert difference.max() <= 0
    assert difference.min() < -20


def test_the_object_covers_the_background_only_where_it_is():
    scene = standing_scene()
    placed = dataclasses.replace(scene.objects[0], shadow=False, x=0.5, y=0.5, size=0.5)
    empty = render(dataclasses.replace(scene, objects=()), LIBRARY)
    drawn = render(dataclasses.replace(scene, objects=(placed,)), LIBRARY)
    changed = (drawn != empty).any(-1)
    assert changed[60:164, 60:164].any()
    assert not changed[:54].any()
    assert not changed[:, :54].any()
    assert not changed[171:].any()


def test_an_object_takes_on_the_light_of_its_background():
    scene = standing_scene()
    placed = dataclasses.replace(scene.objects[0], shadow=False, x=0.5, y=0.5)
    dark = dataclasses.replace(scene.light, gain=0.3)
    bright = dataclasses.replace(scene.light, gain=1.0)
    centre = [
        render(dataclasses.replace(scene, objects=(placed,), light=light), LIBRARY)[96:128, 96:128]
        for light in (dark, bright)
    ]
    assert centre[0].mean() < centre[1].mean()


def test_an_object_in_a_corner_is_rendered_without_leaving_the_frame():
    scene = standing_scene()
    corner = dataclasses.replace(scene.objects[0], x=0.02, y=0.98, size=0.9)
    image = render(dataclasses.replace(scene, objects=(corner,)), LIBRARY, size=48)
    assert image.shape == (48, 48, 3)
    assert image.dtype == np.uint8
