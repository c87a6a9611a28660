"""Finished analyses on the page: their findings and figures."""

import base64
from collections.abc import Sequence
from pathlib import Path

from mindeye2.core.artifacts import read_manifest
from mindeye2.core.errors import ArtifactError
from mindeye2.reporting.content import AnalysisSummary

__all__ = ["read_analyses"]


def read_analyses(folders: Sequence[Path], *, subject: str) -> list[AnalysisSummary]:
    """Read folders that ``mindeye2 analyse`` finished; those of another subject are refused.

    Figures become images, because the style of an inline SVG would apply to the whole page.
    """
    found = []
    for folder in map(Path, folders):
        manifest = read_manifest(folder, stage="analyse")
        if manifest["subject"] != subject:
            raise ArtifactError(
                f"{folder} analyses {manifest['subject']}, the page is about {subject}. Give "
                "analyses of the same subject, or leave it out of the setting analyses."
            )
        figure = base64.b64encode((folder / "figure.svg").read_bytes()).decode()
        found.append(
            AnalysisSummary(
                title=manifest["title"],
                lines=manifest["lines"],
                figure=f"data:image/svg+xml;base64,{figure}",
            )
        )
    return found
