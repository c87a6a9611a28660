"""Draw the figure of README from a finished demo: a random sample of the test images.

Run: python tools/readme_figure.py runs/demo docs/images/demo.png
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageDraw, ImageFont

from mindeye2.core.runtime import generator
from mindeye2.data.prepared import open_prepared

SIDE, GAP, MARGIN, COUNT = 112, 6, 128, 8


def main(demo: Path, out: Path) -> None:
    prepared, decoded = open_prepared(demo / "data"), demo / "adapted-decoded"
    items = pd.read_parquet(decoded / "items.parquet")
    retrieved = np.load(demo / "adapted-scores" / "retrieved.npy")
    rows = torch.randperm(len(items), generator=generator(0, "readme"))[:COUNT].tolist()
    seen = lambda row: prepared.images[int(items["image"][row])]  # noqa: E731
    lines = {
        "seen": seen,
        "found among 100": lambda row: seen(int(retrieved[row, 0])),
        "reconstructed": lambda row: np.load(decoded / "refined.npy")[row],
        "blended": lambda row: np.load(decoded / "blended.npy")[row],
        "from true tokens": lambda row: np.load(decoded / "ceiling.npy")[row],
    }
    size = (MARGIN + COUNT * (SIDE + GAP), len(lines) * (SIDE + GAP))
    page = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(15)
    for line, (label, image_of) in enumerate(lines.items()):
        top = line * (SIDE + GAP)
        draw.text((4, top + SIDE // 2), label, "black", font=font, anchor="lm")
        for column, row in enumerate(rows):
            image = Image.fromarray(np.asarray(image_of(row))).resize((SIDE, SIDE))
            page.paste(image, (MARGIN + column * (SIDE + GAP), top))
    out.parent.mkdir(parents=True, exist_ok=True)
    page.save(out, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
