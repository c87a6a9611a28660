import base64
import io
import re

import numpy as np
from PIL import Image

from mindeye2.reporting.strip import image_strip, strip_html

ROWS = [np.full((2, 8, 8, 3), 200, np.uint8), np.full((1, 5, 9, 3), 90, np.uint8)]


def test_rows_of_images_are_resized_and_arranged_on_white():
    strip = np.asarray(image_strip(ROWS, side=10))
    assert strip.shape == (24, 24, 3)
    assert (strip[:10, :10] == 200).all()
    assert (strip[14:, :10] == 90).all()
    assert (strip[14:, 14:] == 255).all()  # the second row has one image


def test_html_holds_the_images_and_escaped_words():
    shown = strip_html({"a & b": ROWS[0]}, ["<script>", "two"], left_out=3)
    found = re.findall(r"base64,([^\"]+)", shown)
    decoded = np.asarray(Image.open(io.BytesIO(base64.b64decode(found[0]))))
    assert len(found) == 2
    assert (decoded == 200).all()
    assert "a &amp; b" in shown
    assert "&lt;script&gt;" in shown
    assert "3 more" in shown
