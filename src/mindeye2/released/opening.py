"""Brain decoders of runs and of imported weights, opened alike."""

from pathlib import Path

from mindeye2.core.artifacts import read_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.models.checkpoint import LoadedRun, load_run
from mindeye2.released.folder import ReleasedPipeline
from mindeye2.released.imported import find_imported
from mindeye2.released.kinds import published_state
from mindeye2.released.mindeye import infer_settings, load_mindeye, name_ridges

__all__ = ["open_brain_decoder"]


def open_brain_decoder(folder: Path) -> LoadedRun:
    """Load the brain decoder of a run, or of a folder that ``mindeye2 import`` filled.

    Raises ``ArtifactError`` if the folder is unfinished or holds no brain decoder.
    """
    imported = find_imported(folder)
    if not imported:
        return load_run(folder)
    if "mindeye" not in imported:
        raise ArtifactError(f"{folder} holds {sorted(imported)}, but no brain decoder.")
    state = published_state(imported["mindeye"], kind="mindeye")
    return LoadedRun(
        model=load_mindeye(state, subjects=name_ridges(state)).eval(),
        settings=infer_settings(state),
        encoder=ReleasedPipeline.encoder,
        manifest=read_manifest(imported["mindeye"].parent, stage="import"),
    )
