"""Controls of the battery: what else could have been shown in place of each reconstruction."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mindeye2.core.errors import ArtifactError
from mindeye2.core.runtime import generator
from mindeye2.encoders.bank import to_float
from mindeye2.stages.evaluate.decoded import Decoded, resize

__all__ = ["BEST", "NEAREST", "RANDOM", "RUN", "SHUFFLED", "Control", "Decode", "make_controls"]

RUN = "run"
NEAREST = "nearest_training_image"
SHUFFLED = "shuffled"
RANDOM = "random_betas"
"""Names of controls in files; bottlenecks are ``bottleneck_K``."""

BEST = ("blended", "refined", "unclip")
"""Kinds of images; the first that a folder has is its reconstruction."""

Decode = Callable[[Path, Mapping[str, Any]], object]
"""Reconstructs into a folder as the run was, with some settings of reconstruct changed."""

PREDICTED = ("backbone", "backbone_whitened", "retrieval", "prior")


@dataclass(frozen=True)
class Control(Decoded):
    """The first test images with other reconstructions."""

    name: str = RUN
    """Name in files."""
    title: str = "This run"
    """Name in tables."""
    explanation: str = ""
    """One sentence."""
    n_images: int = 0
    """Number of test images."""
    shown: Mapping[str, Path] = field(default_factory=dict)
    """Files of images by the name of the control."""
    predicted: Mapping[str, Tensor] = field(default_factory=dict)
    """Tokens that replace those of the folder."""

    @property
    def images(self) -> list[int]:
        """First test images."""
        return super().images[: self.n_images]

    @property
    def files(self) -> dict[str, Path]:
        """Files of images to score."""
        return dict(self.shown)

    def tokens(self, name: str) -> Tensor:
        """Read the tokens of one name; those of test images are of the first ones."""
        if name in self.predicted:
            return self.predicted[name]
        values = super().tokens(name)
        return values if name.startswith("training_") else values[: self.n_images]


def make_controls(
    decoded: Decoded,
    *,
    n_images: int,
    bottlenecks: Sequence[int],
    seed: int,
    work: Path,
    decode: Decode | None,
    again: Path,
) -> tuple[list[Control], list[str]]:
    """Make the run and its controls, and say which are missing and why.

    Images are written into `work`, folders of new reconstructions into `again`.
    """
    kind = next((k for k in BEST if k in decoded.files), None)
    images = None if kind is None else np.load(decoded.files[kind])[:n_images]

    def control(
        name: str,
        title: str,
        explanation: str,
        *,
        folder: Path = decoded.folder,
        shown: np.ndarray | None = None,
        predicted: Mapping[str, Tensor] | None = None,
    ) -> Control:
        if shown is not None:
            np.save(work / f"{name}.npy", shown)
        return Control(
            folder,
            decoded.prepared,
            name=name,
            title=title,
            explanation=explanation,
            n_images=n_images,
            shown={} if shown is None else {name: work / f"{name}.npy"},
            predicted=predicted or {},
        )

    run = control(RUN, "This run", "Its reconstructions and predicted tokens.", shown=images)
    order = _derangement(n_images, seed=seed)
    shuffled = control(
        SHUFFLED,
        "Betas shuffled over images",
        "Each image is given what was decoded from the betas of another one: no run can do better "
        "than chance.",
        shown=None if images is None else images[order.numpy()],
        predicted={n: run.tokens(n)[order] for n in PREDICTED if n in decoded.token_names},
    )
    controls = [run, shuffled]
    if "nearest_training_image" in decoded.items:
        nearest = decoded.items["nearest_training_image"].to_numpy()[:n_images]
        controls.insert(
            1,
            control(
                NEAREST,
                "Nearest training image",
                "The training image whose tokens are nearest to the decoded ones, in place of the "
                "reconstruction: a lookup without image generator.",
                shown=None if images is None else _resized(decoded, nearest, images.shape[1:3]),
                predicted=_training_tokens(decoded, nearest),
            ),
        )
    missing = []
    for name, title, explanation, changes in _decoded_again(bottlenecks):
        if decode is None or "source_files" in decoded.manifest:
            return controls, ["Random betas and bottlenecks need the model that decoded: "
                              "reconstruct with it, by 'mindeye2 reconstruct'."]  # fmt: skip
        try:
            decode(again / name, {**changes, "n_images": n_images})
        except (ArtifactError, ValueError) as error:
            missing.append(f"{title}: {error}")
            continue
        found = again / name / f"{kind}.npy"
        shown = np.load(found) if found.exists() else None
        controls.append(control(name, title, explanation, folder=again / name, shown=shown))
    return controls, missing


def _decoded_again(
    bottlenecks: Sequence[int],
) -> list[tuple[str, str, str, dict[str, Any]]]:
    """List the controls that need the model: name, title, explanation, changed settings."""
    text = "Reconstructed anew from {} dimensions of the ridge's output."
    return [
        (
            RANDOM,
            "Random betas",
            "Decoded anew from noise with the mean and deviation of each voxel.",
            {"betas": "random"},
        ),
        *(
            (f"bottleneck_{k}", f"Bottleneck of {k}", text.format(k), {"bottleneck": k})
            for k in sorted(set(bottlenecks))
        ),
    ]


def _derangement(n: int, *, seed: int) -> Int[Tensor, " images"]:
    """Return an order in which no image stays in its place."""
    order = torch.randperm(n, generator=generator(seed, "battery", "shuffle"))
    shuffled = torch.empty_like(order)
    shuffled[order] = order.roll(1)
    return shuffled


def _training_tokens(decoded: Decoded, nearest: np.ndarray) -> dict[str, Tensor]:
    """Return the tokens that decoding is expected to give for some training images."""
    if "training_expected" not in decoded.token_names:
        return {}
    row = {image: i for i, image in enumerate(decoded.manifest["training_images"])}
    rows = torch.tensor([row[image] for image in nearest.tolist()])
    expected = dict.fromkeys(PREDICTED, decoded.tokens("training_expected")[rows])
    return expected | {"backbone_whitened": decoded.whitened("training_expected")[rows]}


def _resized(decoded: Decoded, images: np.ndarray, side: Sequence[int]) -> np.ndarray:
    """Read some stimuli at the size of the reconstructions."""
    values: Float[Tensor, "images rgb height width"] = resize(
        to_float(decoded.prepared.images[images]), tuple(side), antialias=True
    )
    stored: np.ndarray = (values * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    return stored
