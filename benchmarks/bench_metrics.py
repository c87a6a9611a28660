"""Compare the image and retrieval columns of the paper's tables with the notebook's loops.

Run: python benchmarks/bench_metrics.py [--images 10] [--threads 2] [--networks alexnet ...]
     [--blocks 48] [--galleries 30] [--pool 3]
Four kinds of reconstructions of the same stimuli are scored as `protocol=mindeye2-2024` does, by
the functions of `mindeye2 evaluate`, and as the notebook `final_evaluations` does, which runs once
for each kind. Networks have their published classes and random weights: the cost is that of the
published weights, the scores mean nothing, and both ways must give the same ones, to 1e-6.
The notebook's retrieval encodes the images of each random gallery anew: 30 of 300 among 1,000,
nine encodings an image, as are 30 of 3 among 10, or 12 of 3 among 4. It is counted once; the
notebook repeats it for each kind. Of 48 blocks of bigG `--blocks` are kept; all take 8 GB.
Both ways must find the same images, in both directions, in a gallery of all.
Seconds are those of the CPU, because the machine may be shared. Both include reading the weights
of each network, the notebook's once, though it reads them for each kind. The last line is JSON:
`times_images` is the ratio of the sums over the image columns, `times` that of all columns.
`--ours-only` skips the notebook, e.g. for the memory of 1,000 images.
"""

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch
from safetensors.torch import save_file
from scipy.spatial.distance import correlation
from torch import Tensor, nn
from torch.nn import functional as F

from mindeye2.core.artifacts import write_manifest
from mindeye2.core.errors import require
from mindeye2.core.runtime import generator, numpy_rng, peak_memory_gib, process_rng
from mindeye2.data.prepared import Prepared
from mindeye2.encoders.clip import load_clip_tokens
from mindeye2.encoders.feature_extractors import FEATURE_EXTRACTORS, load_feature_extractor
from mindeye2.metrics.protocols import PROTOCOLS
from mindeye2.stages.evaluate import EvaluateSettings
from mindeye2.stages.evaluate.decoded import Decoded, Job
from mindeye2.stages.evaluate.image_scores import published_image_scores
from mindeye2.stages.evaluate.token_scores import published_scores

KINDS = ("unclip", "refined", "blended", "lowlevel")
NETWORKS = {
    "alexnet": ("alexnet2", "alexnet5"),
    "inception_v3": ("inception",),
    "clip": ("clip",),
    "efficientnet_b1": ("effnet",),
    "resnet50": ("swav",),
}
TOKENS, WIDTH, HEADS = 256, 1664, 16
TOLERANCE = 1e-6

Scored = dict[str, float]


def resized(images: Tensor, size: int) -> Tensor:
    return F.interpolate(images, (size, size), mode="bilinear", antialias=False)


def notebook_pixels(images: dict[str, Tensor]) -> Scored:
    """Score one image after the other, as cells 16 and 18 do."""
    metrics = require("skimage.metrics", extra="test", purpose="The published loop")
    color = require("skimage.color", extra="test", purpose="The published loop")
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    scores = {}
    for kind in KINDS:
        real, fake = (resized(images[k], 425) for k in ("seen", kind))
        pairs = zip(real.flatten(1).numpy(), fake.flatten(1).numpy(), strict=True)
        scores[f"pixcorr_{kind}"] = np.mean([np.corrcoef(a, b)[0, 1] for a, b in pairs])
        grey = [color.rgb2gray(x.permute(0, 2, 3, 1).numpy()) for x in (real, fake)]
        scores[f"ssim_{kind}"] = np.mean(
            [
                metrics.structural_similarity(b, a, data_range=1.0, **options)
                for a, b in zip(*grey, strict=True)
            ]
        )
    return scores


def notebook_network(model: str, folder: Path, images: dict[str, Tensor]) -> Scored:
    """Score each layer and kind by two passes of all images at once, as cells 14 to 28 do."""
    names, network = NETWORKS[model], load_unfolded(model, folder)
    extraction: Any = require(
        "torchvision.models.feature_extraction", extra="demo", purpose="The published loop"
    )
    layers = [FEATURE_EXTRACTORS[name].layer for name in names]
    if layers[0]:
        network = extraction.create_feature_extractor(network, layers).eval()
    mean, std = (
        torch.tensor(x)[:, None, None] for x in FEATURE_EXTRACTORS[names[0]].normalisation or ()
    )
    size = FEATURE_EXTRACTORS[names[0]].size or 0

    def features(stack: Tensor, layer: str) -> np.ndarray:
        one_by_one = [(resized(image[None], size)[0] - mean) / std for image in stack]
        with torch.no_grad():
            output = network(torch.stack(one_by_one))
        found: np.ndarray = (output[layer] if layer else output).float().flatten(1).numpy()
        return found

    scores = {}
    for kind in KINDS:
        for name, layer in zip(names, layers, strict=True):
            fake, real = features(images[kind], layer), features(images["seen"], layer)
            if FEATURE_EXTRACTORS[name].compared_by == "correlation_distance":
                score = np.mean([correlation(a, b) for a, b in zip(real, fake, strict=True)])
            else:
                r = np.corrcoef(real, fake)[: len(real), len(real) :]
                score = np.mean((r < np.diag(r)).sum(axis=0)) / (len(real) - 1)
            scores[f"{name}_{kind}"] = score
    return scores


def notebook_retrieval(
    tower: nn.Module, *, images: Tensor, brain: Tensor, n_galleries: int, pool: int
) -> Scored:
    """Encode the images of each random gallery anew, as cell 11 does.

    The tokens that it encoded last also rank all images, which is what there is to compare.
    """
    queries = F.normalize(brain.flatten(1), dim=1)
    gallery = torch.full_like(queries, torch.nan)
    found = []
    for sample in range(n_galleries):
        rows = torch.randperm(len(images), generator=generator(0, sample))[:pool]
        with torch.inference_mode():
            gallery[rows] = F.normalize(tower(images[rows]).flatten(1), dim=1)
        found.append(top_1(queries, gallery, rows))
    sampled = dict(zip(("image_given_brain", "brain_given_image"), np.mean(found, 0), strict=True))
    if gallery.isnan().any():
        return sampled
    whole = top_1(queries, gallery, torch.arange(len(images)))
    names = ("image_given_brain_300", "brain_given_image_300")
    return sampled | dict(zip(names, whole, strict=True))


def top_1(brain: Tensor, gallery: Tensor, rows: Tensor) -> tuple[float, float]:
    """Rank the images of one gallery for each brain sample, and the other way round."""
    near = brain[rows] @ gallery[rows].T
    own = torch.arange(len(rows))
    forward, backward = (float((n.argmax(dim=1) == own).double().mean()) for n in (near, near.T))
    return forward, backward


def forge(folder: Path, n: int, *, blocks: int) -> Decoded:
    """Write reconstructions of 256 pixels that resemble their stimuli, kind by kind less."""
    random, batches = numpy_rng(0, "images"), []
    for _ in range(0, n + 2, 50):
        coarse = torch.from_numpy(random.random((50, 3, 24, 24), np.float32))
        batches.append((resized(coarse, 256) * 255).byte())
    seen = torch.cat(batches)[: n + 2]
    for i, kind in enumerate(KINDS, 1):
        noisy = []
        for batch in seen[:n].split(50):
            noise = torch.from_numpy(random.standard_normal((len(batch), 3, 64, 64), np.float32))
            noisy.append((batch + 50 * i * resized(noise, 256)).clamp(0, 255).byte())
        np.save(folder / f"{kind}.npy", torch.cat(noisy).permute(0, 2, 3, 1).numpy())
    pandas: Any = require("pandas", extra="test", purpose="The benchmark")
    pandas.DataFrame({"image": range(n)}).to_parquet(folder / "items.parquet")
    if blocks:
        true = torch.randn(n, TOKENS, WIDTH, generator=generator(0, "tokens")).half()
        save_file({"true": true, "retrieval": true.clone()}, folder / "tokens.safetensors")
    write_manifest(folder, stage="reconstruct", config={}, training_images=[n, n + 1])
    prepared = SimpleNamespace(images=seen.permute(0, 2, 3, 1).numpy())
    return Decoded(folder, cast("Prepared", prepared))


def save_weights(model: str, folder: Path) -> None:
    """Write a network of a published class with random weights under its published name."""
    download = FEATURE_EXTRACTORS[NETWORKS[model][0]].download
    assert download is not None
    with process_rng(0, model):
        if model == "clip":
            clip: Any = require("open_clip.model", extra="evaluation", purpose="CLIP")
            network = clip.CLIP(
                768,
                vision_cfg=clip.CLIPVisionCfg(layers=24, width=1024, patch_size=14),
                text_cfg=clip.CLIPTextCfg(
                    vocab_size=9, context_length=5, layers=1, width=64, heads=1
                ),
                quick_gelu=True,
            )
        else:
            models = require("torchvision", extra="demo", purpose="The benchmark").models
            options = {"init_weights": False} if "inception" in model else {}
            network = models.get_model(model, weights=None, **options)
            for parameter in network.parameters():
                if parameter.ndim > 1:  # torchvision's own start lets deep features die out
                    nn.init.kaiming_normal_(parameter)
    state = {k: v for k, v in network.state_dict().items() if k != "attn_mask"}
    if model == "resnet50":  # SwAV's file has no classifier
        state = {k: v for k, v in state.items() if not k.startswith("fc.")}
    torch.save(state, folder / download.name)


def load_unfolded(model: str, folder: Path) -> nn.Module:
    """Load a network as the notebook does, with its batch normalisations."""
    name = NETWORKS[model][0]
    if model == "clip":
        return load_feature_extractor(name, folder=folder)
    models = require("torchvision", extra="demo", purpose="The benchmark").models
    options = {"init_weights": False, "transform_input": True} if "inception" in model else {}
    network: nn.Module = models.get_model(model, weights=None, **options)
    download = FEATURE_EXTRACTORS[name].download
    assert download is not None
    network.load_state_dict(torch.load(folder / download.name, weights_only=True), strict=False)
    return network.eval().requires_grad_(requires_grad=False)


def save_tower(folder: Path, blocks: int) -> None:
    """Write bigG's image tower with fewer blocks, as an import does."""
    transformer: Any = require("open_clip.transformer", extra="sdxl", purpose="The benchmark")
    with process_rng(0, "bigG"):
        tower = transformer.VisionTransformer(
            image_size=224, patch_size=14, width=WIDTH, layers=blocks, heads=HEADS,
            mlp_ratio=4.9231, output_dim=1280, output_tokens=True,
        )  # fmt: skip
    folder.mkdir()
    save_file(tower.state_dict(), folder / "clip_tokens.safetensors", {"kind": "clip_tokens"})
    write_manifest(folder, stage="import", config={}, kind="clip_tokens")


def timed(
    part: str, ours: Callable[[], Scored], theirs: Callable[[], Scored] | None
) -> dict[str, Any]:
    """Run both ways in turn, and refuse scores that differ."""
    seconds, scores = [], []
    for function in (theirs, ours):
        start = time.process_time()
        scores.append(function() if function else {})
        seconds.append(time.process_time() - start)
    both = scores[0].keys() & scores[1].keys()
    gaps = [abs(float(scores[0][name]) - scores[1][name]) for name in both]
    row = {
        "part": part,
        "notebook_s": seconds[0],
        "ours_s": seconds[1],
        "times": seconds[0] / seconds[1],
        "largest_difference": max(gaps, default=None),
        "compared": len(gaps),
    }
    print(row, flush=True)
    if gaps and not max(gaps) < TOLERANCE:
        raise SystemExit(f"the scores of {part} differ by {max(gaps)}")
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--galleries", type=int, default=30)
    parser.add_argument("--pool", type=int, default=3)
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--ours-only", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as temporary:
        rows = compare(Path(temporary), options)
    image_rows = [row for row in rows if row["part"] != "retrieval"]
    facts = {"machine": platform.machine(), "torch": torch.__version__, **vars(options)}
    totals = {
        name: sum(r["notebook_s"] for r in chosen) / sum(r["ours_s"] for r in chosen)
        for name, chosen in (("times_images", image_rows), ("times", rows))
    }
    print(json.dumps({**facts, "rows": rows, **totals, "peak_gib": peak_memory_gib()}))


def compare(folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    decoded_folder, networks, state = (folder / n for n in ("decoded", "networks", "state"))
    for made in (decoded_folder, networks, state):
        made.mkdir()
    decoded = forge(decoded_folder, options.images, blocks=options.blocks)
    shown = () if options.ours_only else ("seen", *KINDS)
    images = {kind: decoded.batch(kind, slice(options.images)) for kind in shown}
    settings = EvaluateSettings(protocol="mindeye2-2024", networks=networks)
    job = Job(decoded, PROTOCOLS["mindeye2-2024"], settings, torch.device("cpu"), state)

    def image_scores() -> Scored:
        """Score what is not in the state yet: pixels, then each network that was added."""
        scores = published_image_scores(job).values
        return {name: float(x.double().mean()) for name, x in scores.items()}

    def theirs(function: Callable[[], Scored]) -> Callable[[], Scored] | None:
        return None if options.ours_only else function

    rows = [timed("pixels", image_scores, theirs(lambda: notebook_pixels(images)))]
    for model in options.networks:
        save_weights(model, networks)
        loop = partial(notebook_network, model, networks, images)
        rows.append(timed(model, image_scores, theirs(loop)))
    if options.blocks:
        save_tower(networks / "clip_tokens", options.blocks)
        rows.append(compare_retrieval(job, images.get("seen"), options))
    return rows


def compare_retrieval(
    job: Job, seen: Tensor | None, options: argparse.Namespace
) -> dict[str, Any]:
    folder = cast("Path", job.settings.networks) / "clip_tokens"
    brain = job.decoded.tokens("retrieval")

    def ours() -> Scored:
        scores = published_scores(job).values
        return {n: float(x.double().mean()) for n, x in scores.items()}

    def theirs() -> Scored:
        return notebook_retrieval(
            load_clip_tokens(folder, head_width=WIDTH // HEADS),
            images=cast("Tensor", seen),
            brain=brain,
            n_galleries=options.galleries,
            pool=options.pool,
        )

    return timed("retrieval", ours, None if seen is None else theirs)


if __name__ == "__main__":
    main()
