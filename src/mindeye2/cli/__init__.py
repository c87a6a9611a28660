"""Command line: one command per stage, with the same options."""

from mindeye2.cli.analyse_command import analyse
from mindeye2.cli.app_command import open_app
from mindeye2.cli.commands import app, main
from mindeye2.cli.serve_command import serve
from mindeye2.cli.study_command import check, init
from mindeye2.cli.weight_commands import export, import_

__all__ = [
    "analyse",
    "app",
    "check",
    "export",
    "import_",
    "init",
    "main",
    "open_app",
    "serve",
]
