"""Scenes: determinism, the prefix property, distinctness, captions, even use."""

import collections

import numpy as np
import pytest

from mindeye2.data.scenes import load_photographs, make_scenes

LIBRARY = load_photographs(split="test")


def descriptions(n, **options):
    return make_scenes(n, library=LIBRARY, size=8, **options)[2]


def test_the_same_seed_gives_the_same_images():
    first, again = (make_scenes(4, library=LIBRARY, seed=3, size=64) for _ in range(2))
    assert np.array_equal(first[0], again[0])
    assert first[1:] == again[1:]


def test_another_seed_gives_other_scenes():
    assert not set(descriptions(20, seed=0)) & set(descriptions(20, seed=1))


def test_a_longer_list_begins_with_the_shorter_one():
    assert descriptions(60, seed=0)[:25] == descriptions(25, seed=0)


def test_a_list_can_be_made_in_parts():
    images, captions, scenes = make_scenes(6, library=LIBRARY, seed=0, size=32)
    part = make_scenes(3, library=LIBRARY, seed=0, size=32, start=3)
    assert np.array_equal(part[0], images[3:])
    assert part[1:] == (captions[3:], scenes[3:])


def test_scenes_and_pairs_of_object_and_background_are_distinct():
    n = 300
    scenes = descriptions(n, seed=0)
    assert len(set(scenes)) == n
    single = [(s.objects[0].index, s.background) for s in scenes if len(s.objects) == 1]
    assert len(set(single)) == len(single)


def test_every_background_is_used_equally_often_and_every_object_about_equally_often():
    n = 10 * len(LIBRARY.cutouts)
    scenes = descriptions(n, seed=0)
    backgrounds = collections.Counter(s.background for s in scenes)
    objects = collections.Counter(placed.index for s in scenes for placed in s.objects)
    assert len(backgrounds) == len(LIBRARY.backgrounds)
    assert max(backgrounds.values()) - min(backgrounds.values()) <= 10
    assert len(objects) == len(LIBRARY.cutouts)
    assert max(objects.values()) < 3 * min(objects.values())


def test_about_a_third_of_the_scenes_have_two_different_objects():
    scenes = descriptions(200, seed=0)
    pairs = [s.objects for s in scenes if len(s.objects) == 2]
    assert 40 < len(pairs) < 80
    for a, b in pairs:
        one, two = (LIBRARY.cutouts[placed.index].credit for placed in (a, b))
        assert one.source != two.source
        assert one.caption != two.caption


def test_the_caption_names_each_object_from_left_to_right_and_the_background():
    _, captions, scenes = make_scenes(40, library=LIBRARY, seed=0, size=8)
    for scene, text in zip(scenes, captions, strict=True):
        background = LIBRARY.backgrounds[scene.background].credit
        assert text.endswith(f" {background.preposition} {background.caption}")
        ordered = sorted(scene.objects, key=lambda placed: placed.x)
        places = [text.index(LIBRARY.cutouts[p.index].credit.caption) for p in ordered]
        assert places[0] == 0
        assert places == sorted(places)


def test_images_have_the_asked_size_and_type():
    images, captions, scenes = make_scenes(2, library=LIBRARY, seed=0)
    assert images.shape == (2, 224, 224, 3)
    assert images.dtype == np.uint8
    assert len(captions) == len(scenes) == 2


def test_objects_are_large_and_inside_the_frame():
    for scene in descriptions(200, seed=0):
        for placed in scene.objects:
            assert 0.35 <= placed.size <= 0.9
            assert 0 < placed.x < 1
            assert 0 < placed.y < 1


def test_negative_numbers_are_refused():
    with pytest.raises(ValueError, match="n=-1 and start=0"):
        make_scenes(-1, library=LIBRARY, seed=0)
