"""A finished reconstruction as analyses read it: subject, trials, tokens, run, data set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml
from jaxtyping import Float, Int
from torch import Tensor

from mindeye2.core.artifacts import read_manifest, resolve_path
from mindeye2.core.errors import ArtifactError
from mindeye2.core.tensors import read_tensor, tensor_names
from mindeye2.data.prepared import Prepared, open_prepared
from mindeye2.metrics.catalogue import image_files
from mindeye2.training.trials import SubjectTrials, load_trials

__all__ = ["TRAINING", "Decoding", "open_decoding"]

TRAINING = ("train", "validation")
"""Splits that an analysis may fit to; the test split is never among them."""


@dataclass(frozen=True)
class Decoding:
    """Reconstructions of one subject and the data set that they decode."""

    folder: Path
    """Folder that ``reconstruct`` finished."""

    prepared: Prepared
    """Data set."""

    manifest: Mapping[str, Any]
    """Manifest of the folder."""

    @property
    def subject(self) -> str:
        """The decoded subject."""
        return str(self.manifest["subject"])

    @property
    def run(self) -> Path:
        """Folder of the run, or of the imported weights, that decoded."""
        recorded = self.manifest["config"].get("init")
        if "source_files" in self.manifest or recorded is None:
            raise ArtifactError(
                f"{self.folder} holds imported outputs, which have no brain decoder. Give a "
                "folder that 'mindeye2 reconstruct' made with a run or with imported weights."
            )
        return resolve_path(str(recorded), folder=self.folder)

    @property
    def encoder(self) -> str:
        """Name of the encoder whose tokens the run predicts; of published weights ``bigg``."""
        description = self.run / "model.yaml"
        if not description.exists():
            return "bigg"
        return str(yaml.safe_load(description.read_text())["encoder"])

    @cached_property
    def images(self) -> Int[Tensor, " images"]:
        """Decoded images, as rows of the data set's."""
        items = pd.read_parquet(self.folder / "items.parquet")
        return torch.from_numpy(items["image"].to_numpy("int64", copy=True))

    @property
    def files(self) -> dict[str, Path]:
        """Files of reconstructed images by kind."""
        return image_files(self.folder)

    @cached_property
    def token_names(self) -> set[str]:
        """Names of the stored tokens."""
        return tensor_names(self.folder / "tokens.safetensors")

    def tokens(self, name: str) -> Float[Tensor, "images features"]:
        """Read the tokens of one name, flattened, as float32."""
        return read_tensor(self.folder / "tokens.safetensors", name).float().flatten(1)

    def trials(self) -> SubjectTrials:
        """Return the presentations of the decoded images that were decoded."""
        config = self.manifest["config"]
        trials = load_trials(self.prepared, self.subject, [config.get("split", "test")])
        number = pd.Series(trials.images.numpy()).groupby(trials.images.numpy()).cumcount()
        used = torch.isin(trials.images, self.images)
        if config.get("n_repeats") is not None:
            used &= torch.tensor((number < config["n_repeats"]).to_numpy())
        return trials.rows(used)

    def training_trials(self, sessions: Sequence[int] | None = None) -> SubjectTrials:
        """Return the subject's trials outside the test split."""
        return load_trials(self.prepared, self.subject, TRAINING, sessions=sessions)


def open_decoding(folder: Path, *, data: Path | None = None) -> Decoding:
    """Open a finished reconstruction; `data` is its data set, by default the recorded one."""
    manifest = read_manifest(folder, stage="reconstruct")
    found = data or resolve_path(manifest["config"]["source"], folder=folder)
    return Decoding(Path(folder), open_prepared(found), manifest)
