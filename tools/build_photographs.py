"""Build the shipped photographs from packages that contain them.

    python tools/build_photographs.py --out src/mindeye2/assets/stimuli \
        gcompris-qt-data=DIR endless-sky-data=DIR tuxpaint-stamps-default=DIR \
        plasma-workspace-data=DIR lomiri-wallpapers-16.04=DIR palapeli-data=DIR \
        puzzle-jigsaw=DIR scikit-image=DIR scikit-learn=DIR

Each DIR is where one package was unpacked (``dpkg -x FILE.deb DIR``; for the two Python packages
the folder that holds ``skimage`` and ``sklearn``). What is taken, how it is cut out, what it is
called, who made it, under which licence and on which side of the split it lies is all written in
``photograph_selection.csv`` beside this file; the script decides nothing. It needs OpenCV, SciPy,
Pillow and zstandard, none of which the package itself asks for because of it.

Columns that need words:

source      photographs of one source are never divided between training and test
method      alpha (has transparency), white (plain backdrop), grab (GrabCut), crop (background)
box         cutouts: left top right bottom of the object, as fractions of the photograph;
            backgrounds: where the square crop lies, 0 to 1 along each side
hints       for GrabCut, ';' between them: f / b an ellipse x,y,rx,ry that is object / backdrop,
            F / B a line x,y,x,y,... that is, p a polygon outside of which all is backdrop

The licences were read where the package states them per file: the README files inside gcompris'
.rcc containers (they describe the images that are really inside, Debian's `copyright` describes
those of an older release), tuxpaint's changelog, the `.license` files of plasma, the `.desktop`
files of palapeli, Debian's `copyright` for endless-sky, lomiri and puzzle-jigsaw, and the notes in
scikit-image and scikit-learn.
"""

import argparse
import csv
import io
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import zstandard
from PIL import Image
from scipy import ndimage

CUTOUT_SIZE = 200
BACKGROUND_SIZE = 256
WORK_SIZE = 420
CREDITS = (
    "file", "kind", "caption", "preposition", "category", "source", "split",
    "package", "path", "author", "licence", "url",
)  # fmt: skip


def read_rcc(path: Path, wanted: str) -> bytes:
    """Read one file out of a Qt resource container."""
    raw = path.read_bytes()
    version, tree, data, names = struct.unpack(">4I", raw[4:20])
    node_size = 14 if version == 1 else 22

    def name(offset: int) -> str:
        (length,) = struct.unpack(">H", raw[names + offset : names + offset + 2])
        start = names + offset + 6
        return raw[start : start + 2 * length].decode("utf-16-be")

    first, count = struct.unpack(">6xII", raw[tree : tree + 14])[::-1]
    for part in wanted.split("/"):
        for index in range(first, first + count):
            node = tree + index * node_size
            name_offset, flags, a, b = struct.unpack(">IHII", raw[node : node + 14])
            if name(name_offset) == part:
                break
        else:
            raise FileNotFoundError(f"{wanted} is not in {path}")
        if flags & 2:
            count, first = a, b
    start = data + b
    (size,) = struct.unpack(">I", raw[start : start + 4])
    content = raw[start + 4 : start + 4 + size]
    if flags & 1:
        return zlib.decompress(content[4:])
    if flags & 4:
        return zstandard.ZstdDecompressor().decompress(content, max_output_size=1 << 28)
    return content


def open_photograph(folder: Path, path: str) -> Image.Image:
    """Open one photograph of an unpacked package."""
    if ".rcc:" in path:
        container, inner = path.split(":")
        found = next(folder.rglob(container))
        return Image.open(io.BytesIO(read_rcc(found, inner)))
    return Image.open(folder / path)


def white_mask(rgb: np.ndarray) -> np.ndarray:
    """Mark what differs from a plain backdrop that touches the border."""
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB).astype(float)
    border = np.concatenate([lab[0], lab[-1], lab[:, 0], lab[:, -1]])
    # Hue counts more than lightness: soft shadows belong to the backdrop.
    distance = np.sqrt((((lab - np.median(border, 0)) * [1, 1.6, 1.6]) ** 2).sum(-1))
    near = distance < 14
    labels, n = ndimage.label(near)
    edge = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    sizes = ndimage.sum(near, labels, range(n + 1))
    backdrop = set(edge[edge > 0]) | {i for i in range(1, n + 1) if sizes[i] > 0.004 * near.size}
    return ~np.isin(labels, list(backdrop))


def grab_mask(
    rgb: np.ndarray,
    *,
    box: list[float],
    hints: str,
    to_pixel: Callable[[float, float], tuple[float, float]],
) -> np.ndarray:
    """Mark the object with GrabCut, from a box and hints."""
    height, width = rgb.shape[:2]
    mask = np.full((height, width), cv2.GC_BGD, np.uint8)
    (x0, y0), (x1, y1) = to_pixel(*box[:2]), to_pixel(*box[2:])
    mask[max(round(y0), 0) : round(y1), max(round(x0), 0) : round(x1)] = cv2.GC_PR_FGD
    rows, cols = np.mgrid[:height, :width]
    for hint in filter(None, hints.split(";")):
        kind, numbers = hint.split(":")
        v = [float(x) for x in numbers.split(",")]
        stroke = np.zeros((height, width), np.uint8)
        value = cv2.GC_FGD if kind in "fF" else cv2.GC_BGD
        if kind in "fb":
            (x, y), (ox, oy), (ex, ey) = to_pixel(*v[:2]), to_pixel(0, 0), to_pixel(*v[2:])
            stroke[((cols - x) / (ex - ox)) ** 2 + ((rows - y) / (ey - oy)) ** 2 < 1] = 1
        else:
            points = np.array([to_pixel(*v[i : i + 2]) for i in range(0, len(v), 2)], np.int32)
            if kind == "p":
                cv2.fillPoly(stroke, [points], 1)
                stroke = 1 - stroke
            else:
                cv2.polylines(
                    stroke, [points], isClosed=False, color=1, thickness=7 if kind == "F" else 9
                )
        mask[stroke > 0] = value
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    cv2.grabCut(bgr, mask, None, *models, 8, cv2.GC_INIT_WITH_MASK)
    return (mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)


def soften(rgb: np.ndarray, mask: np.ndarray) -> Image.Image:
    """Drop crumbs and pin holes, give the edge a soft alpha and the object's own colour."""
    mask = ndimage.binary_opening(mask, np.ones((3, 3)))
    labels, n = ndimage.label(mask)
    sizes = ndimage.sum(mask, labels, range(1, n + 1))
    mask = np.isin(labels, 1 + np.flatnonzero(sizes > 0.06 * sizes.max()))
    labels, n = ndimage.label(~mask)
    sizes = ndimage.sum(~mask, labels, range(1, n + 1))
    mask |= np.isin(labels, 1 + np.flatnonzero(sizes < 0.0025 * mask.size))
    mask = ndimage.gaussian_filter(mask.astype(float), 2.2) > 0.5
    alpha = ndimage.gaussian_filter(ndimage.binary_erosion(mask).astype(float), 1.1)
    # The outermost pixels carry the old backdrop: they take the colour of the nearest inner one.
    core = ndimage.binary_erosion(mask, iterations=3)
    nearest = ndimage.distance_transform_edt(~core, return_distances=False, return_indices=True)
    alpha = (np.clip(alpha, 0, 1) * 255).round().astype(np.uint8)
    return Image.fromarray(np.dstack([rgb[tuple(nearest)], alpha]))


def cut_out(photograph: Image.Image, *, method: str, box: str, hints: str) -> Image.Image:
    """Return an object without its surroundings."""
    if method == "alpha":
        return shrink(photograph.convert("RGBA"))
    photograph = photograph.convert("RGB")
    edges = [float(v) for v in box.split()] if box else [0.02, 0.02, 0.98, 0.98]
    left, top, right, bottom = edges
    mx, my = 0.12 * (right - left), 0.12 * (bottom - top)
    left, top = max(0, left - mx), max(0, top - my)
    right, bottom = min(1, right + mx), min(1, bottom + my)
    w, h = photograph.size
    crop = photograph.crop((round(left * w), round(top * h), round(right * w), round(bottom * h)))
    scale = WORK_SIZE / max(crop.size)
    size = round(crop.width * scale), round(crop.height * scale)
    rgb = np.asarray(crop.resize(size, Image.Resampling.LANCZOS))

    def to_pixel(x: float, y: float) -> tuple[float, float]:
        return (x - left) / (right - left) * size[0], (y - top) / (bottom - top) * size[1]

    mask = (
        white_mask(rgb)
        if method == "white"
        else grab_mask(rgb, box=edges, hints=hints, to_pixel=to_pixel)
    )
    return shrink(soften(rgb, mask))


def shrink(rgba: Image.Image) -> Image.Image:
    """Crop to what is visible and reduce, without the colour of invisible pixels."""
    visible = np.asarray(rgba)[..., 3] > 20
    rows, cols = np.flatnonzero(visible.any(1)), np.flatnonzero(visible.any(0))
    rgba = rgba.crop((cols[0], rows[0], cols[-1] + 1, rows[-1] + 1))
    scale = min(1, CUTOUT_SIZE / max(rgba.size))
    size = max(1, round(rgba.width * scale)), max(1, round(rgba.height * scale))
    values = np.asarray(rgba).astype(np.float32) / 255
    values[..., :3] *= values[..., 3:]
    planes = [
        Image.fromarray(values[..., i]).resize(size, Image.Resampling.LANCZOS) for i in range(4)
    ]
    out = np.clip(np.stack([np.asarray(p) for p in planes], -1), 0, 1)
    out[..., :3] = np.where(
        out[..., 3:] > 0.004, out[..., :3] / np.maximum(out[..., 3:], 0.004), 0
    )
    return Image.fromarray((out.clip(0, 1) * 255).round().astype(np.uint8))


def crop_background(photograph: Image.Image, position: str) -> Image.Image:
    """Crop the largest square at a relative position, and reduce it."""
    photograph = photograph.convert("RGB")
    side = min(photograph.size)
    x, y = (float(v) for v in position.split())
    left, top = round(x * (photograph.width - side)), round(y * (photograph.height - side))
    square = photograph.crop((left, top, left + side, top + side))
    return square.resize((BACKGROUND_SIZE, BACKGROUND_SIZE), Image.Resampling.LANCZOS)


def main() -> None:
    """Read the selection, write the photographs and the credits."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packages", nargs="+", metavar="PACKAGE=DIR")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    folders = {name: Path(where) for name, where in (p.split("=", 1) for p in options.packages)}
    with (Path(__file__).parent / "photograph_selection.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    missing = sorted({row["package"] for row in rows} - set(folders))
    if missing:
        sys.exit(f"No folder was given for {missing}. Unpack them and add PACKAGE=DIR for each.")
    for kind in ("cutouts", "backgrounds"):
        (options.out / kind).mkdir(parents=True, exist_ok=True)
        for old in (options.out / kind).glob("*.webp"):
            old.unlink()
    for row in rows:
        photograph = open_photograph(folders[row["package"]], row["path"])
        row["file"] = f"{row['kind']}s/{row['id']}.webp"
        if row["kind"] == "cutout":
            image = cut_out(photograph, method=row["method"], box=row["box"], hints=row["hints"])
        else:
            image = crop_background(photograph, row["box"])
        image.save(options.out / row["file"], quality=85, method=6)
    with (options.out / "credits.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, CREDITS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
