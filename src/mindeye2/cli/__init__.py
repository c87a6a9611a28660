"""Command line: one command per stage, with the same options."""

from mindeye2.cli.analyse_command import analyse
from mindeye2.cli.app_command import open_app
from mindeye2.cli.commands import app, main
from mindeye2.cli.serve_command import serve
from mindeye2.cli.weight_commands import export, import_

__all__ = ["analyse", "app", "export", "import_", "main", "open_app", "serve"]
