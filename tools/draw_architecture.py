"""Draw docs/images/architecture.svg: the model, with sizes of the recipe `standard`."""

from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from mindeye2.recipes import standard

TRAINED, FROZEN = "#cfe2f7", "#e8e8e8"


def draw(out: Path) -> None:
    """Draw the picture into a file."""
    sizes = standard().model
    tokens = f"{sizes.n_tokens} tokens x {sizes.n_features}"
    mpl.rcParams["svg.hashsalt"] = "mindeye2"  # the same file every time
    figure, axes = plt.subplots(figsize=(14, 5))
    axes.set(xlim=(0, 110), ylim=(0, 44))
    axes.axis("off")
    boxes = {
        "voxels": (1, 17, "betas of a subject\n13,000 to 18,000\nvoxels", None),
        "ridge": (19, 17, f"ridge of the subject\n{sizes.n_latent:,} shared\ndimensions", TRAINED),
        "backbone": (38, 17, f"backbone, {sizes.n_blocks} blocks\n{tokens}", TRAINED),
        "retrieval": (59, 34, f"retrieval head\n{tokens}", TRAINED),
        "prior": (59, 17, f"diffusion prior\n{tokens}", TRAINED),
        "lowlevel": (59, 1, "low-level head\nlatents of a VAE", TRAINED),
        "gallery": (91, 34, "retrieved images", None),
        "unclip": (77, 21, "unCLIP, refiner", FROZEN),
        "captioner": (77, 13, "captioner", FROZEN),
        "vae": (77, 1, "VAE decoder", FROZEN),
        "image": (93, 21, "image", None),
        "caption": (93, 13, "caption", None),
        "blend": (93, 1, "blurry image,\nblended 1:3", None),
    }
    width = {"voxels": 15, "ridge": 16, "backbone": 18, "retrieval": 15, "prior": 15}
    width |= {"lowlevel": 15, "gallery": 17, "image": 15, "caption": 15, "blend": 15}
    for name, (x, y, text, colour) in boxes.items():
        size = (width.get(name, 13), 7)
        style = "round,pad=0.3,rounding_size=1"
        edge = "#555555" if colour else "#bbbbbb"
        axes.add_patch(
            FancyBboxPatch((x, y), *size, boxstyle=style, fc=colour or "white", ec=edge)
        )
        axes.text(x + size[0] / 2, y + 3.5, text, ha="center", va="center", fontsize=9)
    for start, end in [
        ("voxels", "ridge"),
        ("ridge", "backbone"),
        ("backbone", "retrieval"),
        ("backbone", "prior"),
        ("backbone", "lowlevel"),
        ("retrieval", "gallery"),
        ("prior", "unclip"),
        ("prior", "captioner"),
        ("lowlevel", "vae"),
        ("unclip", "image"),
        ("captioner", "caption"),
        ("vae", "blend"),
    ]:
        tail = (boxes[start][0] + width.get(start, 13) + 0.4, boxes[start][1] + 3.5)
        head = (boxes[end][0] - 0.4, boxes[end][1] + 3.5)
        axes.add_patch(
            FancyArrowPatch(tail, head, arrowstyle="-|>", mutation_scale=9, color="#555555")
        )
    figure.savefig(out, bbox_inches="tight", metadata={"Date": None})


if __name__ == "__main__":
    draw(Path(__file__).parents[1] / "docs" / "images" / "architecture.svg")
