"""Contents of the package, versions and licences."""

import csv
import re
import tomllib

import pytest
import yaml

import mindeye2


@pytest.fixture
def project(root):
    return tomllib.loads((root / "pyproject.toml").read_text())["project"]


def test_one_version_is_written_everywhere(project, root):
    citation = yaml.safe_load((root / "CITATION.cff").read_text())
    assert mindeye2.__version__ == project["version"] == citation["version"]


def test_the_package_stays_under_40_megabytes(source):
    size = sum(p.stat().st_size for p in source.rglob("*") if p.is_file() and p.suffix != ".pyc")
    assert size < 40e6


def test_every_direct_dependency_is_pinned(project, root):
    pins = re.findall(r"^([\w.-]+)==", (root / "constraints.txt").read_text(), re.MULTILINE)
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    wanted = [re.match(r"[\w.-]+", line)[0] for group in groups for line in group]
    names = {name.lower().replace("_", "-") for name in wanted}
    assert names - {"mindeye2"} - set(pins) == set()


def test_every_photograph_is_credited_under_a_licence_that_allows_it(source):
    folder = source / "assets" / "stimuli"
    with (folder / "credits.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert rows
    for row in rows:
        licence = row["licence"].lower()
        assert re.search(r"public domain|cc0|cc-by(?!-(sa|nc|nd))|^pd", licence), row
