"""Folder of a study: its config, its Snakefile and profiles."""

import shutil
from importlib.resources import files
from pathlib import Path

import yaml

from mindeye2.choices import STUDIES
from mindeye2.core.artifacts import write_text
from mindeye2.core.errors import ArtifactError, check_choice
from mindeye2.core.settings import build_settings
from mindeye2.study.study_grid import Study
from mindeye2.study.study_settings import StudySettings

__all__ = ["WORKFLOW", "init_study", "load_study"]

_HERE = Path(str(files("mindeye2.study")))

WORKFLOW = str(_HERE / "workflow" / "Snakefile")
"""The rules, which the Snakefile of a study includes."""

_SNAKEFILE = """# Runs config.yaml of this folder:   snakemake --profile profiles/local
from mindeye2.study import WORKFLOW

include: WORKFLOW


rule all:
    input:
        f"{STUDY.comparison}/manifest.json",
    default_target: True
    localrule: True
"""


def init_study(folder: Path, *, config: str = "laptop") -> Path:
    """Write ``config.yaml``, ``Snakefile`` and ``profiles/`` of a study.

    Parameters
    ----------
    folder
        Folder to make.
    config
        A key of `mindeye2.choices.STUDIES`.

    Returns
    -------
    Path
        ``config.yaml``, with a comment on each line that is likely to be changed.

    Raises
    ------
    ArtifactError
        If the folder has a ``config.yaml``, which stays as it is.
    ValueError
        If there is no such config.
    """
    check_choice("--config", config, STUDIES)
    path = Path(folder) / "config.yaml"
    if path.exists():
        raise ArtifactError(
            f"{path} exists already. Edit it, or give another folder; results of earlier settings "
            "stay beside new ones."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(_HERE / "workflow" / "profiles", path.parent / "profiles", dirs_exist_ok=True)
    write_text(path.parent / "Snakefile", _SNAKEFILE)
    return write_text(path, (_HERE / "configs" / f"{config}.yaml").read_text(encoding="utf-8"))


def load_study(folder: Path) -> Study:
    """Read ``config.yaml`` of a study.

    Raises ArtifactError if there is none, and ValueError if a setting is unknown or invalid.
    """
    path = Path(folder) / "config.yaml"
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(
            f"{folder} has no config.yaml. Make a study with: mindeye2 study init {folder}"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold 'key: value' lines, got {values!r}.")
    try:
        return Study(build_settings(StudySettings, values))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
