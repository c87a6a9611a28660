"""Decoding as commands start it: settings by model and data set, then the reconstruct stage."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from mindeye2.cli.subjects import load_with_subjects
from mindeye2.core.errors import ArtifactError

if TYPE_CHECKING:
    from mindeye2.api import Decoder

__all__ = ["decode", "decode_run", "open_decoder", "recorded_data"]


def decode(
    init: Path,
    *,
    source: Path,
    out: Path,
    subjects: Sequence[str] | None = None,
    config: Path | None = None,
    assignments: Sequence[str] = (),
    resume: bool = False,
    device: str = "auto",
) -> Path:
    """Decode one split of a data set with a run or published weights; return the manifest.

    A run of one subject decodes that one, unless another is chosen.
    """
    from mindeye2.api import default_settings
    from mindeye2.core.settings import load_settings
    from mindeye2.released.folder import open_pipeline
    from mindeye2.stages.reconstruct import reconstruct

    load = partial(load_settings, file=config, assignments=assignments)
    start, own = default_settings(init), _trained_on(init)
    if len(own) == 1:
        start = start.model_copy(update={"subject": own[0]})
    settings = load_with_subjects(start, load, data=source, chosen=subjects)
    return reconstruct(
        settings,
        source=source,
        init=init,
        out=out,
        open_pipeline=open_pipeline,
        resume=resume,
        device=device,
    )


def open_decoder(
    name_or_folder: str, *, config: Path | None, assignments: Sequence[str], device: str
) -> "Decoder":
    """Open a run, published weights or a repository of the hub, with all its networks."""
    from mindeye2.api import Decoder, default_settings
    from mindeye2.core.settings import load_settings
    from mindeye2.released.hub import pretrained_folder

    folder = pretrained_folder(name_or_folder, revision=None)
    settings = load_settings(default_settings(folder), file=config, assignments=assignments)
    if not settings.images:
        raise ValueError("images=false leaves nothing to show. Leave it out.")
    decoder = Decoder.from_pretrained(folder, settings=settings, device=device)
    decoder.load()
    return decoder


def decode_run(
    source: Path,
    *,
    out: Path,
    decoded: Path | None = None,
    assignments: Sequence[str] = (),
    data: Path | None = None,
    device: str = "auto",
) -> Path:
    """Return the folder to score: `source`, or for a run of one subject its decoded test images.

    They are decoded first, with `assignments` of the reconstruct stage, into `decoded`, by default
    ``OUT-decoded`` beside `out`; what is there already is continued.
    """
    manifest, subjects = _manifest(source), _trained_on(source)
    if not subjects:
        if decoded is not None or assignments:
            raise ValueError(
                f"--decoded and --decoding are for runs, and {source} is not one: it is scored as "
                "it is. Leave them out, or give the run as --source."
            )
        return source
    if len(subjects) != 1:
        raise ArtifactError(
            f"{source} was trained on {subjects}. Decode one of them first: mindeye2 reconstruct "
            f"--init {source} --source DATA --out DECODED --subject {subjects[0]}, and "
            "evaluate DECODED."
        )
    from mindeye2.core.artifacts import resolve_path

    if data is None and "data" not in manifest:
        raise ArtifactError(
            f"{source} is of an earlier version, which recorded no data set: add --data DATA."
        )
    decoded = decoded or out.with_name(f"{out.name}-decoded")
    decode(
        source,
        source=data or resolve_path(str(manifest["data"]), folder=source),
        out=decoded,
        subjects=subjects,
        assignments=assignments,
        resume=decoded.exists(),
        device=device,
    )
    return decoded


def recorded_data(run: Path) -> Path | None:
    """Return the data set that a run records, if it is there."""
    from mindeye2.core.artifacts import resolve_path

    recorded = _manifest(run).get("data")
    try:
        return None if recorded is None else resolve_path(str(recorded), folder=run)
    except ArtifactError:  # a run that was copied here without it
        return None


def _trained_on(run: Path) -> list[str]:
    """Return the subjects that a run was trained to decode; none, if the folder is not a run."""
    manifest, description = _manifest(run), run / "model.yaml"
    if manifest.get("stage") != "train" or not description.exists():
        return []
    # An adapted run also keeps the ridges of its pretraining subjects.
    new = manifest.get("config", {}).get("subject")
    return [new] if new else list(yaml.safe_load(description.read_text())["n_voxels"])


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found
