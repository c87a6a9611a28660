"""Brain correlation: responses that GNet predicts for images, against the measured ones."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mindeye2.core.runtime import progress
from mindeye2.data.mindeye2_release.region_masks import read_region_masks
from mindeye2.encoders.gnet import predict_responses, read_gnet
from mindeye2.metrics import row_correlation
from mindeye2.metrics.catalogue import IMAGES
from mindeye2.metrics.noise_ceiling import Halves, NoiseCeiling, correlation_ceiling
from mindeye2.metrics.protocols import REGIONS
from mindeye2.stages.evaluate.decoded import Decoded, Job, Scores
from mindeye2.stages.evaluate.presentations import measured_halves

__all__ = ["brain_scores"]

_GNET = (
    "Brain correlation needs GNet (1.3 GB; its licence is not stated per file, and it was made "
    "from NSD, whose terms apply): 'mindeye2 import --released gnet --out NETWORKS/gnet', and "
    "name NETWORKS by --set networks=FOLDER."
)
_MASKS = "brain_region_masks.hdf5"
_PUBLISHED_NAMES = {"visual": "nsd_general", "higher": "higher_vis"}
"""Regions that the published file of masks names otherwise."""


def brain_scores(job: Job) -> Scores:
    """Correlate predicted with measured responses over the voxels of each region."""
    decoded, folder = job.decoded, job.settings.networks
    subject = str(decoded.manifest["subject"])
    if not decoded.files:
        return Scores()
    if folder is None or not (Path(folder) / "gnet").exists():
        return Scores(missing=[_GNET])
    gnet = read_gnet(Path(folder) / "gnet", subject=subject).to(job.device)
    n_voxels = len(gnet.readout.b)
    measured = _measured(decoded, subject)
    if measured.shape[1] != n_voxels:
        return Scores(
            missing=[
                f"Brain correlation: GNet predicts {n_voxels} voxels of {subject}, the data set "
                f"has {measured.shape[1]}. Prepare all voxels of nsdgeneral at 1.8 mm."
            ]
        )
    regions, missing = _regions(decoded, subject, Path(folder) / _MASKS)
    ceilings = _noise_ceilings(measured_halves(decoded), regions)
    scores: dict[str, Tensor] = {}
    bounds: dict[str, NoiseCeiling] = {}
    for kind in decoded.files:
        batches = decoded.batches(kind, size=job.settings.batch_size)
        with torch.inference_mode():
            predicted = torch.cat(
                [
                    predict_responses(gnet, batch)
                    for batch in progress(batches, label=f"GNet: {IMAGES[kind]}")
                ]
            ).clone()
        for region, mask in regions.items():
            name = f"brain_correlation_{region}_{kind}"
            scores[name] = row_correlation(predicted[:, mask], measured[:, mask])
            if region in ceilings:
                bounds[name] = ceilings[region]
    return Scores(scores, missing, noise_ceilings=bounds)


def _noise_ceilings(
    halves: Halves | None, regions: Mapping[str, Bool[Tensor, " voxels"]]
) -> dict[str, NoiseCeiling]:
    """Bound the correlation over the voxels of each region."""
    if halves is None:
        return {}
    return {region: correlation_ceiling(halves.of(mask)) for region, mask in regions.items()}


def _measured(decoded: Decoded, subject: str) -> Float[Tensor, "images voxels"]:
    """Average the betas of each scored image over its presentations."""
    split = decoded.manifest.get("config", {}).get("split", "test")
    trials = decoded.prepared.trials_of(subject, split)
    betas = decoded.prepared.betas(subject)
    rows = trials.index.to_numpy()
    shown = trials["image"].to_numpy()
    means = [
        np.asarray(betas[rows[shown == image]], np.float32).mean(axis=0)
        for image in decoded.images
    ]
    return torch.from_numpy(np.stack(means))


def _regions(
    decoded: Decoded, subject: str, masks: Path
) -> tuple[dict[str, Bool[Tensor, " voxels"]], list[str]]:
    """Read regions from the published masks, else from the ROI column of the voxel table."""
    table = decoded.prepared.voxels(subject)
    if masks.exists():
        published = read_region_masks(masks, subject=subject, n_voxels=len(table))
        regions = {r: published[_PUBLISHED_NAMES.get(r, r)] for r in REGIONS}
    else:
        regions = _table_regions(table)
    lacking = [REGIONS[r] for r in REGIONS if r not in regions or not regions[r].any()]
    kept = {r: torch.from_numpy(m) for r, m in regions.items() if m.any()}
    if not lacking:
        return kept, []
    return kept, [
        f"Brain correlation has no voxels of {', '.join(lacking)}: 'mindeye2 prepare nsd' labels "
        f"them; or put {_MASKS} (1 MB, NSD's terms of use) of "
        "https://huggingface.co/datasets/pscotti/mindeyev2 into the folder of networks."
    ]


def _table_regions(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Take V1 to V4 from the column ``roi``, and the other voxels as higher visual cortex."""
    regions = {"visual": np.ones(len(table), bool)}
    labels = table.get("roi", pd.Series("", index=table.index)).astype(str).to_numpy()
    early = {name: np.isin(labels, [name, f"h{name}"]) for name in ("V1", "V2", "V3", "V4")}
    if not any(mask.any() for mask in early.values()):
        return regions
    return {**regions, **early, "higher": ~np.logical_or.reduce(list(early.values()))}
