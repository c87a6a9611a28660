"""Tables of scores as Markdown, LaTeX and CSV."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from mindeye2.reporting.content import Column, ScoreRow, Table, TableRow
from mindeye2.reporting.figures import format_number

__all__ = ["as_csv", "as_latex", "as_markdown", "score_row", "table_cells"]


_TEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "\N{MINUS SIGN}": "$-$",
    "\N{EN DASH}": "--",
    "\N{NARROW NO-BREAK SPACE}": r"\,",
    "\N{NO-BREAK SPACE}": "~",
    "\N{UPWARDS ARROW}": r"$\uparrow$",
    "\N{DOWNWARDS ARROW}": r"$\downarrow$",
}
"""Characters that LaTeX reads otherwise, or not at all."""


def as_markdown(tables: Sequence[Table]) -> str:
    """Write tables as Markdown."""
    parts = []
    for table in tables:
        heads = ["", *(f"{c.title}{_arrow(c)}" for c in table.columns)]
        cells = [
            [f"**{row.label}**" if row.own else row.label, *table_cells(table, row)]
            for row in table.rows
        ]
        if any(row.note for row in table.rows):
            heads.append("source")
            cells = [[*line, row.note] for line, row in zip(cells, table.rows, strict=True)]
        lines = [heads, ["---", *["---:"] * len(table.columns), *["---"] * (len(heads) - 1)]]
        lines[1] = lines[1][: len(heads)]
        rows = ["| " + " | ".join(x.replace("|", "/") for x in r) + " |" for r in lines + cells]
        notes = "\n\n".join(table.notes)
        parts.append("\n".join([f"## {table.caption}", "", *rows, "", notes]).rstrip() + "\n")
    return "\n".join(parts)


def as_latex(tables: Sequence[Table]) -> str:
    """Write tables as LaTeX with booktabs' rules."""
    parts = []
    for table in tables:
        heads = ["", *(_tex(f"{c.title}{_arrow(c)}") for c in table.columns)]
        lines = [
            r"\begin{table}",
            rf"\caption{{{_tex(table.caption)}}}",
            rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
            r"\toprule",
            " & ".join(heads) + r" \\",
            r"\midrule",
        ]
        for row in table.rows:
            label = rf"\textbf{{{_tex(row.label)}}}" if row.own else _tex(row.label)
            lines.append(" & ".join([label, *map(_tex, table_cells(table, row))]) + r" \\")
        sources = dict.fromkeys(row.note for row in table.rows if row.note)
        notes = [*table.notes, *(f"Source: {s}." for s in sources)]
        lines += [r"\bottomrule", r"\end{tabular}", *map(_tex, notes), r"\end{table}", ""]
        parts.append("\n".join(lines))
    return "\n".join(parts)


def as_csv(table: Table) -> str:
    """Write one table as CSV, with all digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["", *(c.key for c in table.columns), "source"])
    for row in table.rows:
        numbers = ("" if _empty(v) else v for v in (row.values.get(c.key) for c in table.columns))
        writer.writerow([row.label, *numbers, row.note])
    return text.getvalue()


def score_row(row: Mapping[str, Any]) -> ScoreRow:
    """Return a row of ``summary.json``, as `evaluate` writes it, as a row of the page."""
    return ScoreRow(
        metric=row["title"],
        value=row["value"],
        low=row["low"],
        high=row["high"],
        chance=row["chance"],
        floor=row.get("floor"),
        ceiling=row.get("ceiling"),
        noise_ceiling=None
        if row.get("noise_ceiling_low") is None
        else (row["noise_ceiling_low"], row["noise_ceiling_high"]),
        n=row["n"],
        percent=row["percent"],
        higher_is_better=row.get("higher_is_better", True),
        group=row["group"],
        explanation=row["explanation"],
    )


def table_cells(table: Table, row: TableRow) -> list[str]:
    """Format the numbers of a row."""
    cells = []
    for column in table.columns:
        value = row.values.get(column.key)
        if isinstance(value, str):
            cells.append(value)
        elif value is None or math.isnan(value):
            cells.append("")
        else:
            cells.append(format_number(value, percent=column.percent, digits=3))
    return cells


def _arrow(column: Column) -> str:
    if not column.arrow:
        return ""
    return " \N{UPWARDS ARROW}" if column.higher_is_better else " \N{DOWNWARDS ARROW}"


def _empty(value: float | str | None) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _tex(text: str) -> str:
    return "".join(_TEX.get(character, character) for character in text)
