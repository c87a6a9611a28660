"""The findings as a table for the terminal."""

from dataclasses import replace

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mindeye2.doctor.diagnose import Diagnosis
from mindeye2.doctor.finding import LEVELS, Finding

__all__ = ["print_findings"]

COLOURS = {"error": "bold red", "warning": "yellow", "note": "cyan", "ok": "green"}


def _folded(findings: list[Finding]) -> list[Finding]:
    """Write once what is sound, or noted in the same words, however many subjects have it."""
    groups: dict[tuple[str, ...], list[Finding]] = {}
    for finding in findings:
        group: tuple[str, ...] = (finding.level, finding.check)
        if finding.level == "note":
            group = (*group, finding.found)
        elif finding.is_wrong or finding.check == "environment":
            group = (*group, finding.found, finding.where, finding.mend)
        groups.setdefault(group, []).append(finding)
    return [
        alike[0]
        if len(alike) == 1
        else replace(alike[0], where=f"{alike[0].where} and {len(alike) - 1} more")
        for alike in groups.values()
    ]


def print_findings(diagnosis: Diagnosis, console: Console | None = None) -> None:
    """Print findings, worst last, where a terminal's reader looks first.

    Parameters
    ----------
    diagnosis
        What was found.
    console
        Where to print; standard output by default.
    """
    console = console or Console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=False)
    table.add_column("", no_wrap=True)
    table.add_column("check", no_wrap=True)
    table.add_column("where", overflow="fold", max_width=28)
    table.add_column("found, and what mends it", overflow="fold")
    order = list(LEVELS)
    for finding in sorted(_folded(diagnosis.findings), key=lambda f: -order.index(f.level)):
        colour = COLOURS[finding.level]
        text = escape(finding.found)
        if finding.mend:
            text += f"\n[{colour}]→[/] {escape(finding.mend)}"
        level = f"[{colour}]{finding.level}[/]"
        table.add_row(level, finding.check, escape(finding.where), text)
    console.print(table)
    counts = ", ".join(f"{diagnosis.count(level)} {level}" for level in LEVELS)
    console.print(
        f"{counts}; {diagnosis.seconds:.1f} s, {diagnosis.peak_memory_gib:.1f} GiB",
        highlight=False,
    )
