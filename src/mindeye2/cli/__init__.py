"""Command line: one command per stage, with the same options."""

from mindeye2.cli.commands import app, main

__all__ = ["app", "main"]
