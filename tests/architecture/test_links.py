"""Links between the documents; Sphinx checks those between the pages of the site too."""

import re

import pytest

DOCUMENTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/*.md", "benchmarks/*.md")


def headings(text):
    """Return the anchors of headings, as GitHub and MyST make them."""
    titles = re.findall(r"^#+ (.*)", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*]", r"\1", title) for title in titles]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in plain}


@pytest.fixture
def links(root):
    """Return each relative link as (document, path, anchor)."""
    found = []
    for document in (d for pattern in DOCUMENTS for d in root.glob(pattern)):
        text = re.sub(r"```.*?```|`[^`\n]*`", "", document.read_text(), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if not re.match(r"\w+:", target):
                path, _, anchor = target.partition("#")
                found.append((document, path, anchor))
    assert len(found) > 50, "the scan found next to nothing"
    return found


def test_files_and_headings_that_documents_link_to_exist(links, root):
    made = {"gallery/index", "gallery/index.rst"}  # by sphinx-gallery
    wrong = []
    for document, path, anchor in links:
        file = document.parent / path if path else document
        if path in made:
            continue
        if not file.exists() or (anchor and anchor not in headings(file.read_text())):
            wrong.append((str(document.relative_to(root)), f"{path}#{anchor}"))
    assert wrong == []
