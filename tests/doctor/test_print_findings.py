import io

from rich.console import Console

from mindeye2.doctor.diagnose import Diagnosis
from mindeye2.doctor.finding import Finding
from mindeye2.doctor.print_findings import print_findings


def printed(*findings):
    stream = io.StringIO()
    diagnosis = Diagnosis(findings=list(findings), seconds=2.0, peak_memory_gib=0.5)
    print_findings(diagnosis, Console(file=stream, width=150))
    return stream.getvalue()


def finding(level, where, **given):
    values = {"check": "voxels", "found": f"{level} there", **given}
    return Finding(level=level, where=where, **values)


def test_the_worst_comes_last_with_its_fix():
    text = printed(
        finding("error", "subj02", fix="mindeye2 prepare nsd --out NEW"),
        finding("ok", "subj01"),
    )
    assert text.index("ok there") < text.index("error there")
    assert "→ mindeye2 prepare nsd --out NEW" in text
    assert text.rstrip().endswith("1 error, 0 warning, 0 note, 1 ok; 2.0 s, 0.5 GiB")


def test_what_is_sound_is_written_once_and_what_is_wrong_each_time():
    text = printed(
        *(finding("ok", f"subj0{n}", found=f"{n} voxels") for n in (1, 2, 3)),
        *(finding("error", f"subj0{n}") for n in (4, 5)),
    )
    assert "subj01 and 2 more" in text
    assert "subj02" not in text
    assert text.count("error there") == 2


def test_brackets_in_a_message_are_not_markup():
    assert "columns [red] 4" in printed(finding("error", "a", found="columns [red] 4"))
