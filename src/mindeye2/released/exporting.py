"""Export of brain decoders to the names and shapes of the released code."""

from dataclasses import dataclass
from pathlib import Path

from rich.filesize import decimal

from mindeye2.core.errors import ArtifactError
from mindeye2.core.tensors import save_tensors
from mindeye2.released.download import check_disk
from mindeye2.released.mindeye import export_mindeye
from mindeye2.released.opening import open_brain_decoder

__all__ = ["Exported", "export_weights"]


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A file of weights that the released code loads."""

    path: Path
    """The safetensors file."""

    n_bytes: int
    """Its size."""

    subjects: list[str]
    """Subjects in the order of the released ridges."""

    n_parameters: int
    """Numbers in the file."""

    def __str__(self) -> str:
        """Describe the file, and how the released code loads it."""
        ridges = ", ".join(f"{i}: {subject}" for i, subject in enumerate(self.subjects))
        return (
            f"{self.path}: {self.n_parameters:,} parameters, {decimal(self.n_bytes)}; "
            f"ridge.linears {ridges}\n"
            "In the released code, instead of torch.load(...)['model_state_dict']:\n"
            "    from safetensors.torch import load_file\n"
            f"    model.load_state_dict(load_file({str(self.path)!r}), strict=True)"
        )


def export_weights(source: Path, *, out: Path) -> Exported:
    """Export the brain decoder of a run or an import for the released code.

    Parameters
    ----------
    source
        Folder that ``mindeye2 train`` or ``mindeye2 import`` finished.
    out
        The safetensors file to write, which must not exist.

    Returns
    -------
    Exported
        The file and its contents.

    Raises
    ------
    ArtifactError
        If the folder is unfinished or holds no brain decoder, the file exists, or the disk is too
        full.
    ValueError
        If the file's name does not end in ``.safetensors``, or the decoder has another
        architecture than the released one.
    """
    source, out = Path(source), Path(out)
    if out.suffix != ".safetensors":
        raise ValueError(
            f"--out must be a file that ends in '.safetensors', or a folder, got {out}."
        )
    if out.exists():
        raise ArtifactError(f"--out {out} exists and is not overwritten. Give a new name.")
    model = open_brain_decoder(source).model
    state = export_mindeye(model)
    n_bytes = sum(value.nbytes for value in state.values())
    check_disk(out.parent, n_bytes, what=f"exporting {source}")
    out.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"kind": "mindeye", "subjects": ",".join(model.subjects)}
    save_tensors(state, out, metadata=metadata)
    return Exported(
        path=out,
        n_bytes=out.stat().st_size,
        subjects=model.subjects,
        n_parameters=sum(value.numel() for value in state.values()),
    )
