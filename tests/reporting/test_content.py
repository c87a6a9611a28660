import dataclasses

import numpy as np
import pytest

from mindeye2.reporting import GalleryItem, ReportContent, ResponseSource
from mindeye2.reporting import content as module

KINDS = [getattr(module, name) for name in module.__all__ if name != "RgbImage"]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_a_report_shows_cannot_be_changed_and_is_named(kind):
    assert kind.__dataclass_params__.frozen
    assert all(field.kw_only for field in dataclasses.fields(kind))
    assert kind.__doc__


def test_three_things_make_a_report():
    source = ResponseSource(
        label="Simulated subjects", simulated=True, explanation="By equations."
    )
    least = ReportContent(title="Title", summary="Summary.", responses=source)
    parts = (getattr(least, f.name) for f in dataclasses.fields(least)[3:])
    assert not any(parts)


def test_images_of_one_image_may_differ_in_size():
    small, large = np.zeros((8, 8, 3), np.uint8), np.zeros((16, 24, 3), np.uint8)
    item = GalleryItem(name="image 1", seen=large, images={"low-level": small})
    assert item.target is item.rank is item.seed is None
