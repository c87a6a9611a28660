import csv
import io

from mindeye2.reporting import Column, Table, TableRow
from mindeye2.reporting.tables import as_csv, as_latex, as_markdown

TABLE = Table(
    caption="Images & retrieval",
    columns=[
        Column(key="a", title="PixCorr"),
        Column(key="b", title="Eff_B", higher_is_better=False),
        Column(key="c", title="CLIP", percent=True, arrow=False),
    ],
    rows=[
        TableRow(label="this | run", values={"a": -0.1234, "b": 0.5, "c": 0.93}, own=True),
        TableRow(label="Paper", values={"a": 0.25, "b": None, "c": float("nan")}, note="Table 1"),
    ],
    notes=["One note."],
)


def test_markdown_has_one_line_a_row_and_as_many_cells_as_headings():
    lines = [x for x in as_markdown([TABLE]).splitlines() if x.startswith("|")]
    assert len(lines) == 4
    assert {line.count("|") for line in lines} == {6}
    assert lines[0] == "|  | PixCorr ↑ | Eff_B ↓ | CLIP | source |"
    assert "| **this / run** | \N{MINUS SIGN}0.123 | 0.500 | 93.0" in lines[2]
    assert lines[3].startswith("| Paper | 0.250 |  |  | Table 1 |")


def test_latex_escapes_text_and_leaves_no_character_that_pdflatex_refuses():
    text = as_latex([TABLE])
    assert text.isascii()
    assert r"Images \& retrieval" in text
    assert r"Eff\_B $\downarrow$" in text
    assert r"\textbf{this | run} & $-$0.123 & 0.500 & 93.0" in text
    body = [x for x in text.splitlines() if x.endswith(r"\\")]
    assert {x.replace(r"\&", "").count("&") for x in body} == {3}
    assert "Source: Table 1." in text


def test_csv_keeps_all_digits():
    rows = list(csv.DictReader(io.StringIO(as_csv(TABLE))))
    assert [float(rows[0][k]) for k in "abc"] == [-0.1234, 0.5, 0.93]
    assert rows[1] == {"": "Paper", "a": "0.25", "b": "", "c": "", "source": "Table 1"}
