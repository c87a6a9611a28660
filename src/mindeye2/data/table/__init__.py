"""Adapter of a lab's own arrays of betas with a trial table."""

from mindeye2.data.table.table_reader import TableSettings, read_study

__all__ = ["TableSettings", "read_study"]
