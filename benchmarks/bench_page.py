"""Time the page of many test images: how long it takes to write, and to open in Chromium.

Run: python benchmarks/bench_page.py --images 1000
Images are noise of 8 x 8 squares at 112 pixels, seven a test image as in the demo. The browser
(chromium or chrome on the path, headless) opens the file at three widths; `opened_ms` is until its
load event. The last line is one JSON object.
"""

import argparse
import json
import platform
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from mindeye2.core.runtime import peak_memory_gib
from mindeye2.reporting import GalleryItem, ReportContent, ResponseSource, render_page

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
WIDTHS = (390, 768, 1280)
COLUMNS = ("Reconstruction", "Refined", "unCLIP", "Low-level", "Ceiling", "Nearest training image")


def content(n_images: int) -> ReportContent:
    """Return a page of noise."""
    rng = np.random.default_rng(0)

    def image() -> np.ndarray:
        return (
            rng.integers(0, 256, (14, 14, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
        )

    items = [
        GalleryItem(
            name=f"image {n}",
            seen=image(),
            images={name: image() for name in COLUMNS},
            caption="a decoded caption of some length",
            true_caption="the caption of the seen image",
            scores={f"score {k}": float(v) for k, v in enumerate(rng.random(20))},
            retrieved=rng.integers(0, n_images, 5).tolist(),
            rank=int(rng.integers(1, n_images + 1)),
            seed=n,
        )
        for n in range(n_images)
    ]
    source = ResponseSource(label="Noise", simulated=True, explanation="For timing only.")
    return ReportContent(
        title="Many images",
        summary="A page to be timed.",
        responses=source,
        columns=dict.fromkeys(COLUMNS, "An image."),
        items=items,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    args = parser.parse_args()
    began = time.monotonic()
    page = render_page(content(args.images))
    written = time.monotonic() - began
    opened: dict[int, dict[str, str]] = {}
    browser = next(filter(None, map(shutil.which, NAMES)), None)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "index.html"
        file.write_text(page, encoding="utf-8")
        for width in WIDTHS if browser else ():
            command = [
                str(browser),
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                f"--window-size={width},900",
                f"--user-data-dir={folder}/profile",
                "--dump-dom",
                file.as_uri(),
            ]
            done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
            root = re.search(r"<html[^>]*>", done.stdout)
            opened[width] = dict(re.findall(r'data-(\w+)="(\d+)"', root.group(0) if root else ""))
    print(
        json.dumps(
            {
                "name": "page",
                "images": args.images,
                "megabytes": round(len(page) / 1e6, 1),
                "written_s": round(written, 1),
                "opened_ms": {w: int(found["ready"]) for w, found in opened.items()},
                "overflow_px": {w: int(found["overflow"]) for w, found in opened.items()},
                "script_errors": sum(int(f.get("errors", 0)) for f in opened.values()),
                "peak_gib": round(peak_memory_gib(), 2),
                "machine": platform.machine(),
            }
        )
    )


if __name__ == "__main__":
    main()
