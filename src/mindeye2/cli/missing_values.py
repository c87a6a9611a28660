"""The answer where a required option or argument is missing: what it takes, and an example."""

import sys
from typing import Any

import typer
from typer.core import TyperGroup

from mindeye2.cli.outcome import WRONG_INPUT

__all__ = ["Commands"]

EXAMPLES = {
    "prepare": "mindeye2 prepare table --source mydata --out data",
    "train": "mindeye2 train --recipe ridge --source data --out run",
    "reconstruct": "mindeye2 reconstruct --source data --init run --out decoded",
    "evaluate": "mindeye2 evaluate --source decoded --out scores",
    "report": "mindeye2 report --source scores --out report",
    "compare": "mindeye2 compare scores other-scores --out comparison",
    "analyse": "mindeye2 analyse rois --source decoded --out rois",
    "settings": "mindeye2 settings prepare table",
    "import": "mindeye2 import last.pth --out weights/brain",
    "export": "mindeye2 export run --out exported",
    "app": "mindeye2 app run",
    "serve": "mindeye2 serve run",
}
"""A usual call of each command that needs something."""


class Commands(TyperGroup):
    """Commands that say what a missing option takes; the parser says only that it is missing."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - its class is private to typer
        """Run a command, or explain what it misses and exit with 2."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            # A missing value; typer does not export the class. Other errors name what was given.
            if not hasattr(error, "param_type") or error.param is None or error.ctx is None:
                raise
            name, purpose = error.param.opts[0], getattr(error.param, "help", "")
            name = name if name.startswith("-") else name.upper()
            example = EXAMPLES[str(error.ctx.info_name)]
            print(f"mindeye2: {name} is missing: {purpose} E.g. {example}", file=sys.stderr)
            raise typer.Exit(WRONG_INPUT) from error
