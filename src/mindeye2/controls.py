"""Reconstruct again as a finished folder was, with some settings changed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mindeye2.core.artifacts import read_manifest, resolve_path
from mindeye2.core.settings import build_settings
from mindeye2.released.folder import open_pipeline
from mindeye2.stages.reconstruct import ReconstructSettings, reconstruct

__all__ = ["decode_again"]


def decode_again(
    out: Path,
    changes: Mapping[str, Any],
    *,
    source: Path,
    data: Path | None = None,
    device: str = "auto",
) -> Path:
    """Reconstruct as `source` was, without ceiling; resume what an interrupted run left in `out`.

    Parameters
    ----------
    out
        Folder to fill.
    changes
        Settings of reconstruct that differ.
    source
        Folder that the stage ``reconstruct`` finished.
    data
        Prepared data set, where it moved.
    device
        Where to compute.

    Returns
    -------
    Path
        The manifest.

    Raises
    ------
    ArtifactError
        If the model or the data set of `source` is gone.
    ValueError
        If a setting does not fit the model.
    """
    config = dict(read_manifest(source, stage="reconstruct")["config"])
    init = resolve_path(config.pop("init"), folder=source)
    recorded = config.pop("source")
    if config["decoder"] is not None:
        config["decoder"] = str(resolve_path(config["decoder"], folder=source))
    # A refiner is conditioned on captions; nothing else here needs them.
    captions = config["captions"] and config["refine"] is not None
    settings = build_settings(
        ReconstructSettings,
        {**config, "ceiling": False, "keep_lowlevel": False, "captions": captions, **changes},
    )
    return reconstruct(
        settings,
        source=data or resolve_path(recorded, folder=source),
        init=init,
        out=out,
        open_pipeline=open_pipeline,
        resume=True,
        device=device,
    )
