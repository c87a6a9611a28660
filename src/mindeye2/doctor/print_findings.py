"""Table of findings for the terminal."""

from dataclasses import replace

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mindeye2.doctor.diagnose import Diagnosis
from mindeye2.doctor.finding import LEVELS, Finding

__all__ = ["print_findings"]

COLOURS = {"error": "bold red", "warning": "yellow", "note": "cyan", "ok": "green"}


def _merged(findings: list[Finding]) -> list[Finding]:
    """Merge rows of a check that passed, and equal notes, over subjects."""
    groups: dict[tuple[str, ...], list[Finding]] = {}
    for finding in findings:
        group: tuple[str, ...] = (finding.level, finding.check)
        if finding.level == "note":
            group = (*group, finding.found)
        elif finding.is_wrong or finding.check == "environment":
            group = (*group, finding.found, finding.where, finding.fix)
        groups.setdefault(group, []).append(finding)
    return [
        first if not others else replace(first, where=f"{first.where} and {len(others)} more")
        for first, *others in groups.values()
    ]


def print_findings(diagnosis: Diagnosis, console: Console | None = None) -> None:
    """Print findings, worst last, because a terminal shows the end of a long output."""
    console = console or Console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=False)
    table.add_column("", no_wrap=True)
    table.add_column("check", no_wrap=True)
    table.add_column("where", overflow="fold", max_width=28)
    table.add_column("found → fix", overflow="fold")
    for finding in sorted(_merged(diagnosis.findings), key=lambda f: -LEVELS.index(f.level)):
        colour = COLOURS[finding.level]
        text = escape(finding.found)
        if finding.fix:
            text += f"\n[{colour}]→[/] {escape(finding.fix)}"
        level = f"[{colour}]{finding.level}[/]"
        table.add_row(level, finding.check, escape(finding.where), text)
    console.print(table)
    counts = ", ".join(f"{diagnosis.count(level)} {level}" for level in LEVELS)
    console.print(
        f"{counts}; {diagnosis.seconds:.1f} s, {diagnosis.peak_memory_gib:.1f} GiB",
        highlight=False,
    )
