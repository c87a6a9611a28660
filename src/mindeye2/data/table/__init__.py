"""Responses that a laboratory keeps as arrays, with a table of trials."""

from mindeye2.data.table.table_reader import TableSettings, read_study

__all__ = ["TableSettings", "read_study"]
