import numpy as np

from mindeye2.data.scenes import (
    load_photographs,
    make_scenes,
    name_lights,
    reference_photographs,
    render_references,
)


def test_references_are_the_scenes_of_the_recipe_in_any_order():
    library = load_photographs(split="train")
    images, captions, _ = make_scenes(4, library=library, seed=1, size=64)
    np.testing.assert_array_equal(render_references([3, 0], size=64), images[[3, 0]])
    kinds = {c.credit.caption: c.credit.category for c in library.cutouts}
    places = {b.credit.caption: b.credit.category for b in library.backgrounds}
    shown, background = reference_photographs(0)
    assert shown.category in {kind for noun, kind in kinds.items() if noun in captions[0]}
    assert background.category in {kind for n, kind in places.items() if captions[0].endswith(n)}


def test_light_is_named_by_luminance():
    # Green is the brightest of the primary colours, blue the darkest.
    colours = np.array([[0, 0, 255], [0, 255, 0], [128, 128, 128], [255, 255, 255]], np.uint8)
    images = np.broadcast_to(colours[:, None, None], (4, 8, 8, 3))
    assert name_lights(images) == ["dark", "bright", "middle", "bright"]
    assert name_lights(images[:0]) == []
